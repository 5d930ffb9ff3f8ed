"""Does the rollout engine sample from the weights that the trainer trains? Tried on one model, round after round.

Load, compare log-probs, change every tensor, sync, compare again. `python -m rollout.fidelity MODEL DTYPE FILE` does it
in a process of its own (`r1 doctor --model` starts one per model and precision), because an engine that cannot run an
architecture may take the process with it; each round is appended to FILE as it is measured.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rollout.canary import Canary, Probes
    from rollout.types import Engine

ROUNDS = 5
RANDOM = "random:"
UPDATE = 0.2  # of each tensor's root mean square
SEQUENCES = 8
EXACT = 1e-5  # nats: in float32 the largest gap of a small model that is only rounding


@dataclass(frozen=True, slots=True)
class Round:
    """One comparison of trainer and engine over `tokens` tokens; all gaps in nats.

    `before`: mean gap after the update and before the sync (what a sync that did nothing would leave; 0 for the load).
    `rounding`: mean difference between the trainer's own bfloat16 forward and the same weights in float32, None in
    float32. Two right bfloat16 programs differ by about as much.
    """

    max: float
    mean: float
    before: float
    rounding: float | None
    tokens: int


def verdict(dtype: str, rounds: list[Round]) -> tuple[bool, str]:
    """Whether the engine has the trainer's weights in every round, and in words.

    float32: the largest gap stays within 1e-5, or (a deep model adds rounding up) within the canary's limits, which
    the words then say. bfloat16: the mean gap stays within twice what bfloat16 costs the trainer itself.
    """
    from rollout.canary import Canary

    canary = Canary(1, precision=dtype, sequences=0)
    exact = [r.max <= EXACT if r.rounding is None else r.mean <= 2 * r.rounding for r in rounds]
    within = [r.rounding is None and r.max <= canary.max_gap and r.mean <= canary.mean_gap for r in rounds]
    bad = [i for i, fine in enumerate(exact) if not fine and not within[i]]
    if bad or not rounds:
        return False, f"DISAGREES {f'after sync {bad[0]}' if bad and bad[0] else 'on load'}"
    return True, "agrees" if all(exact) else f"agrees, above {EXACT:g} but within the canary's limits"


def read_rounds(file: Path) -> list[Round]:
    """What `run` has written so far; a line that a kill cut off is left out."""
    lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []
    return [Round(**json.loads(line)) for line in lines]


def compare(model: Any, engine: Engine, canary: Canary, *, seed: int = 0, rounds: int = ROUNDS) -> Iterator[Round]:
    """The load, then `rounds` times update and sync; `model` is changed in place."""
    from models.zoo import update_all_tensors

    for number in range(rounds + 1):
        before, probes = 0.0, canary.probes[number % len(canary.probes)]
        if number:
            update_all_tensors(model, UPDATE, seed=seed + number, relative=True)
            before = canary.measure(model, engine, probes).mean
            engine.sync(model)
        gap = canary.measure(model, engine, probes)
        yield Round(gap.max, gap.mean, before, _rounding(model, probes), gap.tokens)


def _rounding(model: Any, probes: Probes) -> float | None:
    import torch

    from rollout.forward import rounding_gaps

    if model.dtype == torch.float32:
        return None
    gaps = rounding_gaps(model, probes)
    return sum(gaps) / len(gaps)


def run(path: str | Path, dtype: str, file: Path, *, seed: int = 0) -> None:
    """Check the model folder with both sides in `dtype` and append each round to `file` as a line of JSON."""
    from models.checkpoint import load_model
    from rollout.canary import PROBE_LENGTH, Canary
    from rollout.factory import make_engine

    model = load_model(path, dtype).eval()
    canary = Canary(model.config.get_text_config().vocab_size, precision=dtype, sequences=SEQUENCES, seed=seed)
    engine = make_engine("vllm", path, max_model_len=2 * PROBE_LENGTH, dtype=dtype, max_num_seqs=SEQUENCES)  # type: ignore[arg-type]
    for measured in compare(model, engine, canary, seed=seed):
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(asdict(measured)) + "\n")
    engine.close()


def main(model: str, dtype: str, file: str) -> None:
    """`model` is a folder or `random:NAME`."""
    if not model.startswith(RANDOM):
        run(model, dtype, Path(file))
        return
    from models.zoo import write_random

    with tempfile.TemporaryDirectory() as folder:
        write_random(model.removeprefix(RANDOM), folder)
        run(folder, dtype, Path(file))


if __name__ == "__main__":
    main(*sys.argv[1:])
