"""A reward model on a `vllm serve --runner pooling` of its own: for models too large to sit beside the trainer.

vLLM 0.31 serves `...ForSequenceClassification` folders of every causal architecture it knows; its CPU build does so
for MLA models (the tiny DeepSeek-V3), too, with the settings that `rollout.vllm_engine.llm_arguments` gives.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rollout.server_client import ReplicaDown
from rollout.server_pool import ServerPool
from rollout.vllm_engine import VllmOptions, llm_arguments

POOLING = "/pooling"
LONGEST = 32_768  # tokens; what models of 131,072 would reserve in cache is better left to the trainer


class ServerRewardEngine(ServerPool):
    """`rollout.reward_engine.RewardEngine` on one server of its own; it is stopped by `close`.

    EngineFailure as in `rollout.server_pool.ServerPool`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        dtype: Literal["auto", "float32", "bfloat16"] = "auto",
        gpu_memory: float = 0.3,
        stall_s: float = 120.0,
    ) -> None:
        config = json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))
        self.context: int | None = min(config.get("max_position_embeddings") or LONGEST, LONGEST)
        options = VllmOptions(max_model_len=self.context, dtype=dtype, max_num_seqs=64, gpu_memory=gpu_memory)
        arguments = llm_arguments(str(path), options, 0)
        for name in ("logprobs_mode", "worker_extension_cls", "skip_tokenizer_init"):
            arguments.pop(name)
        super().__init__({**arguments, "runner": "pooling"}, stall_s=stall_s)

    def score(self, ids: Sequence[Sequence[int]]) -> list[float]:
        """Raw scores in the rows' order: vLLM takes them at a row's last token, and no sigmoid is applied."""
        asked = {"task": "classify", "use_activation": False, "encoding_format": "float"}
        bodies = [{"input": list(row), **asked} for row in ids]
        answers = self.ask(bodies, range(len(bodies)), path=POOLING, whole=_one_number)
        self._forgive()
        return [float(answer["data"][0]["data"][0]) for answer in answers]


def _one_number(answer: Any) -> None:
    try:
        (number,) = answer["data"][0]["data"]
        float(number)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ReplicaDown("it does not answer with one number a text") from error
