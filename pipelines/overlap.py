"""Which texts repeat others: n-gram overlap, exact repeats, near repeats by MinHash.

DeepSeek-R1 (arXiv 2501.12948v2) drops training texts that share a 10-gram with an evaluation question or solution.
Paraphrases escape that, so near repeats are looked for as well: MinHash (Broder 1997) over 3-grams of words in bands,
and the exact Jaccard similarity for what the bands bring up.

Texts are compared as sequences of words, numbers and signs: letter case, spacing, LaTeX marks and the names of
one-letter variables do not count. All work is on whole batches in numpy.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import tee
from typing import Any

WORD = re.compile(r"[a-z]+|\d+|[^\W\d_a-z]+|[-+*/=<>^!%]")
VARIABLE = 1  # what every single letter is read as
SHINGLE = 3
PERMUTATIONS, BANDS = 64, 16  # four values a band: of pairs with similarity 0.8 all but 2 in 10,000 are brought up
ROWS = 1024  # texts hashed at once
ENOUGH, CLOSER = 10_000, 20  # candidates looked at for one text: until one is near, and then for a nearer one


@dataclass(frozen=True, slots=True)
class Hit:
    """A text repeats `other` (its position): kind exact, ngram or near; `share` is their Jaccard similarity."""

    kind: str
    other: int
    share: float


@dataclass
class Batch:
    """Some texts as numbers. `ids` of all words end to end, `ends` of each text; the rest is one row for each text."""

    ids: Any
    ends: Any
    whole: Any  # hash of the whole text
    signature: Any  # [rows, PERMUTATIONS]
    bands: Any  # [rows, BANDS]

    def words(self, row: int) -> Any:
        return self.ids[self.ends[row - 1] if row else 0 : self.ends[row]]


def word_ids(text: str, known: dict[str, int]) -> list[int]:
    """The words of a text as 32-bit numbers, the same in every process."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    ids = []
    for word in WORD.findall(text.lower()):
        number = known.get(word)
        if number is None:
            number = VARIABLE if len(word) == 1 and word.isalpha() else zlib.crc32(word.encode()) | 2
            if len(known) < 1_000_000:
                known[word] = number
        ids.append(number)
    return ids


def shingles(words: Sequence[int]) -> frozenset[int]:
    """The 3-grams of a text's words; a shorter text is one."""
    return frozenset(hash(tuple(words[i : i + SHINGLE])) for i in range(max(1, len(words) - SHINGLE + 1)))


def jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    """What two sets of shingles share, 0..1."""
    return len(one & other) / len(one | other)


class Hasher:
    """Turns texts into batches of hashes."""

    def __init__(self, ngram: int) -> None:
        import numpy as np

        self.np, self.ngram = np, ngram
        draw = np.random.default_rng(20261125)
        self.multipliers = draw.integers(1, 2**63, PERMUTATIONS, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        self.offsets = draw.integers(0, 2**63, PERMUTATIONS, dtype=np.uint64)
        self.known: dict[str, int] = {}

    def batch(self, texts: Sequence[str]) -> Batch:
        np = self.np
        listed = [word_ids(text, self.known) for text in texts]
        ends = np.cumsum([len(ids) for ids in listed])
        ids = np.array([number for some in listed for number in some], dtype=np.uint64)
        starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        signature = np.full((len(texts), PERMUTATIONS), 2**32 - 1, dtype=np.uint32)
        shingles, rows = self.grams(ids, starts, ends, SHINGLE, short=True)
        if len(shingles):
            first = np.flatnonzero(np.concatenate([[True], rows[1:] != rows[:-1]]))
            for p in range(PERMUTATIONS):
                mixed = ((shingles * self.multipliers[p] + self.offsets[p]) >> np.uint64(32)).astype(np.uint32)
                signature[rows[first], p] = np.minimum.reduceat(mixed, first)
        grouped = signature.reshape(len(texts), BANDS, -1).astype(np.uint64)
        bands = np.zeros((len(texts), BANDS), dtype=np.uint64)
        for column in range(grouped.shape[2]):
            bands = _mixed(np, bands + grouped[:, :, column])
        bands += np.arange(BANDS, dtype=np.uint64)
        spans = zip(starts.tolist(), ends.tolist(), strict=True)
        digests = b"".join(hashlib.blake2b(ids[a:b].tobytes(), digest_size=8).digest() for a, b in spans)
        whole = np.frombuffer(digests, dtype=np.uint64)
        return Batch(ids, ends, whole, signature, bands)

    def grams(self, ids: Any, starts: Any, ends: Any, size: int, *, short: bool) -> tuple[Any, Any]:
        """Hashes of all `size`-grams that lie within one text, and the row of each. `short`: a text of fewer words
        counts as one gram."""
        np = self.np
        lengths = ends - starts
        counts = np.maximum(lengths - size + 1, 1 if short else 0) * (lengths > 0)
        rows = np.repeat(np.arange(len(starts)), counts)
        places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(starts, counts)
        limits = np.repeat(ends, counts)
        grams = np.zeros(len(places), dtype=np.uint64)
        for step in range(size):
            at = places + step
            inside = at < limits
            grams = _mixed(np, grams + np.where(inside, ids[np.minimum(at, len(ids) - 1)], 0).astype(np.uint64))
        return grams, rows


def _mixed(np: Any, values: Any) -> Any:
    """splitmix64's finaliser: neighbouring numbers come out far apart."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def batched(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in lists of ROWS."""
    some: list[str] = []
    for text in texts:
        some.append(text)
        if len(some) == ROWS:
            yield some
            some = []
    if some:
        yield some


class Overlap:
    """An index of texts (the evaluation sets), asked whether other texts repeat one of them.

    Args:
        ngram: words in a row that count as a repeat; 0 = off. Texts shorter than that must be equal.
        near: least Jaccard similarity of 3-grams that counts as a near repeat; 0 = off.
    """

    def __init__(self, texts: Iterable[str], *, ngram: int = 10, near: float = 0.8) -> None:
        self.hasher = Hasher(ngram)
        self.np, self.ngram, self.near = self.hasher.np, ngram, near
        np = self.np
        self.shingles: list[frozenset[int]] = []
        wholes, grams, gram_rows, bands = [], [], [], []
        for some in batched(texts):
            batch, start = self.hasher.batch(some), len(self.shingles)
            wholes.append(batch.whole)
            found, rows = self._grams(batch)
            grams.append(found)
            gram_rows.append(rows + start)
            bands.append(batch.bands)
            self.shingles += [self._shingles(batch, row) for row in range(len(some))]
        empty = np.zeros(0, dtype=np.uint64)
        self.whole = self._sorted(np.concatenate([*wholes, empty]), np.arange(len(self.shingles)))
        self.grams = self._sorted(np.concatenate([*grams, empty]), np.concatenate([*gram_rows, empty]).astype(np.int64))
        stacked = np.concatenate([*bands, empty.reshape(0, BANDS)])
        self.bands = self._sorted(stacked.ravel(), np.repeat(np.arange(len(stacked)), BANDS))

    def _grams(self, batch: Batch) -> tuple[Any, Any]:
        if not self.ngram:
            return self.np.zeros(0, dtype=self.np.uint64), self.np.zeros(0, dtype=self.np.int64)
        starts = self.np.concatenate([[0], batch.ends[:-1]]).astype(self.np.int64)
        return self.hasher.grams(batch.ids, starts, batch.ends, self.ngram, short=False)

    def _shingles(self, batch: Batch, row: int) -> frozenset[int]:
        return shingles(batch.words(row).tolist())

    def _sorted(self, values: Any, rows: Any) -> tuple[Any, Any]:
        order = self.np.argsort(values, kind="stable")
        return values[order], rows[order]

    def _look(self, index: tuple[Any, Any], values: Any) -> tuple[Any, Any]:
        """For each value its place in the index, and whether it is there."""
        if not len(index[0]):
            return self.np.zeros(len(values), dtype=self.np.int64), self.np.zeros(len(values), dtype=bool)
        places = self.np.minimum(self.np.searchsorted(index[0], values), len(index[0]) - 1)
        return places, index[0][places] == values

    def hits(self, texts: Iterable[str]) -> Iterator[Hit | None]:
        """For each text, in order, what it repeats; None for most."""
        for some in batched(texts):
            batch = self.hasher.batch(some)
            found: list[Hit | None] = [None] * len(some)
            if self.near:
                self._near(batch, found)
            grams, rows = self._grams(batch)
            places, there = self._look(self.grams, grams)
            for row, place in zip(rows[there].tolist(), places[there].tolist(), strict=True):
                if found[row] is None or found[row].kind == "near":  # type: ignore[union-attr]
                    found[row] = Hit(
                        "ngram", int(self.grams[1][place]), self._jaccard(batch, row, int(self.grams[1][place]))
                    )
            places, there = self._look(self.whole, batch.whole)
            for row in self.np.flatnonzero(there & (batch.ends > 0)).tolist():
                if len(batch.words(row)):
                    found[row] = Hit("exact", int(self.whole[1][places[row]]), 1.0)
            yield from found

    def first_hits(self, groups: Iterable[Sequence[str]]) -> Iterator[Hit | None]:
        """For each group of texts, in order, what the first one with a hit repeats."""
        asked, answered = tee(groups)
        hits = self.hits(text for group in asked for text in group)
        for group in answered:
            found = [next(hits) for _ in group]
            yield next((hit for hit in found if hit is not None), None)

    def _near(self, batch: Batch, found: list[Hit | None]) -> None:
        values = batch.bands.ravel()
        places, there = self._look(self.bands, values)
        asked: set[tuple[int, int]] = set()
        looked: Counter[int] = Counter()
        for flat in self.np.flatnonzero(there).tolist():
            row, place = flat // BANDS, int(places[flat])
            while place < len(self.bands[0]) and self.bands[0][place] == values[flat]:
                if looked[row] >= (ENOUGH if found[row] is None else CLOSER):
                    break
                pair = (row, int(self.bands[1][place]))
                place += 1
                if pair in asked or not len(batch.words(row)):
                    continue
                asked.add(pair)
                looked[row] += 1
                share = self._jaccard(batch, *pair)
                if share >= self.near and (found[row] is None or share > found[row].share):  # type: ignore[union-attr]
                    found[row] = Hit("near", pair[1], share)

    def _jaccard(self, batch: Batch, row: int, other: int) -> float:
        return jaccard(self._shingles(batch, row), self.shingles[other])


def repeats(texts: Iterable[str], *, near: float = 0.8) -> dict[int, Hit]:
    """The texts that repeat an earlier one: {position: hit}. Near repeats are judged by their signatures."""
    hasher = Hasher(0)
    np = hasher.np
    parts = [
        (batch.whole, batch.signature, batch.bands, np.diff(np.concatenate([[0], batch.ends])) > 0)
        for batch in map(hasher.batch, batched(texts))
    ]
    if not parts:
        return {}
    whole, signatures, bands, full = (np.concatenate(column) for column in zip(*parts, strict=True))
    hits: dict[int, Hit] = {}
    for leader, row in _groups(np, whole, full):
        hits.setdefault(row, Hit("exact", leader, 1.0))
    if near:
        for band in range(BANDS):
            for leader, row in _groups(np, bands[:, band], full):
                if row not in hits and leader not in hits:
                    share = float((signatures[leader] == signatures[row]).mean())
                    if share >= near:
                        hits[row] = Hit("near", leader, share)
    return hits


def _groups(np: Any, values: Any, full: Any) -> Iterator[tuple[int, int]]:
    """(first row, later row) of every set of equal values."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    same = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1
    first = np.arange(len(ordered))
    breaks = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    first = np.maximum.accumulate(np.where(breaks, first, 0))
    for place in same.tolist():
        leader, row = int(order[first[place]]), int(order[place])
        if full[row]:
            yield leader, row
