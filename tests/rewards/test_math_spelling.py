"""Math verification: answers spelt in another way are the same, near misses are not."""

import pytest

from rewards.math import verify


def pairs(*groups):
    """`(gold, answer)` for every answer of a gold."""
    return [(gold, answer) for gold, answers in groups for answer in answers]


SAME = pairs(
    # a comma with a space behind it separates; a thousands separator has none
    ("100, 200", ["200, 100", r"\{100, 200\}"]), ("1, 2, 300", ["300,2,1"]), (r"\{100, 200\}", ["100, 200"]),
    ("12, 345", [r"12\text{ and }345", "345, 12"]), ("0, 100", ["100, 0"]), ("x=100, 200", [r"x=100\text{ or }x=200"]),
    ("5, 125, 250", [r"\{5,125,250\}", r"5\text{, }125\text{, and }250"]),
    ("11111", [r"11,\! 111", r"11,\!111", "11{,}111", r"11\,111", "11 111", "11,111"]), ("1234567.5", ["1,234,567.5"]),
    # words before and around a number
    ("72", [r"\text{72 clips}", r"\text{72 clips.}", r"\text{72 cm}", r"\textbf{72 clips}", r"\mathrm{72\ clips}",
            r"\text{\$72}", r"\text{72 km/h}", r"\text{a total of }72", r"\text{Total: }72", r"\text{Total = }72",
            r"\text{The answer is }72", r"\text{The answer is 72}", r"\text{exactly }72", r"\text{answer: }72",
            "answer: 72", r"\text{The total is 72 clips}", r"\text{So the answer is }72\text{ clips}"]),
    ("10", [r"\text{10 dollars}"]), ("20", [r"\text{20%}", r"20\text{ C}"]), ("-7", [r"\text{-7}", "negative seven"]),
    ("x+1", [r"\text{The answer is }x+1"]),
    # what may stand behind a number
    ("42", [r"42\text{ different ways}", r"42\text{ years old}", r"42\text{ (students)}", r"42\text{ times}"]),
    ("7", [r"7\text{ more apples}", r"7\text{ fewer cookies}"]), ("100,200", ["100, 200"]),
    ("504", [r"42\text{ dozen}", "42 dozen"]), ("4200", [r"42\text{ hundred}"]), ("42000", [r"42\text{k}"]),
    (r"\frac{3}{4}", [r"\text{three fourths}", "three-quarters", r"\text{three quarters}"]),
    (r"\frac12", [r"\text{one half}", "one-half", "half", r"\text{a half}"]), ("2.5", ["two and a half"]),
    (r"9.8\text{ m/s}^2", [r"9.8\text{ m/s2}", "9.8"]), ("72", [r"\text{Total}=72", r"\text{Total}=48+24=72"]),
    (r"\frac{33}{8}", [r"4\text{ }\frac18"]),
    # set phrases
    (r"\text{no solution}", [r"\text{There is no solution}", r"\text{there are no solutions}", r"\{\}", r"\emptyset",
                            "The equation has no solution.", r"\text{The system has no solution}",
                            r"\text{No solution exists}", r"\text{There are no real solutions}"]),
    (r"\text{does not exist}", ["The limit does not exist", r"\text{limit does not exist}", r"\text{DNE}"]),
    (r"\text{undefined}", [r"\text{It is undefined}"]), (r"\text{Hyperbola}", [r"\text{It is a hyperbola}"]),
    (r"\text{diverges}", [r"\text{The series diverges}", "divergent"]), (r"[1,2]\cap[3,4]", [r"\{ \}"]),
    (r"\text{Yes}", [r"\text{Yes, because it is not even}", "Yes."]), (r"\text{No}", [r"\text{No, it is not}"]),
    (r"\infty", [r"\text{Infinity}"]), (r"-\infty", [r"\text{negative infinity}", r"-\text{infinity}"]),
    # units
    (r"3\text{ hours}", ["3 hrs", r"3\text{ hrs}"]), (r"5\text{ pounds}", ["5 lbs"]), (r"4\text{ years}", ["4 yrs"]),
    (r"5\,\mathrm{cm^{2}}", [r"5\text{ cm²}", r"5\text{ cm$^2$}", r"5\text{ sq cm}", r"5\text{ cm}^2", "5 cm^2", "5"]),
    (r"12\mathrm{~km} / \mathrm{h}", ["12", r"12\text{ kmph}", r"12\text{ kilometers per hour}",
                                      r"12\,\text{km}\cdot\text{h}^{-1}", r"12\,\frac{\text{km}}{\text{h}}"]),
    ("60", [r"60\frac{\text{miles}}{\text{hour}}", r"60\,\text{in.}^2"]), ("2^{5}", [r"\mathrm{2^{5}}"]),
    (r"9.8\text{ m/s}^2", [r"9.8\frac{\text{m}}{\text{s}^2}", r"9.8\text{ meters per second squared}",
                         r"9.8\,\mathrm{m\,s^{-2}}"]),
    (r"20^\circ\text{C}", [r"20\text{ degrees Celsius}"]), (r"90\text{ minutes}", [r"1\text{ hour }30\text{ minutes}",
     "1 hour and 30 minutes", r"\text{1 hour and 30 minutes}"]),
    (r"2\text{ hours}", [r"2\text{ hours }0\text{ minutes}"]),
    (r"6\frac12\text{ hours}", [r"6\text{ h }30\text{ min}"]), (r"5\text{ ft }10\text{ in}", [r"70\text{ inches}"]),
    (r"\$18.90", ["18 dollars and 90 cents", r"18\text{ dollars and }90\text{ cents}"]),
    # Unicode and Chinese
    (r"\{1,2\}", ["1、2", "1和2", "1 和 2", "1或2"]), ("3:4", ["3∶4"]), (r"72^\circ", ["72º", "72˚", "72度", "72 °"]),
    (r"2\pi", ["2𝜋", "2∙π", "2π"]), (r"x\ge 2", ["x ⩾ 2", "x≧2"]), (r"x\le 2", ["x⩽2", "x≦2"]),
    (r"\sqrt[3]{4}", ["∛4"]),
    (r"20^\circ\text{C}", ["20℃"]), (r"\frac{7}{10}", ["⁷/₁₀"]), (r"60\text{元}", ["60", "￥60", "¥60", "60元"]),
    ("15", ["15人", "15个", r"15\text{元}", r"15\text{人}"]), (r"5\text{ cm}", ["5厘米"]),
    (r"5\text{ cm}^2", ["5平方厘米"]),
    # intervals open to the outside
    ("[0,1)", ["[0,1["]), ("(2,3]", ["]2,3]"]), ("(0,1)", ["]0;1[", r"x \in ]0,1["]),
    (r"(-\infty,2)\cup(5,\infty)", [r"]-\infty,2[\cup]5,+\infty[", r"]-\infty;2[ \cup ]5;+\infty["]),
    # row ends
    (r"\begin{pmatrix}1\\2\end{pmatrix}", [r"\begin{bmatrix}1\\[4pt]2\end{bmatrix}",
     r"\begin{pmatrix}1\cr 2\end{pmatrix}"]),
    # small things
    (r"3:45\text{ PM}", [r"3{:}45\text{ PM}"]), ("1021_3", ["1021_{(3)}", r"1021_{\text{base }3}", "1021_{3}"]),
    ("2A_{16}", ["2a_{16}", "42_{10}"]), (r"\binom{10}{3}", ["C_{10}^{3}", "C^{3}_{10}", r"\mathrm{C}_{10}^3", "120"]),
    (r"\binom{n}{k}", ["C_{n}^{k}", "C^k_n", "C_n^k"]), ("C_{2n}^{n}", [r"\binom{2n}{n}"]),
    ("42", ["42,", "42;", '"42"', "**42**", "`42`", r"\bold{42}", r"\mathbf{\text{42}}", r"\implies 42",
     r"\Rightarrow 42"]),
    ("12345", ["12~345"]), ("0.5", ["0{.}5"]), ("2:3", [r"0.\overline{6}", r"\frac{2}{3}"]),
    (r"x\ne2", [r"\text{all real numbers except }2", r"\text{all real numbers except }x=2",
     r"\text{all reals except }\{2\}"]),
    (r"\mathbb{R}\setminus\{2,3\}", [r"\text{all real numbers except }2\text{ and }3",
     "all real numbers except 2 and 3"]),
)  # fmt: skip

DIFFERENT = pairs(
    (r"\{1,2\}", ["1、3", "1和3"]), (r"72^\circ", ["73º"]), (r"x\ge 2", ["x⩽2"]), (r"\sqrt[3]{4}", ["√4", "∛5"]),
    (r"60\text{元}", ["￥61", r"60\text{ dollars}"]), (r"5\text{ cm}", ["5米"]),
    (r"5\text{ cm}^2", ["5立方厘米", "5厘米"]),
    ("15", ["15万", "15λ", r"15\text{万元}", "15左右", "15不对", "15平方", r"15\text{不是}"]),
    (r"\frac{7}{10}", ["⁷/₁₁"]),
    ("[0,1)", ["]0,1]", "[0,1]", "]0,1["]), ("(2,3]", ["[2,3[", "]2,3["]), ("(0,1)", ["[0,1]", "[0;1["]),
    (r"(-\infty,2)\cup(5,\infty)", [r"]-\infty,2]\cup]5,+\infty["]),
    (r"\begin{pmatrix}1\\2\end{pmatrix}", [r"\begin{bmatrix}1\\[4pt]3\end{bmatrix}"]),
    (r"3:45\text{ PM}", [r"3{:}45\text{ AM}"]), ("1021_3", ["1021_{(4)}", r"1021_{\text{base }4}"]), ("2a_1", ["2A_1"]),
    ("0", ["C_1^2"]), ("2A_{16}", ["2b_{16}", "42_{16}"]), (r"\binom{10}{3}", ["C_{10}^{4}", "C_{3}^{10}", "C_{10}"]),
    ("42", ["**43**", "42?", r"\Rightarrow 43", "42, 43,"]), ("2:3", [r"0.\overline{3}", "0.67"]),
    (r"x\ne2", [r"\text{all real numbers except }3", r"\text{all real numbers}"]),
    ("100, 200", ["100200", "100,200,300"]), ("5, 125, 250", ["5125250"]), ("0, 100", ["0100"]),
    ("x=100, 200", ["x=100200"]), ("11111", ["11, 111", "011,111"]),
    ("7", [r"7\text{ more}", r"7\text{ more or less}"]),
    ("72", [r"\text{not }72", r"\text{at least }72", r"\text{about }72", r"\text{less than }72",
     r"\text{The answer is not }72",
            r"\text{71 or }72", r"\text{The answer is at least }72", r"\text{72 or 73}", r"\text{73 clips}",
            r"\text{72 is wrong}", r"\text{a total of }73"]),
    (r"\text{June }20", [r"\text{July }20"]), (r"\text{Player }1", [r"\text{Case }1"]),
    ("42", [r"42\text{ is wrong}", r"42\text{ is not the answer}", r"42\text{ unless it is 43}",
     r"42\text{ (not sure)}",
            r"42\text{ plus 1}", r"42\text{ minus one}", r"42\text{ squared}", "42 squared", r"42\text{ factorial}",
            r"42\text{ dozen}", r"42\text{ hundred}", r"42\text{k}", r"42\text{ half}", r"42\text{ thirds}",
            r"42\text{ tenths}", r"42\text{ less than x}", r"42\text{ more than 1}",
            r"42\text{ forty-three}", r"42\text{i}", r"42\text{ times three}", r"42\text{ isn't right}",
     r"42\text{ halves}"]),
    ("5", [r"5 \text{ (or maybe 6)}"]), ("20", ["20 June", r"20\text{ June}"]),
    (r"10\text{ cm}", ["10:00 AM", "10 AM", r"10\text{ AM}"]), ("3", [r"\text{three fourths}", r"\text{three halves}"]),
    ("4", [r"\text{three fourths}"]), ("2", ["two and a half"]), ("7", ["negative seven"]),
    (r"\text{No}", [r"\text{no solution}", r"\text{none}", r"\text{No or yes}"]), (r"\emptyset", [r"\{0\}", "0"]),
    (r"\text{Yes}", [r"\text{Yes, it is not}", r"\text{Yes and no}", "Yes, but not always", "Yes, if n is even",
     r"\text{yesterday}"]),
    (r"\text{no solution}", [r"\text{There is one solution}", r"\text{no}"]),
    (r"\infty", [r"\text{negative infinity}"]),
    (r"3\text{ hours}", ["3 mins", "3 yrs"]),
    (r"5\,\mathrm{cm^{2}}", [r"5\text{ cm}", r"5\text{ cm}^3", r"5\text{ m}^2"]),
    (r"12\mathrm{~km} / \mathrm{h}", [r"12\text{ m/s}", r"12\text{ km}", "13"]), ("12", [r"12\text{ cm} * x"]),
    (r"9.8\text{ m/s}^2", [r"9.8\text{ m/s}", r"9.8\text{ meters squared per second}",
     r"9.8\frac{\text{m}}{\text{s}}"]),
    (r"20^\circ\text{C}", [r"20\text{ degrees Fahrenheit}"]),
    (r"90\text{ minutes}", [r"1\text{ hour }20\text{ minutes}",
     r"30\text{ minutes }1\text{ hour}"]), (r"30\text{ minutes}", [r"1\text{ hour }30\text{ minutes}"]),
    (r"5\text{ ft }10\text{ in}", [r"510\text{ in}", "70", r"15\text{ ft}", r"5\text{ ft }9\text{ in}"]),
    ("8 m", ["3 m and 5 m"]), ("3 m", ["5 m and 3 m"]),
    (r"\$18.90", ["18 dollars and 9 cents", "18 cents and 90 dollars"]),
    (r"\text{does not exist}", [r"\text{The limit exists}"]), (r"\text{diverges}", [r"\text{The series converges}"]),
)  # fmt: skip


@pytest.mark.parametrize(("gold", "answer"), SAME)
def test_same(gold, answer):
    assert verify(gold, f"\\boxed{{{answer}}}") is True


@pytest.mark.parametrize(("gold", "answer"), DIFFERENT)
def test_different(gold, answer):
    assert verify(gold, f"\\boxed{{{answer}}}") is False
