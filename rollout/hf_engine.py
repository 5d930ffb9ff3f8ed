"""The fallback engine: plain `transformers` generation. Slow, but it runs wherever the trainer runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rollout.forward import model_logprobs
from rollout.requests import request_seed, stop_token_ids
from rollout.types import Each, Rollout, SamplingParams


class HfEngine:
    """`rollout.types.Engine` on a `transformers` model of its own (a copy: syncs are explicit, as with vLLM)."""

    def __init__(
        self, model_path: str | Path, *, dtype: str = "float32", batch_tokens: int = 16384, device: str | None = None
    ) -> None:
        from models.checkpoint import load_model

        self._model: Any = load_model(model_path, dtype, device=device).eval()
        self._batch_tokens = batch_tokens
        self.eos_ids = stop_token_ids(model_path)

    def generate(
        self, prompts_ids: Sequence[Sequence[int]], params: SamplingParams, n: int, *, each: Each | None = None
    ) -> list[list[Rollout]]:
        """`n` rollouts for each prompt, in order; the end token is part of the completion."""
        flat = [list(ids) for ids in prompts_ids for _ in range(n)]
        longest = max((len(ids) for ids in flat), default=0) + params.max_tokens
        size = max(1, self._batch_tokens // max(longest, 1))
        rollouts: list[Rollout] = []
        for start in range(0, len(flat), size):
            made = self._generate_batch(flat[start : start + size], params, start)
            if each is not None:
                for place, rollout in enumerate(made, start):
                    each(place, rollout)
            rollouts += made
        return [rollouts[i : i + n] for i in range(0, len(rollouts), n)]

    def _generate_batch(self, prompts: list[list[int]], params: SamplingParams, first: int) -> list[Rollout]:
        import torch

        ends = sorted({*self.eos_ids, *params.stop_ids})
        width, pad = max(len(ids) for ids in prompts), ends[0] if ends else 0
        tokens = torch.tensor([[pad] * (width - len(ids)) + ids for ids in prompts], device=self._model.device)
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts], device=tokens.device)
        sampling = {"do_sample": True, "temperature": params.temperature, "top_p": params.top_p, "top_k": 0}
        with torch.random.fork_rng(), torch.no_grad():
            if params.seed is not None:
                torch.manual_seed(request_seed(params.seed, first))
            output = self._model.generate(
                input_ids=tokens,
                attention_mask=mask,
                max_new_tokens=params.max_tokens,
                eos_token_id=ends or None,
                pad_token_id=pad,
                **(sampling if params.temperature > 0 else {"do_sample": False}),
            )[:, width:].tolist()
        completions = [_cut(ids, set(ends)) for ids in output]
        natural = model_logprobs(self._model, [p + c for p, c in zip(prompts, completions, strict=True)])
        return [
            Rollout(p, c, values[len(p) - 1 :], "stop" if c and c[-1] in ends else "length")
            for p, c, values in zip(prompts, completions, natural, strict=True)
        ]

    def sync(self, model: Any) -> None:
        """Copy all weights and buffers of `model`, its adapter merged."""
        from models.lora import merged_state

        self._model.load_state_dict(merged_state(model), strict=True)

    def logprobs(self, ids: Sequence[Sequence[int]]) -> list[list[float]]:
        """Teacher-forced natural log-probabilities (nats) of ids[1:], one list per sequence."""
        return model_logprobs(self._model, ids, batch_tokens=self._batch_tokens)

    def close(self) -> None:
        """Drop the model. Safe to call twice."""
        self._model = None


def _cut(ids: list[int], ends: set[int]) -> list[int]:
    """The completion up to and including its first end token (what follows is padding)."""
    for i, token in enumerate(ids):
        if token in ends:
            return ids[: i + 1]
    return ids
