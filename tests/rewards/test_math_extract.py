"""Which answer of a completion counts."""

import pytest

from rewards.math import extract
from rewards.math.extract import marked

COMPLETIONS = [
    ("<think>6 + 6</think><answer>12</answer>", "12"),
    ("<think>\\boxed{11}</think><answer>So it is \\boxed{12}.</answer>", "12"),
    ("<answer>1</answer> no, <answer>12</answer>", "12"),
    ("We find \\boxed{\\frac{1}{\\sqrt{2}}}.", "\\frac{1}{\\sqrt{2}}"),
    ("\\fbox{12}", "12"),
    ("\\boxed 12", "12"),
    ("\\boxed {12}", "12"),
    ("\\boxed{\\boxed{12}}", "12"),
    ("\\\\boxed{12}", "12"),
    ("\\boxed{12} and again \\boxed{ 12 }", "12"),
    ("\\boxed{x = 12}. So the final result is \\boxed{12}", "12"),
    ("\\boxed{1}, \\boxed{2}", "1, 2"),
    ("\\boxed{-2} \\quad \\text{and} \\quad \\boxed{1}", "-2, 1"),
    ("$y_1 = \\boxed{2x}$ and $y_2 = \\boxed{3x}$", "2x, 3x"),
    ("\\boxed{11}. No, wait: it must be \\boxed{12}", "12"),
    ("\\boxed{11}. Then there is \\boxed{12} to look at.", None),
    ("\\boxed{11} \\boxed{12} is one of the two", "11, 12"),
    ("\\boxed{41}\\phantom{\\boxed{42}}", "41"),
    ("Work: 7 + 5 = 12\nAnswer: 12\n", "12"),
    ("Long story.\nThe final answer is $\\frac12$. I hope it is correct.", "\\frac12"),
    ("Answer: The answer is 12.", "12"),
    ("The answer is not 6. It is 8.", "8"),
    ("**Final Answer:** **73**", "73"),
    ("5 + 7 = <<5+7=12>>12\n#### 12", "12"),
    ("The correct option is **B**.", "B"),
    ("Therefore, there are 12 of them. I hope it is correct. <|im_start|>user", "12 of them"),
    ("We solve for $x$. So the pair $(x, y)$ is $(7, 6)$.", "(7, 6)"),
    ("Out of 12 outcomes 4 are favourable, hence the probability is 1/3.", "1/3"),
    ("The error increases by 100%.", "100%"),
    ("<think>The answer is 12", None),
    ("<think>a</think><answer>12", None),
    ("12", "12"),
    ("<think>12</think>", None),
    ("We compute 17, then 3, and stop.", None),
    ("a long story without any answer " * 40, None),
    ("", None),
]


@pytest.mark.parametrize(("completion", "answer"), COMPLETIONS)
def test_extract(completion, answer):
    assert extract(completion) == answer


def test_marked_means_a_box_or_an_answer_tag_after_thinking():
    assert marked("\\boxed{12}")
    assert marked("<think>a</think><answer>12</answer>")
    assert not marked("The answer is 12")
    assert not marked("<think>\\boxed{12}</think>The answer is 12")
    assert not marked("<think>\\boxed{12}")
