"""A cut recipe, killed again and again and restarted until it is done: does it end as if nothing had happened?

    .venv/bin/python benchmarks/chaos.py --kills 50 --terms 4 --ints 4 --full 4 --flips 4

Every stage kind runs for real (vLLM, TRL, sandbox). Half of the SIGKILLs come at a random time, half right before or
after a random `os.replace`, `os.fsync` or `shutil.rmtree`: there checkpoints and artifacts change hands. With
`--spread` each trouble picks one of the stages that are still to be made and comes while that one runs. "full" fills
the disk (a tmpfs of its own, so it needs root) up to a few megabytes and makes room after the run has ended; "flip"
kills the run and changes one byte of an artifact, a checkpoint or a journal. When a round is done before all troubles
are used up, another one begins. Compared with a quiet run: every file of every artifact but the report page, the
metrics without times, and the manifests' numbers without times.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECIPE = """
name: cut
seed: 3
stages:
  base: {use: model, with: {source: tiny-moe}}
  problems: {use: problems, with: {n: 32, dev: 8, holdout: 8, cold_start: 128, general: 16}}
  cold: {use: sft, from: {model: base, samples: problems.cold_start},
         with: {epochs: 5, lr: 1e-3, batch: 8, max_length: 256, save_every: 10, log_every: 5}}
  reason: {use: grpo, from: {model: cold, problems: problems.train},
           with: {steps: 4, prompts_per_step: 4, group: 4, lr: 1e-4, beta: 0.01, ref_every: 2, max_tokens: 64,
                  max_num_seqs: 32, rewards: {math: 1.0, code: 1.0, format: 0.1}, save_every: 1}}
  harvest: {use: sample, from: {model: reason, problems: problems.train},
            with: {n: 4, max_tokens: 64, max_num_seqs: 32, chunk: 8}}
  final: {use: sft, from: {model: base, samples: [harvest, problems.general]},
          with: {epochs: 3, lr: 1e-3, batch: 4, max_length: 256, save_every: 4, log_every: 2}}
  scores: {use: eval, from: {models: [final], problems: problems.holdout},
           with: {k: 2, max_tokens: 64, max_num_seqs: 32, chunk: 4}}
  report: {use: report, from: {scores: scores}}
"""
DISK_MB = 200
MARK = "R1_CHAOS_RUN"
TIMES = ("time", "seconds", "wall")


@dataclass
class Outcome:
    """How one attempt ended: exit code, what it printed, seconds, the stage it was in, processes it left behind."""

    code: int
    said: str
    seconds: float
    stage: str
    orphans: int


def child(number: int, target: str, arguments: list[str]) -> None:
    """`r1` in this process, ended by SIGKILL right before (odd) or after (even) operation number `number` // 2, which
    are counted from the beginning of stage `target` on."""
    seen = 0
    pid = os.getpid()
    begun, since = not target, recorded(Path.cwd()).get("started")

    def watched(operation: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal seen, begun
            begun = begun or running(Path.cwd(), since) == target
            if os.getpid() != pid or not begun:
                return operation(*args, **kwargs)
            seen += 1
            if seen == number // 2 and number % 2:
                os.kill(pid, signal.SIGKILL)
            result = operation(*args, **kwargs)
            if seen == number // 2:
                os.kill(pid, signal.SIGKILL)
            return result

        return run

    for module, name in ((os, "replace"), (os, "fsync"), (shutil, "rmtree")):
        setattr(module, name, watched(getattr(module, name)))
    from pipelines.cli import main

    main(arguments)


def attempt(
    folder: Path, kind: str, moment: float, words: tuple[str, ...] = ("run", "cut.yaml"), target: str = ""
) -> Outcome:
    """`r1 run`, with one trouble; `moment` is seconds, or the number of a file operation (kind `operation`), from the
    beginning on of stage `target`, or of the run."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    number = int(moment) if kind == "operation" else 0
    command = [sys.executable, __file__, "--child", str(number), target, *words]
    environment = {**os.environ, MARK: mark, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    since, began, stage = recorded(folder).get("started"), time.monotonic(), ""
    with (folder.parent / "output.txt").open("w+") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, env=environment)
        if kind not in ("quiet", "operation"):
            while target and process.poll() is None and running(folder, since) != target:
                time.sleep(0.05)
            with suppress(subprocess.TimeoutExpired):
                process.wait(moment)
        if process.poll() is None:
            stage = running(folder)
            if kind in ("kill", "flip"):
                process.kill()
            elif kind in ("term", "int"):
                process.send_signal(signal.SIGTERM if kind == "term" else signal.SIGINT)
            elif kind == "full":
                fill(folder, random.Random(moment).randrange(0, 6_000_000))
        code = process.wait(600)
        seconds = time.monotonic() - began
        (folder / "filler").unlink(missing_ok=True)
        output.seek(0)
        return Outcome(code, output.read(), seconds, stage or running(folder), orphans(mark))


def recorded(folder: Path) -> dict[str, Any]:
    """run.json, nothing before the first run."""
    try:
        record: dict[str, Any] = json.loads((folder / "runs/cut/run.json").read_text())
    except (OSError, ValueError):
        return {}
    return record


def running(folder: Path, since: Any = None) -> str:
    """The stage that run.json calls running, '' before the first; of a run that began at `since` it is not asked."""
    run = recorded(folder)
    stages = run.get("stages", {}) if since is None or run.get("started") != since else {}
    return next((name for name, record in stages.items() if record["status"] in ("running", "failed")), "")


def fill(folder: Path, left: int) -> None:
    """Take all but `left` bytes of the disk."""
    with suppress(OSError), (folder / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(folder).free - left))


def orphans(mark: str, patience: float = 10.0) -> int:
    """Processes of an ended run that are still there after some seconds; they are ended then."""
    deadline = time.monotonic() + patience
    while left := [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if marked(pid, mark)]:
        if time.monotonic() > deadline:
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            break
        time.sleep(0.1)
    return len(left)


def marked(pid: int, mark: str) -> bool:
    try:
        return f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def flip(folder: Path, draw: random.Random) -> str:
    """Change one byte of a file that a later run may read; its name."""
    store = folder / "runs/store"
    files = [f for f in store.glob("**/*") if f.is_file() and f.stat().st_size and ".locks" not in f.parts]
    scratch = [f for f in files if ".scratch" in f.parts]
    if not files:
        return ""
    file = draw.choice(sorted(scratch if scratch and draw.random() < 0.7 else files))
    data = bytearray(file.read_bytes())
    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    file.write_bytes(data)
    return file.relative_to(store).as_posix()


def state(folder: Path) -> set[str]:
    """What a run has achieved: artifacts, checkpoints, entries of journals."""
    store = folder / "runs/store"
    entries = {f"{f.parent.name}/{f.stat().st_size}" for f in store.glob(".scratch/*/*.jsonl")}
    return {p.parent.name for p in store.glob("*/manifest.json")} | entries | {
        f"{p.parent.name}/{p.name}" for p in store.glob(".scratch/*/checkpoint-*")
    }  # fmt: skip


def content(folder: Path) -> dict[str, Any]:
    """Everything that must not depend on interruptions: digests of files as they are, metrics and numbers."""
    from models.sealed import file_digest

    def timeless(numbers: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in numbers.items() if not key.startswith(TIMES)}

    found: dict[str, Any] = {}
    for name in json.loads((folder / "runs/cut/run.json").read_text())["stages"]:
        place = folder / "runs/cut" / name
        manifest = json.loads((place / "manifest.json").read_text())
        if name != "report":  # the page shows times, and the number is its length
            found[f"{name}: numbers"] = timeless(manifest["metrics"])
        for file in sorted(manifest["contents"]):
            if file == "metrics.jsonl":
                lines = [timeless(json.loads(line)) for line in (place / file).read_text().splitlines()]
                found.update({f"{name}: metrics line {i}": line for i, line in enumerate(lines)})
            elif not file.endswith("report.html"):
                found[f"{name}/{file}"] = file_digest(place / file)
    return found


@contextmanager
def disk(folder: Path) -> Iterator[bool]:
    """A small file system of its own at `folder`, where we may mount one: whether we could."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = os.getuid() == 0 and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)], capture_output=True
    ).returncode  # fmt: skip
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=True)


def fresh(folder: Path) -> None:
    shutil.rmtree(folder / "runs", ignore_errors=True)
    (folder / "cut.yaml").write_text(RECIPE)


def troubles(arguments: argparse.Namespace, draw: random.Random) -> list[str]:
    kinds = ["kill"] * (arguments.kills // 2) + ["operation"] * (arguments.kills - arguments.kills // 2)
    for kind in ("term", "int", "full", "flip"):
        kinds += [kind] * getattr(arguments, f"{kind}s" if kind != "full" else kind)
    draw.shuffle(kinds)
    return kinds


def expected(kind: str, outcome: Outcome) -> bool:
    """Whether an attempt ended as this trouble should end it (a signal before Python's start-up is done just kills)."""
    if kind in ("kill", "operation", "flip"):
        return outcome.code == -signal.SIGKILL
    if kind == "full":
        return outcome.code == 1 and "is full" in outcome.said and "Make room there" in outcome.said
    return outcome.code in (130, -signal.SIGTERM, -signal.SIGINT) or (outcome.code == 1 and outcome.seconds < 3)


class Chaos:
    """Rounds of a run under troubles, until all of them have been used."""

    def __init__(
        self, folder: Path, seed: int, longest: float, quiet: dict[str, Any], walls: dict[str, float] | None
    ) -> None:
        """`walls`: seconds of each stage that troubles are spread over, or None for troubles at any time."""
        self.folder, self.draw, self.longest, self.quiet = folder, random.Random(seed), longest, quiet
        self.walls = walls
        self.counts: Counter[str] = Counter()
        self.different: Counter[str] = Counter()
        self.found = self.flipped = 0

    def round(self, kinds: list[str]) -> None:
        """One run to its end, taking troubles from `kinds`."""
        fresh(self.folder)
        patience = 1.0
        while True:
            kind = kinds.pop() if kinds else "quiet"
            target, most = self.place()
            most = 80 if kind == "operation" else most
            before = state(self.folder)
            moment = (0 if target and kind != "operation" else 1) + self.draw.random() * most * patience
            outcome = attempt(self.folder, kind, moment, target=target)
            gained = state(self.folder) - before
            patience = 1.0 if gained else patience * 1.5
            self.judge(kind, outcome, len(gained))
            if outcome.code == 0:
                if kind != "quiet":
                    kinds.insert(0, kind)  # it was done before the trouble came
                break
            if kind == "quiet":
                raise SystemExit("the last run of a round failed")
        self.compare()

    def place(self) -> tuple[str, float]:
        """Where the next trouble comes: a stage that is not done, or '' for anywhere; and seconds to choose from."""
        if self.walls is None:
            return "", self.longest
        done = {
            name
            for name, record in recorded(self.folder).get("stages", {}).items()
            if record["status"] in ("done", "cached")
        }
        target = self.draw.choice([name for name in self.walls if name not in done] or list(self.walls))
        return target, self.walls[target]

    def judge(self, kind: str, outcome: Outcome, gained: int) -> None:
        ended = "done" if outcome.code == 0 else "as expected" if expected(kind, outcome) else "NOT AS EXPECTED"
        what = flip(self.folder, self.draw) if kind == "flip" and outcome.code else ""
        self.flipped += bool(what)
        self.found += outcome.said.count("damaged")
        left = f" {outcome.orphans} PROCESSES LEFT" if outcome.orphans else ""
        row = f"{kind:<10} {outcome.stage or '-':<9} {outcome.seconds:6.1f} s  exit {outcome.code:>4}  {ended:<16}"
        print(f"{row} +{gained}{left} {what}".rstrip(), flush=True)
        self.counts[f"{kind}, {ended}"] += 1
        self.counts["processes left"] += outcome.orphans
        if "NOT" in ended or "Traceback" in outcome.said:
            self.counts["tracebacks or wrong ends"] += 1
            print("    " + "\n    ".join(outcome.said.splitlines()[-25:]), flush=True)

    def compare(self) -> None:
        if self.flipped:  # what no stage read again is found by the check that is made for it
            attempt(self.folder, "quiet", 0, ("store", "verify", "--fix"))
            attempt(self.folder, "quiet", 0)
        found = content(self.folder)
        wrong = [name for name in {*self.quiet, *found} if self.quiet.get(name) != found.get(name)]
        self.counts["rounds compared"] += 1
        self.counts["things compared"] += len(found)
        self.different.update(wrong)
        print(f"round done: {len(found)} things compared, {len(wrong)} different", flush=True)
        for name in sorted(wrong)[:20]:
            print(f"    {name}: quiet {self.quiet.get(name)}, now {found.get(name)}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    for name in ("terms", "ints", "full", "flips"):
        parser.add_argument(f"--{name}", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=30.0, help="seconds; troubles come within this time")
    parser.add_argument("--spread", action="store_true", help="a trouble comes in a stage picked at random")
    parser.add_argument("--folder", type=Path, default=Path("chaos"), help="a new folder to work in")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve() / "disk"
    with disk(folder) as mounted:
        if arguments.full and not mounted:
            parser.error("--full fills the disk: it takes root, to mount a small one (or --full 0)")
        fresh(folder)
        outcome = attempt(folder, "quiet", 0)
        if outcome.code:
            print(outcome.said)
            return 1
        print(f"quiet run: {outcome.seconds:.0f} s", flush=True)
        walls = {name: record["wall_s"] for name, record in recorded(folder)["stages"].items() if record["wall_s"] > 2}
        chaos = Chaos(folder, arguments.seed, arguments.longest, content(folder), walls if arguments.spread else None)
        kinds = troubles(arguments, chaos.draw)
        while kinds:
            chaos.round(kinds)
        for name, count in sorted(chaos.counts.items()):
            print(f"{name:<32} {count}")
        print(f"{'bytes flipped':<32} {chaos.flipped}, {chaos.found} lines about damage")
        print(f"{'different from the quiet run':<32} {sum(chaos.different.values())}")
    return int(bool(chaos.different) or chaos.counts["tracebacks or wrong ends"] > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.path.insert(0, str(ROOT))
        child(int(sys.argv[2]), sys.argv[3], sys.argv[4:])
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
