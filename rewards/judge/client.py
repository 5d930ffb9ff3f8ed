"""One question to an OpenAI-compatible server: sent, retried, read. A failure is an exception, never a verdict."""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from rewards.judge.prompts import Question, Unparseable, messages, read_verdict, schema

RETRIED = (408, 409, 425, 429, 500, 502, 503, 504)
LARGEST_REPLY = 4 << 20  # bytes
FIRST_PAUSE_S = 0.5
LOCAL = ("127.0.0.1", "localhost", "::1")


class JudgeError(RuntimeError):
    """The judge gave no verdict. Ours or the server's failure, not the model's; one line for a person."""


class _TryAgain(Exception):
    """A failure that another try may mend, after `pause_s` where the server says so."""

    def __init__(self, what: str, pause_s: float = 0.0) -> None:
        super().__init__(what)
        self.pause_s = pause_s


@dataclass(frozen=True)
class JudgeServer:
    """Where the judge is and how it is asked. `key_env` names the variable that holds the key, "" = none.

    timeout: seconds of one try. body: further fields of the request, None removes one.
    """

    url: str
    model: str
    key_env: str = ""
    timeout: float = 30.0
    retries: int = 2
    temperature: float = 0.0
    max_tokens: int = 1024
    structured: bool = True
    body: Mapping[str, Any] | None = None

    def request(self, question: Question) -> tuple[dict[str, Any], str]:
        """The body of a new request and the code that its verdict must end with."""
        mark, code = secrets.token_hex(8), secrets.token_hex(4)
        asked: dict[str, Any] = {
            "model": self.model,
            "messages": messages(question, mark, code),
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        if self.structured:
            asked["response_format"] = schema(question, code)
        asked |= self.body or {}
        return {name: value for name, value in asked.items() if value is not None}, code

    def ask(self, question: Question, until: float) -> tuple[str, str]:
        """(label, the reply it was read from). `until`: the end of all tries, on `time.monotonic`'s clock.

        Raises:
            JudgeError: no verdict after all tries, or one that no further try would mend.
        """
        what, tries = "the time for this group is over (wall_s)", 0
        for attempt in range(self.retries + 1):
            left = until - time.monotonic()
            if left <= 0:
                break
            tries += 1
            try:
                body, code = self.request(question)
                reply = self._post(body, min(self.timeout, left))
                return read_verdict(reply, question, code), reply
            except (_TryAgain, Unparseable) as error:
                what = str(error)
                pause = max(getattr(error, "pause_s", 0.0), FIRST_PAUSE_S * 2**attempt)
                if attempt < self.retries and isinstance(error, _TryAgain):
                    time.sleep(max(0.0, min(pause, until - time.monotonic())))
        raise JudgeError(f"judge {self.model} at {self.url}: {what}{f' ({tries} tries)' if tries > 1 else ''}")

    def _post(self, body: Mapping[str, Any], seconds: float) -> str:
        """The text of the reply to one request."""
        import httpx

        until = time.monotonic() + seconds
        key = os.environ.get(self.key_env, "") if self.key_env else ""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        address = f"{self.url.rstrip('/')}/chat/completions"
        content = bytearray()
        try:
            with _client(self.url).stream("POST", address, json=body, headers=headers, timeout=seconds) as answer:
                for chunk in answer.iter_bytes():  # a limit for each read is none for the whole reply
                    content += chunk
                    if len(content) > LARGEST_REPLY:
                        raise JudgeError(f"judge {self.model} at {self.url}: the reply is over {LARGEST_REPLY} bytes")
                    if time.monotonic() > until:
                        raise _TryAgain(f"no whole reply within {seconds:.3g} s")
        except httpx.TimeoutException as error:
            raise _TryAgain(f"no reply within {seconds:.3g} s") from error
        except httpx.LocalProtocolError as error:  # its text may quote a header, and so the key
            what = f"the request cannot be sent: {type(error).__name__}"
            raise JudgeError(f"judge {self.model} at {self.url}: {what}") from None
        except httpx.HTTPError as error:
            raise _TryAgain(f"cannot be reached: {error or type(error).__name__}") from error
        if answer.status_code != 200:
            self._refused(answer.status_code, answer.headers.get("retry-after", ""), content.decode(errors="replace"))
        return _content(bytes(content))

    def _refused(self, status: int, retry_after: str, said: str) -> None:
        key = os.environ.get(self.key_env, "") if self.key_env else ""
        said = " ".join(said.replace(key, "***").split() if key else said.split())[:300]
        what = f"HTTP {status}: {said}"
        if status in RETRIED:
            raise _TryAgain(what, float(retry_after) if retry_after.isdecimal() else 0.0)
        hint = "; try structured: false" if status in (400, 422) and self.structured else ""
        raise JudgeError(f"judge {self.model} at {self.url}: {what}{hint}")


def _content(reply: bytes) -> str:
    """The message of a chat completion that ended by itself."""
    try:
        choice = json.loads(reply)["choices"][0]
        text, finish = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise Unparseable("the reply is no chat completion") from error
    if finish == "length":
        raise Unparseable("the reply is cut off: raise the judge's max_tokens")
    if not isinstance(text, str):
        raise Unparseable("the reply holds no text")
    return text


_MAKING = threading.Lock()


def _client(url: str) -> Any:
    """The connections to one server, shared by the threads of a worker. Redirects are not followed: they could lead
    the key elsewhere. Proxies of the environment count, except for a server on this machine."""
    from urllib.parse import urlsplit

    with _MAKING:
        return _new_client(urlsplit(url).hostname not in LOCAL)


@lru_cache(maxsize=2)
def _new_client(proxies: bool) -> Any:
    import httpx

    return httpx.Client(trust_env=proxies, limits=httpx.Limits(max_connections=None, max_keepalive_connections=64))
