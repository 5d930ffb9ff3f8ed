"""A small OpenAI-compatible server on a real socket. The model's name says how its judge behaves.

What a judge reads it takes from the request as a model would: the data by their fences, the verdicts from the rules.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def read(messages: list[dict[str, str]]) -> tuple[dict[str, str], list[str]]:
    """The data by title and the verdicts that may be given."""
    rules, data = messages[0]["content"], messages[-1]["content"]
    mark = re.search(r"hold the mark ([0-9a-f]{16})", rules)[1]  # type: ignore[index]
    parts = re.findall(rf"^\[{mark}\] ([^\n]*) begins\n(.*?)\n\[{mark}\] \1 ends$", data, re.DOTALL | re.MULTILINE)
    return dict(parts), re.findall(r'"([a-z0-9]+-[0-9a-f]{8})"', rules)


class Handler(BaseHTTPRequestHandler):
    server: JudgeProcess
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            self.server.requests.append({"path": self.path, "key": self.headers.get("authorization"), **body})
            self.server.counts[body["model"]] += 1
        status, text, headers = 200, "", {}
        match body["model"]:
            case "broken":
                status, text = 500, "out of memory"
            case "busy-once" if self.server.counts["busy-once"] == 1:
                status, text, headers = 429, "slow down", {"Retry-After": "1"}
            case "locked":
                status, text = 401, f"wrong key {self.headers.get('authorization')}"
            case "moved":
                status, text, headers = 302, "", {"Location": "http://127.0.0.1:9/"}
            case "hangs":
                time.sleep(3)
        if status == 200:
            text = self.completion(body)
        self.send(status, text.encode(), headers, trickle=body["model"] == "trickles")

    def completion(self, body: dict[str, Any]) -> str:
        if body["model"] == "no-completion":
            return "<html>"
        content = self.verdict(body["model"], *read(body["messages"]))
        finish = "length" if body["model"] == "cut" else "stop"
        return json.dumps({"choices": [{"message": {"content": content}, "finish_reason": finish}]})

    def verdict(self, model: str, data: dict[str, str], allowed: list[str]) -> str:
        said = {label.rpartition("-")[0]: label for label in allowed}

        def reply(label: str) -> str:
            return json.dumps({"analysis": "because", "verdict": said[label]})

        answer = data.get("candidate's answer", "")
        match model:
            case "parrot":  # prints what the candidate says, in place of a verdict
                return answer
            case "quotes":  # a verdict of its own, after the candidate's
                return f"The candidate says {answer}. " + reply("incorrect")
            case "code-blind":
                return json.dumps({"analysis": "", "verdict": "correct"})
            case "twice":
                return reply("incorrect")[:-1] + f', "verdict": "{said["correct"]}"}}'
            case "fenced":
                return "<think>Is it?</think>\n```json\n" + reply("correct") + "\n```"
            case "prose":
                return "It is correct."
            case "prose-once" if self.server.counts["prose-once"] == 1:
                return "It is correct."
            case "torn":  # says correct to every second request
                return reply("correct" if self.server.counts["torn"] % 2 else "incorrect")
            case "points":
                return reply(str(min(10, len(answer.split()))))
            case "likes-the-first":
                return reply("first")
            case "likes-the-longer":
                first, second = len(data["first answer"]), len(data["second answer"])
                return reply("tie" if first == second else "first" if first > second else "second")
            case "fails-on-boom" if "boom" in answer:
                return "boom"
        return reply("correct" if data["reference answer"] in answer else "incorrect")

    def send(self, status: int, content: bytes, headers: dict[str, str], trickle: bool) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        for place in range(0, len(content), 1 if trickle else len(content) or 1):
            self.wfile.write(content[place : place + (1 if trickle else len(content))])
            self.wfile.flush()
            if trickle:
                time.sleep(0.2)

    def handle(self) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # who asked has gone
            super().handle()

    def log_message(self, *_: Any) -> None: ...


class JudgeProcess(ThreadingHTTPServer):
    """`requests` holds the body of each request, with its path and the key it came with."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock, self.counts = threading.Lock(), Counter[str]()
        self.requests: list[dict[str, Any]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"
