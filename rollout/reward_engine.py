"""Engines that give a number for a text: the reward model in this process, or on a `vllm serve` of its own."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

RewardEngineKind = Literal["auto", "hf", "server"]


class RewardEngine(Protocol):
    """Scores token rows with one reward model."""

    context: int | None
    """Tokens of the longest row it can read; None = no limit that is known."""

    def score(self, ids: Sequence[Sequence[int]]) -> list[float]:
        """The raw score (before any sigmoid) of each row: prompt, judged text, end token."""
        ...

    def close(self) -> None: ...


def make_reward_engine(
    kind: RewardEngineKind,
    path: str | Path,
    *,
    dtype: Literal["auto", "float32", "bfloat16"] = "auto",
    batch_tokens: int = 16_384,
    stall_seconds: float = 120.0,
) -> RewardEngine:
    """An engine with the reward model of a folder; `auto` is the one in this process.

    dtype auto: float32 on a CPU, bfloat16 on a GPU. batch_tokens: of one forward pass, padding included.
    """
    if kind == "server":
        from rollout.reward_server import ServerRewardEngine

        if importlib.util.find_spec("vllm") is None:
            raise ValueError("engine: server: vLLM is not installed here; run `make setup`, or use engine: hf")
        return ServerRewardEngine(path, dtype=dtype, stall_s=stall_seconds)
    return HfRewardEngine(path, dtype=dtype, batch_tokens=batch_tokens)


class HfRewardEngine:
    """`RewardEngine` on a `transformers` model in this process, beside the trainer's."""

    def __init__(
        self,
        path: str | Path,
        *,
        dtype: Literal["auto", "float32", "bfloat16"] = "auto",
        batch_tokens: int = 16_384,
        device: str | None = None,
    ) -> None:
        import torch

        from models.checkpoint import load_tokenizer
        from models.scalar import load_scalar_model

        if dtype == "auto":
            dtype = "bfloat16" if torch.cuda.is_available() and device != "cpu" else "float32"
        self._model: Any = load_scalar_model(path, dtype, device=device).eval()
        self._pad, self._batch_tokens = load_tokenizer(path).pad_token_id, batch_tokens
        self.context = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)

    def score(self, ids: Sequence[Sequence[int]]) -> list[float]:
        """Raw scores in the rows' order."""
        return model_scores(self._model, ids, self._pad, batch_tokens=self._batch_tokens)

    def close(self) -> None:
        """Drop the model. Safe to call twice."""
        self._model = None


def model_scores(model: Any, ids: Sequence[Sequence[int]], pad_id: int, *, batch_tokens: int = 16_384) -> list[float]:
    """Scores of a reward model at the last token that is no padding, without gradient, in the model's own dtype.

    Rows are padded on the right, longest first, about `batch_tokens` tokens at a time; order is kept. A row must not
    end in the padding token: the score would come from before it.
    """
    import torch

    from rollout.forward import length_batches

    assert all(row and row[-1] != pad_id for row in ids), "a row to score ends in the end token"
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    scores = [0.0] * len(ids)
    try:
        with torch.no_grad():
            for rows in length_batches(ids, batch_tokens):
                longest = len(ids[rows[0]])
                tokens = torch.tensor([[*ids[i], *[pad_id] * (longest - len(ids[i]))] for i in rows], device=device)
                mask = torch.tensor([[1] * len(ids[i]) + [0] * (longest - len(ids[i])) for i in rows], device=device)
                found = model(input_ids=tokens, attention_mask=mask, use_cache=False).logits[:, 0].float().tolist()
                for row, score in zip(rows, found, strict=True):
                    scores[row] = score
    finally:
        model.train(was_training)
    return scores
