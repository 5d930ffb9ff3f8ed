"""Keeps the host process as it was while vLLM starts inside it: random states, threads, environment, terminal."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED_MEMORY = Path("/dev/shm")
EXPANDED = "VLLM_MLA_DISABLE"  # the variable that makes vLLM expand latent attention to plain attention


def set_vllm_environment() -> None:
    """What vLLM reads from the environment; a value the user set wins, except for the in-process engine."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    if not os.environ.get("R1_DEBUG"):
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")


@contextlib.contextmanager
def process_state_kept() -> Iterator[None]:
    """Undo what vLLM changes: torch, numpy and Python random states, thread count and dtype, `LD_PRELOAD`.

    vLLM seeds the global generators, replaces `torch.set_num_threads` by a warning and sets an `LD_PRELOAD` that every
    later child process (the reward workers) would inherit.
    """
    import random

    import numpy as np
    import torch

    set_num_threads, threads, dtype = torch.set_num_threads, torch.get_num_threads(), torch.get_default_dtype()
    python_state, numpy_state, preload = random.getstate(), np.random.get_state(), os.environ.get("LD_PRELOAD")
    with torch.random.fork_rng():
        try:
            yield
        finally:
            torch.set_num_threads = set_num_threads
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            torch.set_default_dtype(dtype)
            random.setstate(python_state)
            np.random.set_state(numpy_state)
            os.environ.pop("LD_PRELOAD", None)
            if preload is not None:
                os.environ["LD_PRELOAD"] = preload


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hold back stderr, native code's included; shown after all if the block raises. R1_DEBUG=1 shows everything."""
    if os.environ.get("R1_DEBUG"):
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            sys.stderr.flush()
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def python_path() -> str:
    """PYTHONPATH for a process of ours that imports r1."""
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def share_of_cores(count: int) -> int:
    """Threads for each of `count` processes that work at once; what the user set is for one process alone."""
    cores, wanted = len(os.sched_getaffinity(0)), os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(int(wanted) if wanted.isdigit() else cores, cores // count))


def run_folder(model_bytes: int) -> Path:
    """A folder for this run's weights, sockets and logs that only this user can enter; in memory where they fit twice
    (a checkpoint in bfloat16 is synced in float32), else among the temporary files."""
    room = SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > 2.2 * model_bytes
    return Path(tempfile.mkdtemp(prefix="r1-server-", dir=SHARED_MEMORY if room else None))
