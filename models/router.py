"""What happens to a Mixture-of-Experts router while its model trains, and how evenly its experts are loaded.

Three policies, always explicit:

- `frozen`: the selection bias (`e_score_correction_bias`) stays as it is. The router's weights still train unless
  `freeze_weights` is set. This is what the public RL scripts for DeepSeek-V3-shaped models do, and the default.
- `bias_update(rate)`: DeepSeek-V3's auxiliary-loss-free balance (arXiv 2408.15664, 2412.19437 section 2.1.2): after
  each optimizer step `b += rate * sign(mean load - load)`, on the counts of the whole batch. The paper's rate is 0.001.
  `bias_update(rate, centred)` subtracts the mean of the signs (Moonlight, torchtitan), so the biases cannot drift.
- `aux(coef)`: the classic load-balancing loss of architectures that have one (Qwen3-MoE, Mixtral), of each layer by
  itself and averaged over layers (Switch Transformer, arXiv 2101.03961, equation 4, is about one layer, too).

The bias chooses experts and never weighs them, so it must reach the rollout engine with every sync, in fp32.
DeepSeek does not say what it did to the bias in RL; frameworks differ (frozen, 0, 1e-4, 1e-3).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

BIAS = "e_score_correction_bias"
_FORM = re.compile(r"(\w+)(?:\(([^()]*)\))?")


class RouterError(ValueError):
    """A router policy that does not parse or cannot work on a model; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class RouterPolicy:
    """One of `frozen`, `bias_update(rate)`, `aux(coef)`. `value` is the rate or the coefficient, 0 for `frozen`."""

    kind: Literal["frozen", "bias_update", "aux"] = "frozen"
    value: float = 0.0
    centred: bool = False
    freeze_weights: bool = False

    @classmethod
    def parse(cls, text: str, *, freeze_weights: bool = False) -> RouterPolicy:
        """Read `frozen`, `bias_update(0.001)`, `bias_update(0.001, centred)` or `aux(0.001)`; RouterError otherwise."""
        found = _FORM.fullmatch(text.strip())
        kind, inside = (found[1], found[2]) if found else ("", None)
        if kind == "frozen" and inside is None:
            return cls(freeze_weights=freeze_weights)
        if kind not in ("bias_update", "aux") or inside is None:
            raise RouterError(f"router: {text!r} is none of frozen, bias_update(rate), aux(coef)")
        number, *rest = (part.strip() for part in inside.split(","))
        if rest not in ([], ["centred"]) or (rest and kind == "aux"):
            raise RouterError(f"router: {text!r}: only `bias_update(rate, centred)` takes a second word")
        try:
            value = float(number)
        except ValueError:
            raise RouterError(f"router: {text!r}: {number!r} is not a number, as in {kind}(0.001)") from None
        if not 0 < value < 1:
            raise RouterError(
                f"router: {text!r}: {value:g} must lie between 0 and 1; to leave the router alone: frozen"
            )
        return cls(kind, value, centred=bool(rest), freeze_weights=freeze_weights)  # type: ignore[arg-type]

    @property
    def aux_coef(self) -> float:
        """Weight of the auxiliary loss. Hand it to TRL's `router_aux_loss_coef`: left out, TRL turns the loss on."""
        return self.value if self.kind == "aux" else 0.0

    def __str__(self) -> str:
        if self.kind == "frozen":
            return self.kind
        return f"{self.kind}({self.value:g}{', centred' if self.centred else ''})"


@dataclass(frozen=True, slots=True)
class MoELayer:
    """One Mixture-of-Experts block: its router, its experts, and the selection bias where it has one."""

    index: int
    experts: Any
    router: Any
    bias: Any | None

    @property
    def n_experts(self) -> int:
        return int(self.router.weight.shape[0])


def find_moe_layers(model: Any) -> list[MoELayer]:
    """The MoE blocks of a `transformers` model in depth order; empty for a dense model."""
    layers = []
    for name, block in model.named_modules():
        experts = getattr(block, "experts", None)
        router = getattr(block, "gate", None) or getattr(block, "router", None)
        if experts is None or getattr(router, "weight", None) is None:
            continue
        digits = [int(part) for part in name.split(".") if part.isdigit()]
        biases = [b for key, b in block.named_buffers() if key.rsplit(".", 1)[-1] == BIAS]
        biases += [p for key, p in block.named_parameters() if key.rsplit(".", 1)[-1] == BIAS]
        layers.append(MoELayer(digits[-1] if digits else len(layers), experts, router, biases[0] if biases else None))
    return layers


def max_violation(load: torch.Tensor) -> float:
    """MaxVio = max(load) / mean(load) - 1 of one layer (2408.15664): 0 is even, E/k - 1 is one expert taking all."""
    mean = float(load.sum()) / load.numel()
    return float(load.max()) / mean - 1.0 if mean > 0 else 0.0


def check_policy(policy: RouterPolicy, model: Any) -> list[MoELayer]:
    """The MoE layers of `model`; RouterError where the policy cannot work on it."""
    layers = find_moe_layers(model)
    name = type(model).__name__
    if policy.kind != "frozen" and not layers:
        raise RouterError(f"router: {policy} needs a Mixture-of-Experts model, {name} has no router: use frozen")
    if policy.kind == "bias_update" and any(layer.bias is None for layer in layers):
        raise RouterError(f"router: {policy} needs a selection bias ({BIAS}), {name} has none: use aux(coef) or frozen")
    config = model.config.get_text_config()
    if policy.kind == "aux" and not (
        hasattr(config, "output_router_logits") and hasattr(config, "router_aux_loss_coef")
    ):
        raise RouterError(f"router: {policy}: {name} computes no auxiliary loss: use bias_update(rate) or frozen")
    return layers


def balance_each_layer(model: Any) -> Callable[[], None]:
    """Make the auxiliary loss of `model`'s architecture the mean over its layers' own; the function returned undoes it.

    transformers (5.17) adds up tokens and probabilities over all layers before it compares experts: layers that lean to
    different experts then cancel out, and a deep model looks even while none of its layers is. Scale and minimum stay
    what they were, top_k. The loss is a function of the architecture's module, so all its models here get it.
    """
    home, name = sys.modules[type(model).__module__], "load_balancing_loss_func"
    pooled = getattr(home, name, None)
    if pooled is None or hasattr(pooled, "pooled"):
        return lambda: None

    def each_layer(gate_logits: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(gate_logits, tuple):
            return pooled(gate_logits, *args, **kwargs)
        return sum(pooled((layer,), *args, **kwargs) for layer in gate_logits) / len(gate_logits)

    each_layer.pooled = pooled  # type: ignore[attr-defined]
    setattr(home, name, each_layer)
    return lambda: setattr(home, name, pooled)


class RouterWatch:
    """Counts the tokens each expert gets, and carries out a policy after each optimizer step.

    Counts add up over the micro-batches of a step (training forwards with gradients only, padding left out where the
    model was given a 2-D attention mask) and over processes. Gradient checkpointing runs each forward twice: the counts
    double, loads and signs stay right.
    """

    def __init__(self, model: Any, policy: RouterPolicy) -> None:
        import torch

        self.policy = policy
        self.layers = check_policy(policy, model)
        self.steps = 0
        self._mask: torch.Tensor | None = None
        self._prepare(model)
        self._undo = balance_each_layer(model) if policy.kind == "aux" else lambda: None
        self._counts = [
            torch.zeros(x.n_experts, dtype=torch.float64, device=x.router.weight.device) for x in self.layers
        ]
        self._last = [count.clone() for count in self._counts]
        self._handles = [model.register_forward_pre_hook(self._see_mask, with_kwargs=True)] if self.layers else []
        for i, layer in enumerate(self.layers):
            self._handles.append(layer.experts.register_forward_pre_hook(self._counter(i), with_kwargs=True))

    def _prepare(self, model: Any) -> None:
        for layer in self.layers:
            if layer.bias is not None:
                layer.bias.data = layer.bias.data.float()  # a bf16 bias cannot hold steps of 0.001 beside values near 1
                layer.bias.requires_grad_(False)
            if self.policy.freeze_weights:
                layer.router.weight.requires_grad_(False)
        config = model.config.get_text_config()
        if hasattr(config, "router_aux_loss_coef"):
            config.router_aux_loss_coef = self.policy.aux_coef
            config.output_router_logits = self.policy.kind == "aux"
        if hasattr(model, "router_aux_loss_coef"):  # a copy that transformers takes when it builds the model
            model.router_aux_loss_coef = self.policy.aux_coef

    def _see_mask(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        mask = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
        if getattr(mask, "ndim", 0) == 2 and (ids := kwargs.get("input_ids")) is not None:
            mask = mask[:, -ids.shape[1] :]  # a mask also covers what is in the cache
        self._mask = mask.reshape(-1).bool() if getattr(mask, "ndim", 0) == 2 else None

    def _counter(self, i: int) -> Any:
        import torch

        def count(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if not (module.training and torch.is_grad_enabled()):
                return
            chosen = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor) and x.dtype == torch.int64]
            if not chosen:
                raise RouterError(
                    f"router: {type(module).__name__} is not told its experts' indices: cannot count its load"
                )
            ids = chosen[0].detach()
            if self._mask is not None and self._mask.numel() == ids.shape[0]:
                ids = ids[self._mask]
            self._counts[i] += torch.bincount(ids.reshape(-1), minlength=self.layers[i].n_experts)

        return count

    def step(self) -> dict[str, float]:
        """Close one optimizer step: update the biases, reset the counts, return the step's load numbers.

        Keys: `router/max_vio` (mean over layers), `router/max_vio/<layer>`, `router/min_load/<layer>` (share of the
        mean load that the emptiest expert got: 0 = an unused expert). Empty for a dense model.
        """
        import torch

        self.steps += 1
        out: dict[str, float] = {}
        for i, (layer, count) in enumerate(zip(self.layers, self._counts, strict=True)):
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.all_reduce(count)
            if self.policy.kind == "bias_update" and layer.bias is not None and count.sum() > 0:
                self._update(layer.bias, count)
            out[f"router/max_vio/{layer.index}"] = max_violation(count)
            out[f"router/min_load/{layer.index}"] = float(count.min() / count.mean()) if count.sum() > 0 else 0.0
            self._last[i] = count.clone()
            count.zero_()
        if self.layers:
            out["router/max_vio"] = sum(out[f"router/max_vio/{x.index}"] for x in self.layers) / len(self.layers)
        return out

    def _update(self, bias: torch.Tensor, count: torch.Tensor) -> None:
        import torch

        with torch.no_grad():
            sign = torch.sign(count.mean() - count)
            if self.policy.centred:
                sign = sign - sign.mean()
            bias += self.policy.value * sign.to(bias.dtype)

    def loads(self) -> dict[int, list[float]]:
        """Share of the last step's tokens per layer and expert; each list sums to 1 (or is all 0 before a step)."""
        return {
            layer.index: (count / count.sum().clamp(min=1)).tolist()
            for layer, count in zip(self.layers, self._last, strict=True)
        }

    def close(self) -> None:
        """Take the hooks off the model, and give the architecture its auxiliary loss back."""
        self._undo()
        for handle in self._handles:
            handle.remove()
        self._handles = []
