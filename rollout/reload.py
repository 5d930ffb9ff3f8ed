"""Loads a whole state into a running vLLM model, inside its worker.

On a CPU vLLM 0.31 multiplies with packed copies of the weights, made once when a model starts. `load_in_place` has the
architecture's own loader copy into the running tensors, and packs again what was packed: half the time of vLLM's
reload on a small model, and what the state lacks is an error.

Everywhere else, and for quantized weights, it is vLLM's layer by layer reload, which keeps the addresses that CUDA
graphs hold. It leaves things behind without an error (docs/upstream/): on a CPU experts and a tied output head,
everywhere the experts and attention sinks of gpt-oss. What is below `load_in_place` brings them along.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def load_state(runner: Any, state: dict[str, Tensor]) -> None:
    """Load `state` (checkpoint format) into the model of vLLM's `runner`, buffers included."""
    model = runner.get_model()
    reset_moe_kernels(model)
    if fills_in_place(runner):
        load_in_place(model, state, runner.model_config.dtype)
    else:
        runner.reload_weights(weights_iterator=_with_plain_copies(model, state))
        pack_tied_heads(model)


def fills_in_place(runner: Any) -> bool:
    """Whether `load_in_place` can serve: on a CPU, weights as they are in a checkpoint."""
    return bool(runner.device.type == "cpu" and runner.model_config.quantization is None)


@dataclass
class PackedLayer:
    """A layer that vLLM changes after it was loaded. `fresh` are parameters as a checkpoint fills them, by name, where
    the layer no longer has such."""

    name: str
    layer: Any
    fresh: dict[str, Any] = field(default_factory=dict)

    def unpack(self) -> None:
        """Give it unfilled parameters where it needs them. They cost memory once they are written to."""
        from vllm.model_executor.model_loader.reload import layerwise, meta
        from vllm.model_executor.model_loader.reload.sanitize import restore_layer_refs

        experts = hasattr(self.layer.quant_method, "moe_kernel")
        blanks, _ = layerwise.get_layerwise_info(self.layer).restore_metadata
        for name, blank in blanks.items():
            # Packed experts can have the shape they had before.
            if experts or getattr(self.layer, name).shape != blank.shape:
                fresh = meta.materialize_meta_tensor(restore_layer_refs(blank, self.layer))
                fresh.weight_loader = layerwise._get_original_loader(fresh)  # a reload of vLLM's leaves its wrapper
                self.layer.register_parameter(name, fresh)
                self.fresh[name] = fresh

    def blank(self) -> None:
        """Fill the new parameters with NaN: what nothing is copied to is seen."""
        for fresh in self.fresh.values():
            fresh.fill_(float("nan"))

    def pack(self) -> None:
        """Hand the loaded parameters to vLLM. ValueError where a part of them was not in the state."""
        for name, fresh in self.fresh.items():
            if bool(fresh.sum().isnan()):
                raise ValueError(f"{self.name}.{name}: the new weights lack a part of it, or are not numbers")
        self.layer.quant_method.process_weights_after_loading(self.layer)
        if hasattr(self.layer, "update_param_tp_status"):
            self.layer.update_param_tp_status()
        for name, fresh in self.fresh.items():
            if getattr(self.layer, name) is not fresh:  # vLLM's loader holds it until the whole model is through
                fresh.data = fresh.new_empty(0)


def load_in_place(model: Any, state: dict[str, Tensor], dtype: Any) -> None:
    """Copy `state` into the tensors of a model that runs on a CPU (its MoE kernels forgotten). Layers are packed block
    by block, so that only one block's weights are there twice. ValueError where the state lacks something packed."""
    import torch
    from vllm.model_executor.layers.attention import is_deferred_attention_layer
    from vllm.model_executor.layers.quantization.base_config import QuantizeMethodBase

    with torch.no_grad(), torch._C.DisableTorchFunctionSubclass():  # vLLM's parameters only pass it on
        modules = dict(model.named_modules())
        waiting = dict[str, list[PackedLayer]]()
        for name, module in modules.items():
            if module._parameters and isinstance(getattr(module, "quant_method", None), QuantizeMethodBase):
                waiting.setdefault(_block(name), []).append(PackedLayer(name, module))
        for layer in (layer for layers in waiting.values() for layer in layers):
            layer.unpack()
        model.load_weights(_packing_blocks(state, waiting))
        assert not waiting, f"vLLM's loader stopped before {', '.join(waiting)}"
        for module in modules.values():
            if is_deferred_attention_layer(module):  # MLA takes matrices out of layers that are loaded by now
                module.process_weights_after_loading(dtype)


def _packing_blocks(state: dict[str, Tensor], waiting: dict[str, list[PackedLayer]]) -> Iterator[tuple[str, Tensor]]:
    """The items of `state` by blocks; whoever takes the first of the next block has loaded the one before."""
    blocks = dict[str, list[str]]()
    for name in state:
        blocks.setdefault(_block(name.rpartition(".")[0]), []).append(name)
    # A tied head, and what vLLM calls otherwise than the checkpoint does, wait for the end.
    unnamed = [layer for block in waiting if block not in blocks for layer in waiting[block]]
    for layer in unnamed:
        layer.blank()
    for block, names in blocks.items():
        layers = waiting.get(block, [])
        for layer in layers:
            layer.blank()
        yield from ((name, state[name]) for name in names)
        for layer in layers:
            layer.pack()
    for layer in unnamed:
        layer.pack()
    waiting.clear()


def _block(module: str) -> str:
    """The name of the numbered block that a module is in, "model.layers.3"; its own name outside of such."""
    found = re.match(r".*?\.\d+(?=\.)", module + ".")
    return found.group() if found else module


def _with_plain_copies(model: Any, state: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The items of `state`; what vLLM's loader fills by a plain `copy_` has memory while they are taken.

    During a reload all parameters are on the meta device and only calls of a parameter's `weight_loader` are replayed
    into real memory. The gpt-oss loader copies experts and sinks itself, into nothing. Here those layers get their
    memory before the first item and take the usual way (pack, copy into the running tensors) after the last.
    """
    from vllm.model_executor.model_loader.reload import layerwise, meta

    layers = [(layer, layerwise.get_layerwise_info(layer)) for layer in _copied_layers(model)]
    for layer, info in layers:
        meta.materialize_layer(layer, info)
    yield from state.items()
    for layer, info in layers:
        layerwise._layerwise_process(layer, info)


def _copied_layers(model: Any) -> list[Any]:
    if type(model).__name__ != "GptOssForCausalLM":
        return []
    return [module for module in model.modules() if {"w13_weight", "sinks"} & set(module._parameters)]


def pack_tied_heads(model: Any) -> None:
    """Pack output heads that share their weight with the embedding again.

    On a CPU vLLM multiplies with a packed copy of the head. A tied head has no weights of its own in a checkpoint, so
    a reload passes it over, and the copy keeps the old values.
    """
    heads = [module for module in model.modules() if hasattr(module, "cpu_linear") and hasattr(module, "tie_weights")]
    shared = [id(m.weight) for m in model.modules() if hasattr(m, "cpu_linear") and m not in heads]
    for head in heads:
        if id(head.weight) in shared:
            head.quant_method.process_weights_after_loading(head)


def reset_moe_kernels(model: Any) -> None:
    """Forget every built MoE kernel, so that loading weights builds it from the new ones.

    On a CPU vLLM 0.31 prepares expert weights only while `moe_kernel` is None and skips it on later loads, without a
    word (UnquantizedFusedMoEMethod). On a GPU the kernel holds references and is cheap to rebuild, but captured CUDA
    graphs hold addresses, so there it is left alone.
    """
    for module in model.modules():
        method = getattr(module, "quant_method", None)
        if getattr(method, "moe_kernel", None) is None:
            continue
        if next((p.device.type for p in module.parameters()), "cpu") == "cpu":
            method.moe_kernel = None
