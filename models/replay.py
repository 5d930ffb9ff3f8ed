"""Router replay: a forward pass that sends each token to experts chosen earlier, on stock `transformers` modules.

Between two programs, or two updates, about one router in ten picks another expert (arXiv 2510.11370), and the
log-probability of the token jumps. Replaying the *indices* removes that. The *weights* of the replayed experts are
computed anew from the current scores, with gradient, as the paper's equation does; for sigmoid routers (DeepSeek-V3)
from the scores without the selection bias, which chooses experts and never weighs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from models.router import MoELayer, RouterError, find_moe_layers

if TYPE_CHECKING:
    from torch import Tensor

Weigh = Callable[["Tensor", "Tensor"], "Tensor"]
"""(router logits (N, E), chosen experts (N, k)) -> their weights (N, k), differentiable in the logits."""

UNKNOWN = -1  # a token whose experts nobody recorded: it is routed as the router likes


def weigh_like(router: Any) -> Weigh:
    """How `router` turns logits into the weights of the experts it chose; RouterError for one we cannot imitate.

    Found by trying: sigmoid or softmax scores, as they are or divided by their sum over the chosen, times the scaling
    factor, must give the router's own weights on random states. Scores are gathered from all experts': an expert that
    the router would not have chosen has a score, and a gradient, too.
    """
    import torch

    scale = float(getattr(router, "routed_scaling_factor", None) or 1.0)

    def weigh(scores: Callable[[Tensor], Tensor], share: bool) -> Weigh:
        def weights(logits: Tensor, chosen: Tensor) -> Tensor:
            found = scores(logits.float()).gather(1, chosen)
            if share:
                found = found / (found.sum(dim=-1, keepdim=True) + 1e-20)
            return found * scale

        return weights

    generator = torch.Generator().manual_seed(0)
    weight = router.weight
    states = torch.randn(64, weight.shape[1], generator=generator).to(weight) / float(weight.detach().float().std())
    with torch.no_grad():
        found = router(states)
        if isinstance(found, tuple) and len(found) == 3:
            logits, own, chosen = found
            for scores in (torch.sigmoid, lambda x: x.softmax(dim=-1)):
                for share in (True, False):
                    tried, tolerance = weigh(scores, share), 1e-5 if own.dtype == torch.float32 else 2e-2
                    if torch.allclose(tried(logits, chosen), own.float(), rtol=tolerance, atol=1e-8):
                        return tried
    raise RouterError(f"router_replay: {type(router).__name__} weighs its experts in an unknown way: use off")


class RouterReplay:
    """Records which experts each token of a pass went to, and replays them in later passes.

    Routes are integer tensors (B, T, L, k): T tokens of a row as the model is given them, L MoE layers in depth order,
    k experts; `UNKNOWN` where there is none. `chunk` marks one forward pass over some of the rows; passes outside
    `recording` and `replaying` are left alone. Gradient checkpointing runs a pass again during backward: its routes
    are then found by what the pass was given.
    """

    def __init__(self, model: Any) -> None:
        from transformers.modeling_layers import GradientCheckpointingLayer

        self.layers = find_moe_layers(model)
        if not self.layers:
            raise RouterError(f"router_replay needs a Mixture-of-Experts model, {type(model).__name__} has no router")
        self._routes: Tensor | None = None  # of all rows
        self._given: Tensor | None = None  # (N, L, k) of the running pass
        self._seen: list[Tensor | None] | None = None  # by layer, while recording
        self._again: dict[int, tuple[Any, Tensor | None]] = {}
        self._changed: list[Tensor] = []
        self._running = False
        for i, layer in enumerate(self.layers):
            layer.router.register_forward_hook(self._router_hook(i, weigh_like(layer.router)))
        routers = {id(layer.router) for layer in self.layers}
        for block in model.modules():
            if isinstance(block, GradientCheckpointingLayer) and routers & {id(part) for part in block.modules()}:
                block.register_forward_pre_hook(self._before_block, with_kwargs=True)

    @contextmanager
    def recording(self, rows: int, tokens: int) -> Iterator[Tensor]:
        """Yield the routes (B, T, L, k) of the passes inside, filled as they run."""
        import torch

        k = int(self.layers[0].router.top_k)
        routes = torch.full((rows, tokens, len(self.layers), k), UNKNOWN, dtype=torch.int16)
        self._routes, self._seen = routes, [None] * len(self.layers)
        try:
            yield routes
        finally:
            self._routes = self._seen = None

    @contextmanager
    def replaying(self, routes: Tensor) -> Iterator[None]:
        """Passes inside follow `routes` (B, T, L, k)."""
        assert routes.shape[2] == len(self.layers), "routes have one entry for each MoE layer, dense layers none"
        self._again.clear()
        self._routes = routes
        try:
            yield
        finally:
            self._routes = None

    @contextmanager
    def chunk(self, rows: Tensor, columns: Tensor, mask: Tensor) -> Iterator[None]:
        """One forward pass over `rows` (R,); its token (r, t) is column `columns[r, t]` of the routes.

        `mask` (R, t): real tokens. Padding is recorded as unknown and routed freely.
        """
        if self._routes is None:
            yield
            return
        where = (rows[:, None].cpu(), columns.cpu())
        if self._seen is None:
            given = self._routes[where].to(mask.device, non_blocking=True).long()
            given[~mask] = UNKNOWN
            self._given = given.flatten(0, 1)
        self._running = True
        try:
            yield
            if self._seen is not None:
                self._keep(where, mask)
        finally:
            self._given, self._running = None, False

    def _keep(self, where: tuple[Tensor, Tensor], mask: Tensor) -> None:
        import torch

        assert self._routes is not None and self._seen is not None
        seen = [ids for ids in self._seen if ids is not None]
        assert len(seen) == len(self.layers), "every MoE layer has routed"
        stacked = torch.stack(seen, dim=1).view(*mask.shape, len(self.layers), -1).short().cpu()
        row, column = where[0].expand_as(where[1])[mask.cpu()], where[1][mask.cpu()]
        self._routes[row, column] = stacked[mask.cpu()]
        self._seen = [None] * len(self.layers)

    def changed(self) -> float:
        """Share of (token, layer) pairs replayed since the last call whose router would now choose other experts."""
        import torch

        if not self._changed:
            return 0.0
        changed, total = torch.stack(self._changed).sum(dim=0).tolist()
        self._changed = []
        return float(changed / max(total, 1))

    def _router_hook(self, i: int, weigh: Weigh) -> Callable[[Any, Any, Any], Any]:
        import torch

        def route(module: Any, args: Any, output: Any) -> Any:
            logits, weights, own = output
            if self._seen is not None:
                self._seen[i] = own.detach()
            if self._given is None:
                return None
            given = self._given[:, i]
            known = given[:, :1] != UNKNOWN
            chosen = torch.where(known, given, own)
            with torch.no_grad():  # counted twice where a block is recomputed: the share stays right
                differs = (chosen.sort(dim=-1)[0] != own.sort(dim=-1)[0]).any(dim=-1)
                self._changed.append(torch.stack([differs.sum(), known.sum()]).double())
            return logits, weigh(logits, chosen).to(weights.dtype), chosen.to(own.dtype)

        return route

    def _before_block(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """All blocks of one pass get the same position embeddings, and a checkpointed block keeps them for backward.

        There is no hook after the block: the second run stops as soon as backward has what it needs.
        """
        mark = kwargs.get("position_embeddings")
        if not self._running:
            self._given = self._again.get(id(mark), (None, None))[1]
        elif mark is not None and self._given is not None:
            self._again[id(mark)] = (mark, self._given)


def place_routes(routes: Sequence[Any], attention_mask: Tensor, layers: Sequence[MoELayer]) -> Tensor:
    """An engine's routes as (B, T, L, k), put where `attention_mask` (B, T) has each row's tokens.

    `routes[b]`: (t, all layers, k) with the first t tokens of row b, t at most its length. An engine counts every
    layer, dense ones too; which of them are MoE layers is what the model says (`MoELayer.index`).
    """
    import torch

    if any(found is None for found in routes):
        raise RouterError("router_replay: r3: the engine did not return the experts it chose: use r2 or off")
    index = [layer.index for layer in layers]
    if index[-1] >= routes[0].shape[1]:
        raise RouterError(f"router_replay: r3: the engine knows {routes[0].shape[1]} layers, the model {index[-1] + 1}")
    placed = torch.full((*attention_mask.shape, len(index), routes[0].shape[2]), UNKNOWN, dtype=torch.int16)
    for row, (found, start) in enumerate(zip(routes, attention_mask.int().argmax(dim=1).tolist(), strict=True)):
        chosen = torch.from_numpy(found[:, index].astype("int16"))
        placed[row, start : start + len(chosen)] = chosen
    return placed
