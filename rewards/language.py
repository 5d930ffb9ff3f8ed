"""Language reward: the share of the thinking's words that are in the target language (DeepSeek-R1, equation 7).

    R_language = words of the thinking in the target language / words of the thinking

What counts is defined here, because the paper does not say. Code, formulas, tags, numbers, single letters and
identifiers are no words. In scripts without spaces (Han, Kana, Thai) each character is a word. A script decides
where it can (Cyrillic is not English). Among languages in Latin script the short everyday words decide for the whole
sentence: a sentence with more German than English ones is German, names and rare words included.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import Literal

from rewards.registry import reward
from rollout.types import Sample

Language = Literal["en", "de", "fr", "es", "it", "pt", "zh", "ja", "ko", "ru", "ar", "el", "he", "hi", "th"]

SCRIPTS: dict[str, frozenset[str]] = {
    "zh": frozenset({"CJK"}), "ja": frozenset({"CJK", "HIRAGANA", "KATAKANA"}), "ko": frozenset({"HANGUL", "CJK"}),
    "ru": frozenset({"CYRILLIC"}), "ar": frozenset({"ARABIC"}), "el": frozenset({"GREEK"}),
    "he": frozenset({"HEBREW"}), "hi": frozenset({"DEVANAGARI"}), "th": frozenset({"THAI"}),
}  # fmt: skip
UNSPACED = frozenset({"CJK", "HIRAGANA", "KATAKANA", "THAI"})
_EVERYDAY = {
    "en": ("the of and to in is that it for as with are be this by we have from so then not but if you can "
                    "which what let now there all wait check because their has was will would first next"),
    "de": ("der die das und ist nicht ein eine zu den mit von für auf wir sind dass wenn also dann aber "
                    "sich dem des im es ich werden hat auch nun weil einen noch"),
    "fr": ("le la les et est pas un une des du que pour dans nous sont donc mais avec sur qui ce cette alors "
                    "si au aux il elle on ont par plus puis car"),
    "es": ("el los las y es no un una del que para en son entonces pero con por si se lo al como más esta "
                    "este tenemos también porque ahora"),
    "it": ("il lo gli e è non un una della del che per sono quindi ma con se di da si come più questo questa "
                    "abbiamo anche perché allora"),
    "pt": ("o os as e é não um uma do da que para em são então mas com por se ao como mais este esta temos "
                    "também porque agora"),
}  # fmt: skip
EVERYDAY = {language: frozenset(words.split()) for language, words in _EVERYDAY.items()}
SPOKEN_IN = {
    word: tuple(language for language, words in EVERYDAY.items() if word in words)
    for word in frozenset().union(*EVERYDAY.values())
}
NOT_WORDS = re.compile(
    r"```.*?(?:```|$)|`[^`\n]*`|\$\$.{0,400}?\$\$|\$[^$\n]*\$|\\\(.{0,400}?\\\)|\\\[.{0,400}?\\\]|\\[a-zA-Z]+|https?://\S+|<[^<>]{0,40}>"
    r"|\b(?=\w*[\d_])\w+",
    re.DOTALL,
)
SENTENCE = re.compile(r"[.!?\n。！？]+")
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


@reward(
    cases=[
        ("gold", "<think>We add the two numbers, so that is twelve.</think><answer>12</answer>"),
        ("gold", "<think>Let x be the price. Then $2x = 10$ and `x = 5`.</think><answer>5</answer>"),
        ("gold", "<think>我们把两个数相加。</think><answer>12</answer>", {"target": "zh"}),
        ("junk", "<think>Wir addieren die beiden Zahlen, also ist es zwölf.</think><answer>12</answer>"),
        ("junk", "<think>We add 两个数字相加得到十二 so it is twelve.</think><answer>12</answer>"),
        ("junk", "<think>Складываем два числа.</think><answer>the answer is 12</answer>"),
        ("none", "<think>7 + 5 = 12</think><answer>12</answer>"),
    ]
)
def language(s: Sample, *, target: Language = "en") -> float | None:
    """Share of the words of the thinking that are in `target`. Does not apply to thinking without words."""
    counted = count_words(thinking(s.completion), target)
    total = sum(counted.values())
    return counted["target"] / total if total else None


def thinking(completion: str) -> str:
    """The text between the thinking tags (to the end if it never closes), or the whole completion without tags."""
    _, opened, rest = completion.partition("<think>")
    if opened or "</think>" in completion:
        return (rest if opened else completion).partition("</think>")[0]
    return completion


def count_words(text: str, target: Language) -> Counter[str]:
    """Words in the target language (`target`) and in any other (`other`)."""
    counted: Counter[str] = Counter()
    for sentence in SENTENCE.split(NOT_WORDS.sub(" ", text)):
        scripts: Counter[str] = Counter()
        latin: list[str] = []
        for word in WORD.findall(sentence):
            if word.isascii():
                if len(word) > 1 or word in ("a", "I"):
                    latin.append(word.lower())
                continue
            for script, letters in _scripts(word):
                if script == "LATIN":
                    latin.append(word.lower())
                else:
                    scripts[script] += letters if script in UNSPACED else 1
        wanted = SCRIPTS.get(target, frozenset())
        for script, number in scripts.items():
            counted["target" if script in wanted else "other"] += number
        if latin:
            ours = target in EVERYDAY and _latin_language(latin, target) == target
            counted["target" if ours else "other"] += len(latin)
    return counted


def _latin_language(words: list[str], target: str) -> str:
    """The Latin-script language with the most everyday words; the target on a tie or without any evidence."""
    votes: Counter[str] = Counter({target: 0})
    for word in words:
        votes.update(SPOKEN_IN.get(word, ()))
    best = max(votes.values())
    return target if votes[target] == best else max(votes, key=lambda name: votes[name])


def _scripts(word: str) -> list[tuple[str, int]]:
    """The scripts of a word's letters, with how many letters each has."""
    return list(Counter(_script(char) for char in word if char.isalpha()).items())


@lru_cache(maxsize=8192)
def _script(char: str) -> str:
    return unicodedata.name(char, "UNKNOWN").partition(" ")[0].partition("-")[0]
