"""The grpo stage against TRL's GRPOTrainer: same model, prompts, lengths and optimizer, in turns, each in its process.

    .venv/bin/python benchmarks/grpo_step.py                  # tiny MoE, TRL generating with transformers
    .venv/bin/python benchmarks/grpo_step.py --dense          # a dense model, TRL generating with vLLM
    .venv/bin/python benchmarks/grpo_step.py --steps 24 --turns 1 --seeds 0 1 2   # learning curves
    .venv/bin/python benchmarks/grpo_step.py --ours ours whole overlap --threads 2   # against our own other ways
    .venv/bin/python benchmarks/grpo_step.py --ours pair --threads 1 --trl-threads 2   # each at its best
    .venv/bin/python benchmarks/grpo_step.py --dense --large --prompts 8 --group 8 --length 256   # on a GPU

`whole` runs each prompt for every sample (`share_prompts: false`), `late` grades when all is drawn, `overlap` draws the
next batch meanwhile, `pair` has two engine processes, `servers` two servers. Steps 1, 2 of each turn are left out of
the times. TRL cannot sync a MoE into vLLM on a CPU at all, and a dense model only while vLLM keeps its linear weights
unpacked: the child `trl-vllm` makes it do so, a favour that users do not get.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
R1 = str(Path(sys.executable).with_name("r1"))
COLD = """
name: grpo-step
stages:
  base: {use: model, with: {source: tiny-moe}}
  problems: {use: problems, with: {source: arithmetic+python, n: 2048, cold_start: 512, direct: 0.65}}
  cold: {use: sft, from: {model: base, samples: problems.cold_start}, with: {epochs: 3, lr: 4.0e-4, batch: 4}}
"""
PROMPTS, GROUP, LENGTH, RATE = 16, 16, 96, 2e-4
SMALL: dict[str, Any] = {
    "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 5, "num_attention_heads": 4,
    "num_key_value_heads": 4, "head_dim": 32,
}  # fmt: skip
LARGE: dict[str, Any] = {
    "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
    "num_key_value_heads": 8, "head_dim": 128,
}  # fmt: skip
PHASES = ("sync", "canary", "generate", "score", "train")


WAYS: dict[str, dict[str, Any]] = {
    "ours": {}, "late": {}, "whole": {"share_prompts": False}, "overlap": {"overlap": True},
    "pair": {"replicas": 2}, "pair-overlap": {"replicas": 2, "overlap": True},
    "servers": {"engine": "server", "replicas": 2},
}  # fmt: skip
"""Settings of our trainer that are compared, by name."""


def settings(steps: int, length: int, beta: float) -> dict[str, Any]:
    return {
        "steps": steps, "prompts_per_step": PROMPTS, "group": GROUP, "max_tokens": length, "lr": RATE, "beta": beta,
        "epsilon": 0.2, "save_every": 0,
    }  # fmt: skip


def say(**numbers: Any) -> None:
    print(json.dumps(numbers), flush=True)


def cpu() -> float:
    """CPU seconds of this process since the last call: what a busy machine does not change much."""
    global spent
    spent, before = time.process_time(), spent
    return spent - before


spent = 0.0


def share_of_digits(samples_P_G: Sequence[Sequence[Any]]) -> Any:
    """A reward for a random model, which must vary in something."""
    from rollout.types import Scored

    total = [[sum(c.isdigit() for c in s.completion) / max(len(s.completion), 1) for s in g] for g in samples_P_G]
    return Scored(total, {"math": total}, errors=0)  # type: ignore[arg-type]


def make_scorer(dense: bool) -> Any:
    from rewards.scorer import Scorer

    return share_of_digits if dense else Scorer({"math": 1.0, "code": 1.0, "format": 0.1})


def ours(
    way: str, model: str, rows: list[dict[str, Any]], steps: int, length: int, beta: float, seed: int, dense: bool
) -> None:
    from rl.config import GrpoSettings
    from rl.grpo import train_grpo

    class Bar:
        def advance(self, n: int = 1, **fields: Any) -> None: ...

    def log(step: int, **numbers: Any) -> None:
        phases = {name: numbers.get(f"seconds/{name}", 0.0) for name in PHASES}
        tokens = numbers["length"] * PROMPTS * GROUP
        say(seconds=numbers["seconds/step"], cpu=cpu(), tokens=tokens, reward=numbers["reward"], phases=phases)

    scorer = make_scorer(dense)
    with tempfile.TemporaryDirectory() as scratch:
        train_grpo(
            model, rows, GrpoSettings(**settings(steps, length, beta), **WAYS[way]),
            (lambda samples: scorer(samples)) if way == "late" else scorer,
            Path(scratch) / "o", seed=seed, log=log, progress=lambda text, total: Bar(),
            scratch=Path(scratch) / "scratch",
        )  # fmt: skip


def trl(
    model: str, rows: list[dict[str, Any]], steps: int, length: int, beta: float, seed: int, dense: bool, vllm: bool
) -> None:
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from models.chat import render_prompt
    from models.checkpoint import load_model, load_tokenizer
    from rl.config import GrpoSettings
    from rl.schedule import Schedule
    from rollout.types import Sample

    tokenizer, score = load_tokenizer(model), make_scorer(dense)
    ids = [render_prompt(tokenizer, row, "chat") for row in rows]
    texts = [tokenizer.decode(i) for i in ids]
    same = all(tokenizer(text)["input_ids"] == i for text, i in zip(texts[:8], ids[:8], strict=True))
    assert same, "TRL must see the same prompt tokens"

    def reward(completions: list[str], row: list[int], **_: Any) -> list[float | None]:
        samples = [
            [Sample(rows[i]["prompt"], text, rows[i].get("answer"), "stop", len(text), rows[i])]
            for i, text in zip(row, completions, strict=True)
        ]
        return [group[0] for group in score(samples).total_P_G]

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds = time.perf_counter() - self.began

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "reward" in logs:
                tokens = logs["completions/mean_length"] * PROMPTS * GROUP
                say(seconds=self.seconds, cpu=cpu(), tokens=tokens, reward=logs["reward"], phases={})

    order = Schedule(rows, GrpoSettings(**settings(steps, length, beta)), seed).order()
    with tempfile.TemporaryDirectory() as scratch:
        args = GRPOConfig(
            output_dir=scratch, max_steps=steps, per_device_train_batch_size=PROMPTS * GROUP, num_generations=GROUP,
            max_completion_length=length, learning_rate=RATE, lr_scheduler_type="constant", adam_beta2=0.95,
            beta=beta, epsilon=0.2, loss_type="grpo", router_aux_loss_coef=0.0, optim="adamw_torch_fused",
            shuffle_dataset=False, logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True, seed=seed,
            bf16=on_gpu(), use_vllm=vllm, vllm_mode="colocate", vllm_max_model_length=length + 160,
            vllm_gpu_memory_utilization=0.4 if on_gpu() else 0.1, vllm_importance_sampling_correction=False,
        )  # fmt: skip
        trainer = GRPOTrainer(
            model=model if vllm else load_model(model), reward_funcs=[reward], args=args, processing_class=tokenizer,
            train_dataset=Dataset.from_dict({"prompt": [texts[i] for i in order], "row": order}), callbacks=[Clock()],
        )  # fmt: skip
        trainer.train()


def unpacked_linear_layers() -> None:
    """vLLM on a CPU drops linear weights once they are packed; TRL's sync then finds nothing to load into."""
    from torch.nn import functional
    from vllm.model_executor.layers import utils

    utils.dispatch_cpu_unquantized_gemm = lambda layer, remove_weight: setattr(layer, "cpu_linear", functional.linear)


def on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def dense_model(folder: Path, large: bool) -> str:
    """A Qwen3-shaped dense model of 1.3 M parameters, or with the layers of Qwen3-0.6B (440 M), random, with the tiny
    base's tokenizer. In bfloat16 on a GPU: TRL's vLLM takes the precision of the folder."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from models.checkpoint import load_tokenizer, save_model

    tokenizer = load_tokenizer(ROOT / "models" / "tiny_base")
    torch.manual_seed(0)
    config = Qwen3Config(
        **(LARGE if large else SMALL), vocab_size=len(tokenizer), max_position_embeddings=512,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config)
    save_model(model.bfloat16() if on_gpu() else model, tokenizer, folder / "dense")
    return str(folder / "dense")


def child(options: argparse.Namespace) -> None:
    global PROMPTS, GROUP
    PROMPTS, GROUP = options.prompts, options.group
    vllm = options.child == "trl-vllm"
    os.environ.update(HF_HUB_OFFLINE="1", VLLM_CPU_OMP_THREADS_BIND="nobind", VLLM_ENABLE_V1_MULTIPROCESSING="0")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    if vllm:
        os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="29533")
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        if not on_gpu():
            unpacked_linear_layers()
    rows = [json.loads(line) for line in Path(options.rows).read_text().splitlines()]
    common = (options.model, rows, options.steps, options.length, options.beta, options.seed, options.dense)
    if options.child in WAYS:
        ours(options.child, *common)
    else:
        trl(*common, vllm)
    say(peak_mib=peak_mib())


def peak_mib() -> float:
    """Of this process's memory; on a GPU of what torch took there, the engine of this process included."""
    if on_gpu():
        import torch

        return torch.cuda.max_memory_reserved() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def turn(name: str, model: str, rows: Path, options: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    flags = ["--child", name, "--model", model, "--rows", str(rows), "--steps", str(options.steps)]
    flags += [
        "--seed",
        str(seed),
        "--length",
        str(options.length),
        "--beta",
        str(options.beta),
        *("--prompts", str(options.prompts), "--group", str(options.group)),
        *(["--dense"] if options.dense else []),
    ]
    threads = options.trl_threads or options.threads if name.startswith("trl") else options.threads
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [sys.executable, __file__, *flags], capture_output=True, text=True, check=False, cwd=ROOT, env=environment
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]
    if done.returncode or not lines:
        sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
    print(f"{name} seed {seed}: {lines[-2]}", file=sys.stderr, flush=True)
    return lines


def report(found: dict[str, list[list[dict[str, Any]]]]) -> None:
    print(f"{'trainer':<10}{'s/step':>9}{'CPU s':>8}{'tokens/s':>10}{'peak MiB':>10}   share of the step")
    medians, cpus = {}, {}
    for name, turns in found.items():
        steps = [line for lines in turns for line in lines[2:-1]]
        medians[name] = statistics.median(line["seconds"] for line in steps)
        cpus[name] = statistics.median(line["cpu"] for line in steps)
        speed = sum(line["tokens"] for line in steps) / sum(line["seconds"] for line in steps)
        total = sum(line["seconds"] for line in steps)
        parts = {p: sum(line["phases"].get(p, 0.0) for line in steps) / total for p in PHASES if steps[0]["phases"]}
        shares = " ".join(f"{part} {100 * share:.1f}%" for part, share in parts.items())
        peak = max(lines[-1]["peak_mib"] for lines in turns)
        print(f"{name:<10}{medians[name]:>9.2f}{cpus[name]:>8.2f}{speed:>10.0f}{peak:>10.0f}   {shares}")
    *mine, theirs = medians
    for name in mine:
        wall, work = medians[theirs] / medians[name], cpus[theirs] / cpus[name]
        print(f"{theirs} / {name}: {wall:.2f} in wall time, {work:.2f} in CPU time (medians of {len(steps)} steps)")
    curves_of = {name: [[line["reward"] for line in lines[:-1]] for lines in turns] for name, turns in found.items()}
    for name, curves in curves_of.items():
        n = len(curves[0]) // 4 or 1
        means = [statistics.fmean(v for curve in curves for v in curve[i * n : (i + 1) * n]) for i in range(4)]
        ends = ", ".join(f"{statistics.fmean(curve[-n:]):.3f}" for curve in curves)
        print(
            f"{name:<10} reward by quarter: " + " ".join(f"{m:.3f}" for m in means) + f"   last quarter by run: {ends}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dense", action="store_true", help="a dense model, TRL with use_vllm=True")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--turns", type=int, default=2, help="how often the two take turns")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--length", type=int, default=LENGTH)
    parser.add_argument("--beta", type=float, default=0.001, help="KL coefficient (R1: 0.001); 0 = no reference model")
    parser.add_argument("--prompts", type=int, default=PROMPTS, help="a step")
    parser.add_argument("--group", type=int, default=GROUP, help="samples of a prompt")
    parser.add_argument("--large", action="store_true", help="with --dense: the layers of Qwen3-0.6B, for a GPU")
    parser.add_argument("--cold", help="a model folder for the MoE, instead of a cold start made now")
    parser.add_argument("--ours", nargs="+", choices=tuple(WAYS), default=["ours"], help="ways of ours to compare")
    parser.add_argument("--threads", type=int, default=1, help="OMP_NUM_THREADS of every trainer")
    parser.add_argument("--trl-threads", type=int, help="other than --threads, where TRL gains from more")
    parser.add_argument("--child", choices=(*WAYS, "trl", "trl-vllm"), help=argparse.SUPPRESS)
    for hidden in ("--model", "--rows"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.child:
        child(options)
        return
    from pipelines.artifacts import Problems, read_rows

    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "cold.yaml"
        file.write_text(COLD)
        until = ["--until", "problems"] if options.dense or options.cold else []
        subprocess.run([R1, "run", str(file), "--workdir", scratch, *until], check=True, stdout=sys.stderr)
        run = Path(scratch) / "grpo-step"
        model = options.cold or str(run / "cold" / "model")
        if options.dense:
            model = dense_model(Path(scratch), options.large)
        rows = Path(scratch) / "rows.jsonl"
        rows.write_text("".join(json.dumps(row) + "\n" for row in read_rows(Problems(run / "problems" / "train"))))
        names = (*options.ours, "trl-vllm" if options.dense else "trl")
        found: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in names}
        for seed in options.seeds:
            for _ in range(options.turns):
                for name in names:
                    found[name].append(turn(name, model, rows, options, seed))
        report(found)


if __name__ == "__main__":
    main()
