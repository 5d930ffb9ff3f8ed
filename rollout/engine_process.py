"""One vLLM engine in a process of its own, which its parent tells over a pipe what to do (`rollout.parallel_engine`).

Run as `python -m rollout.engine_process DESCRIPTOR`. It ends with its parent, however that ends.
"""

from __future__ import annotations

import shutil
import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from rollout.types import Rollout


class Stopped(Exception):
    """The parent gave up what it had asked for."""


def main(descriptor: int) -> None:
    """First message: (model folder, VllmOptions, seed, folder of the run). Then (what, arguments...), until the parent
    hangs up. Each is answered by ("done", result); a draw tells of its rollouts before, ("rollout", place, rollout).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear: it tells what is to be given up
    parent = Connection(descriptor)
    model_path, options, seed, folder = parent.recv()
    try:
        _serve(parent, model_path, options, seed)
    except (EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone, and nobody else cleans up
        shutil.rmtree(folder, ignore_errors=True)


def _serve(parent: Connection, model_path: str, options: Any, seed: int) -> None:
    from rollout.vllm_engine import VllmEngine

    engine = VllmEngine(model_path, options, seed=seed)

    def told(place: int, rollout: Rollout) -> None:
        parent.send(("rollout", place, rollout))
        if parent.poll():  # "stop" is all that comes while it draws
            parent.recv()
            raise Stopped

    parent.send(("done", None))
    while True:
        what, *arguments = parent.recv()
        try:
            if what == "draw":
                drawn = engine.draw(*arguments, each=told)
                parent.send(("done", [rollout.experts for rollout in drawn] if options.routes else None))
            elif what == "load":
                parent.send(("done", engine.load(*arguments)))
            elif what == "logprobs":
                parent.send(("done", engine.logprobs(*arguments)))
            else:
                assert what == "stop", what  # of a draw that had just ended
        except Stopped:
            parent.send(("done", None))


if __name__ == "__main__":
    main(int(sys.argv[1]))
