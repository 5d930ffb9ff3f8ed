"""Many questions at once: votes, the cache, and how many requests are under way at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rewards import scratch
from rewards.judge.cache import VerdictCache, cache_key
from rewards.judge.client import JudgeServer
from rewards.judge.prompts import VERSION, Question

Verdicts = Mapping[Question, list[str] | Exception]  # the votes on each question, or why there are none
FILE = "judge.sqlite"


class Panel:
    """`votes` opinions on each question, at most `concurrency` requests at a time, all before the time `until`.

    cache: file of verdicts; "" = in the stage's scratch folder, where there is one.
    """

    def __init__(self, server: JudgeServer, votes: int, concurrency: int, until: float, cache: str = "") -> None:
        self._server, self._votes, self._concurrency, self._until = server, votes, concurrency, until
        folder = scratch.folder()
        file = Path(cache).expanduser() if cache else None if folder is None else folder / FILE
        self._cache = None if file is None else VerdictCache(file)

    def ask(self, questions: Sequence[Question]) -> Verdicts:
        """The verdicts on all questions; equal questions are asked once."""
        asked = list(dict.fromkeys(questions))
        ballots = [(question, vote) for question in asked for vote in range(self._votes)]
        if not ballots:
            return {}
        with ThreadPoolExecutor(min(self._concurrency, len(ballots))) as threads:
            told = list(threads.map(self._vote, ballots))
        verdicts: dict[Question, list[str] | Exception] = {}
        for place, question in enumerate(asked):
            votes = told[place * self._votes : (place + 1) * self._votes]
            failed = [vote for vote in votes if isinstance(vote, Exception)]
            verdicts[question] = failed[0] if failed else [vote for vote in votes if isinstance(vote, str)]
        return verdicts

    def _vote(self, ballot: tuple[Question, int]) -> str | Exception:
        question, vote = ballot
        key = self._key(question, vote)
        try:
            kept = self._cache.get(key) if self._cache is not None else None
            if kept is not None and kept in question.labels:
                return kept
            label, reply = self._server.ask(question, self._until)
            if self._cache is not None:
                self._cache.put(key, label, reply)
        except Exception as error:  # of this question alone: the others keep their verdicts
            return error
        return label

    def _key(self, question: Question, vote: int) -> str:
        """The random marks are no part of it, nor is the address: the model's name says who judged."""
        server = self._server
        settings: list[Any] = [server.model, server.temperature, server.max_tokens, server.structured, server.body]
        return cache_key(VERSION, *settings, question.task, question.parts, question.labels, vote)
