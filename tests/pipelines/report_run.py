"""A made-up run on disk, shaped like a real one: what the report's tests read."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

from pipelines.artifacts import write_rows

MODELS = {"base": 0.06, "cold": 0.41, "reason": 0.84, "final": 0.81}
FROM: dict[str, dict[str, list[str]]] = {
    "base": {},
    "problems": {},
    "cold": {"model": ["base"], "samples": ["problems.cold_start"]},
    "reason": {"model": ["cold"], "problems": ["problems.train"]},
    "harvest": {"model": ["reason"], "problems": ["problems.train"]},
    "final": {"model": ["base"], "samples": ["harvest", "problems.general"]},
    "scores": {"models": list(MODELS), "problems": ["problems.holdout"]},
}
KIND = {
    "base": "model",
    "problems": "problems",
    "cold": "sft",
    "reason": "grpo",
    "harvest": "sample",
    "final": "sft",
    "scores": "eval",
}
CONFIG: dict[str, dict[str, Any]] = {
    "cold": {"epochs": 2, "lr": 1e-3},
    "reason": {"steps": 60, "group": 16, "rewards": {"math": 1.0, "code": 1.0, "format": 0.1}, "canary_max_gap": 1e-4},
    "harvest": {"n": 8, "keep": "correct"},
}


def make_run(folder: Path, *, steps: int = 60, problems: int = 16, hostile: str = "") -> Path:
    """A complete run in `folder`; `hostile` is planted in prompts, completions, metric names and configs."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(0)
    entries = {}
    for i, (name, kind) in enumerate(KIND.items()):
        out = folder / name
        out.mkdir()
        manifest = {"stage": name, "kind": kind, "config": CONFIG.get(name, {}), "seed": 17 + i, "wall_s": 3.7 * i**2}
        manifest |= {"versions": {"torch": "2.13.0", "vllm": "0.31.0"}, "git": "d3b4ad5" + "0" * 33, "device": "cpu"}
        manifest["metrics"] = {"rows": 812 * i, "note": hostile}
        manifest["inputs"] = {slot: [["", f"{i:064x}"]] for slot in FROM[name]}
        manifest["outputs"] = {"": {"type": "Model", "path": ".", "digest": f"{10 + i:064x}"}}
        write_json(out / "manifest.json", manifest)
        entries[name] = {"key": f"{i:064x}", "use": kind, "status": "cached" if i < 2 else "done", "from": FROM[name]}
    run = {"name": folder.name, "seed": 0, "status": "done", "finished": 1.79e9, "overrides": [], "stages": entries}
    write_json(folder / "run.json", run)
    write_lines(folder / "reason/metrics.jsonl", [grpo_row(step, steps, draw) for step in range(1, steps + 1)])
    sft = [{"step": s, "loss": 2.1 * math.exp(-s / 15) + 0.3, "lr": 1e-3 * (1 - s / 40)} for s in range(1, 41)]
    write_lines(folder / "cold/metrics.jsonl", sft)
    names = ["unfinished", "wrong", "mixed language", "repetition", "duplicate"]
    filters = [{"name": n, "dropped": 900 // (i + 1), "examples": [hostile or "2 2 2 2"]} for i, n in enumerate(names)]
    write_json(
        folder / "harvest/funnel.json",
        {"input": 8192, "filters": filters, "kept": 6137, "problems": 1024, "problems_kept": 901}
        | {"pass_rates": {"0": 60, "0-0.5": 300, "0.5-1": 600, "1": 64}, "kept_per_problem": {"0": 123, "8": 901}},
    )
    write_scores(folder / "scores", problems, draw, hostile)
    return folder


def grpo_row(step: int, steps: int, draw: random.Random) -> dict[str, Any]:
    """One line of a GRPO stage's metrics."""
    t = step / steps
    rise = 0.35 + 0.5 * (1 - math.exp(-3 * t)) + draw.gauss(0, 0.025)
    row: dict[str, Any] = {
        "step": step,
        "reward": 1.1 * rise,
        "reward_std": 0.4 - 0.2 * t,
        "accuracy": min(rise, 1.0),
        "accuracy/math": min(rise + 0.1, 1.0),
    }
    row |= {"part/math": min(1.0, rise + 0.08), "part/code": rise - 0.1, "part/format": min(1.0, 0.8 + t)}
    row |= {
        "length": 22 + 14 * t + draw.gauss(0, 0.8),
        "length/right": 24 + 14 * t,
        "finished": 0.99,
        "entropy": 0.9 - 0.5 * t,
    }
    row |= {"kl": 0.002 + 0.03 * t, "clip_fraction": 0.01 + 0.004 * draw.random()}
    row |= {
        "canary_gap/max": 10 ** draw.uniform(-7.2, -6.2),
        "canary_gap/mean": 2e-8,
        "canary_rounds": 1.0,
        "zero_variance": 0.2 + 0.4 * t,
        "lr": 2e-4,
        "grad_norm": 0.4,
    }
    row |= {"router/max_vio": 0.2, "router/max_vio/1": 0.2 + 0.05 * draw.random(), "router/max_vio/2": 0.15 + 0.1 * t}
    row |= {
        "router/min_load/1": 0.8,
        "router/min_load/2": 0.7,
        "seconds/generate": 0.9,
        "seconds/train": 0.6,
        "reflection": 0.1 + t,
        "seconds/sync": 0.03,
        "time": 1.7e9 + 2.1 * step,
    }
    row["load/1"] = [64 + 30 * math.sin(e + 3 * t) + draw.gauss(0, 4) for e in range(8)]
    row["load/2"] = [64 + 10 * math.cos(e) * (1 + 2 * t) for e in range(8)]
    return row


def write_scores(folder: Path, problems: int, draw: random.Random, hostile: str = "", k: int = 4) -> None:
    """scores.json and samples.parquet of an eval stage over MODELS."""
    rows, models = [], {}
    for model, level in MODELS.items():
        numbers = {"pass@1": level, "ci95": [level - 0.03, level + 0.03], "pass@k": {"8": min(1.0, level + 0.1)}}
        numbers |= {
            "cons@k": level + 0.04,
            "n_problems": problems,
            "k": k,
            "mean_tokens": 31.25,
            "finished": 0.993,
            "ungraded": 2,
        }
        code = numbers | {"pass@1": level * 0.9, "cons@k": None}
        models[model] = numbers | {"families": {"math": numbers | {"pass@1": level * 1.1}, "code": code}}
        for i in range(problems):
            family = "math" if i % 2 else "code"
            a, b = 10 + i, 3 + i % 7
            prompt = f"What is {a} * {b} - {i}?{hostile}" if i % 2 else f"Write f(x) so that f(1) = {a}.{hostile}"
            for _ in range(k):
                right = draw.random() < level
                answer = str(a * b - i + (0 if right else 2))
                think = f"{a} * {b} = {a * b}; {a * b} - {i} = {answer}" + hostile
                text = f"<think>{think}</think><answer>{answer}</answer>"
                if not i % 2:
                    text = f"<think>{hostile}f(1) is {a}, so add {a - 1}.</think><answer>\n```python\ndef f(x):\n"
                    text += f"    return x + {a - 1 if right else a}\n```\n</answer>"
                parts = {family: float(right), "format": 1.0}
                row = {
                    "rewards": parts,
                    "model": model,
                    "id": f"{family}-{i}",
                    "prompt": prompt,
                    "completion": text,
                    "family": family,
                }
                rows.append(row | {"correct": right, "n_tokens": len(text) // 3, "finish": "stop", "answer": answer})
    protocol = {"temperature": 0.6, "top_p": 0.95, "k": k, "rewards": {"math": 1.0, "mine": {"weight": 0.5}}}
    write_json(folder / "scores.json", {"models": models, "protocol": protocol})
    write_rows(folder / "samples.parquet", rows)


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
