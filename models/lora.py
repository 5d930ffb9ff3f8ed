"""LoRA (arXiv 2106.09685) through peft: a small adapter trains, the weights under it stay as they are.

The adapter sits inside the model, which keeps its class and its config: the rest of the house sees an ordinary model.
What leaves the trainer - to the rollout engine, to the saved model - is merged, W + alpha / rank * B A, under the names
that a model without an adapter has. Checkpoints hold the adapter and the buffers (router biases) only.

`attention` targets the linear layers of attention. `linear` adds those of dense MLPs and shared experts. Routed experts
are one stacked parameter in transformers 5, no linear layers, and routers are none either: neither gets an adapter.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

Targets = Literal["attention", "linear"]
ADAPTER = "adapter.safetensors"  # in a checkpoint, in place of the model's weights
NAME = "default"  # what peft calls the only adapter


class LoraError(ValueError):
    """The adapter does not fit the model; the message is one line for the user."""


def add_adapter(model: Any, *, rank: int, alpha: float, targets: Targets, seed: int) -> Any:
    """Put an adapter into `model`, in place, and freeze everything else. A is drawn from `seed`, B is 0: at first the
    model computes what it did.

    Raises:
        LoraError: the model has no such layers.
    """
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    names = target_names(model, targets)
    if not names:
        raise LoraError(f"lora_targets: {targets}: {type(model).__name__} has no such linear layers: lora_rank: 0")
    # Seen as a transformers model, peft 0.21 takes a shared expert's `gate_proj` for the stacked parameter of all
    # routed experts, and puts an adapter there instead. Inside a plain module it looks at names alone.
    plain = torch.nn.ModuleList([model])
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=[f"0.{name}" for name in names], lora_dropout=0.0)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        inject_adapter_in_model(config, plain, adapter_name=NAME)
    return model


def target_names(model: Any, targets: Targets) -> list[str]:
    """Full names of the linear layers that get an adapter, the output head never among them."""
    from torch import nn

    head = model.get_output_embeddings()
    names = [name for name, layer in model.named_modules() if isinstance(layer, nn.Linear) and layer is not head]
    if targets == "linear":
        return names
    return [name for name in names if any("attn" in part or "attention" in part for part in name.split("."))]


def has_adapter(model: Any) -> bool:
    return any(True for _ in _adapted(model))


def adapter_parameters(model: Any) -> dict[str, Any]:
    """The A and B of every adapted layer by name."""
    return {name: parameter for name, parameter in model.named_parameters() if ".lora_" in name}


def merged_state(model: Any) -> dict[str, Tensor]:
    """`model.state_dict()` as if there had never been an adapter: merged weights under their plain names."""
    state = dict(model.state_dict())
    for name, layer in _adapted(model):
        own = {key: state.pop(key) for key in list(state) if key.startswith(f"{name}.")}
        base = f"{name}.base_layer."
        state |= {f"{name}.{key[len(base) :]}": value for key, value in own.items() if key.startswith(base)}
        weight = layer.base_layer.weight.detach()
        state[f"{name}.weight"] = weight + layer.get_delta_weight(NAME).detach().to(weight.dtype)
    return state


def save_adapter(model: Any, folder: str | Path) -> None:
    """What training changes: the adapter, and the buffers of the model."""
    from safetensors.torch import save_file

    Path(folder).mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in _changing(model).items()}, Path(folder) / ADAPTER)


def load_adapter(model: Any, folder: str | Path) -> None:
    """Take over what `save_adapter` wrote.

    Raises:
        LoraError: the folder is of a run with another adapter, or with none.
    """
    import torch
    from safetensors.torch import load_file

    file, own = Path(folder) / ADAPTER, _changing(model)
    saved = load_file(file) if file.exists() else {}
    if {name: tensor.shape for name, tensor in saved.items()} != {name: tensor.shape for name, tensor in own.items()}:
        raise LoraError(f"{folder} holds no adapter of this shape: it is of a run with other lora_* settings")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(saved[name])


def _changing(model: Any) -> dict[str, Tensor]:
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    wanted = trained | {name for name, _ in model.named_buffers()}
    return {name: tensor.detach() for name, tensor in model.state_dict().items() if name in wanted}


def _adapted(model: Any) -> Iterator[tuple[str, Any]]:
    return ((name, layer) for name, layer in model.named_modules() if hasattr(layer, "lora_A"))
