"""Which experts vLLM sent each token to: recorded in the worker where vLLM itself does not return it.

vLLM 0.31 returns routed experts (`enable_return_routed_experts`) from a model runner that needs Triton, so on a GPU
only. Its routers call `capture_fn` on every machine; what is missing on a CPU is whose token stands in which row of a
batch. `RouteRecorder` notes that where the runner lays out its batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Routes = np.ndarray[Any, np.dtype[np.int16]]
"""(T, layers, k): experts of the first T tokens of prompt + completion, -1 in layers without experts."""


class RouteRecorder:
    """Watches one vLLM model runner; `take` hands out what it saw, request by request."""

    def __init__(self, runner: Any) -> None:
        from vllm.model_executor.layers.fused_moe.layer import MoERunner

        self.layers = int(runner.model_config.get_total_num_hidden_layers())
        self._parts: dict[str, list[tuple[int, Routes]]] = {}  # request -> (first position, routes)
        self._batch: list[tuple[str, int, int]] = []  # (request, first position, tokens) in the batch's order
        self._seen: dict[int, Tensor] = {}
        for module in runner.get_model().modules():
            if isinstance(module, MoERunner):
                module.router.set_capture_fn(partial(self._see, module.layer_id))
        prepare = runner._prepare_inputs

        def noted(scheduler_output: Any, num_scheduled_tokens: Any) -> Any:
            self._close_batch()
            batch = runner.input_batch
            counts = [int(n) for n in num_scheduled_tokens]
            starts = [int(n) for n in batch.num_computed_tokens_cpu[: len(counts)]]
            self._batch = list(zip(batch.req_ids, starts, counts, strict=True))
            return prepare(scheduler_output, num_scheduled_tokens)

        runner._prepare_inputs = noted

    def _see(self, layer: int, experts: Tensor) -> None:
        self._seen[layer] = experts

    def _close_batch(self) -> None:
        if self._batch and self._seen:
            total = sum(n for *_, n in self._batch)
            k = next(iter(self._seen.values())).shape[1]
            step = np.full((total, self.layers, k), -1, dtype=np.int16)
            for layer, experts in self._seen.items():
                step[:, layer] = experts[:total].cpu().numpy()
            row = 0
            for request, start, n in self._batch:
                self._parts.setdefault(request, []).append((start, step[row : row + n]))
                row += n
        self._batch, self._seen = [], {}

    def take(self) -> dict[str, Routes]:
        """Routes of every request seen since the last call, by vLLM's internal request id."""
        self._close_batch()
        parts, self._parts = self._parts, {}
        return {request: join(pieces) for request, pieces in parts.items()}


def join(pieces: Iterable[tuple[int, Routes]]) -> Routes:
    """One array of pieces that begin at given positions; a later piece wins (a preempted request runs again)."""
    pieces = list(pieces)
    length = max(start + len(piece) for start, piece in pieces)
    routes = np.full((length, *pieces[0][1].shape[1:]), -1, dtype=np.int16)
    for start, piece in pieces:
        routes[start : start + len(piece)] = piece
    return routes


def by_request(routes: Mapping[str, Routes]) -> dict[str, Routes]:
    """Routes by the ids that `LLM.generate` reports: inside, vLLM appends a random part after a dash."""
    return {request.rsplit("-", 1)[0]: found for request, found in routes.items()}
