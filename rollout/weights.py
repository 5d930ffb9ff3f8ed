"""Hands a trainer's weights to vLLM: the whole state in checkpoint format, buffers included, in one reload.

Sending parameters one by one, as other trainers do, leaves buffers behind (`e_score_correction_bias` of a DeepSeek-V3
router is one). vLLM 0.31's own reload leaves three more things behind, each without an error (docs/upstream/): on a
CPU the experts and a tied output head, which it packs once and never again, and everywhere the experts and attention
sinks of gpt-oss. `SyncExtension` runs inside vLLM's worker and brings them along.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.lora import merged_state

if TYPE_CHECKING:
    from torch import Tensor

EXTENSION = "rollout.weights.SyncExtension"


def checkpoint_state(model: Any) -> dict[str, Tensor]:
    """The state of a `transformers` model under the names and shapes of its checkpoint files (experts un-fused).
    An adapter is merged.

    Tied and shared tensors appear under the name the checkpoint uses. Tensors alias the model where they can.
    """
    from transformers.core_model_loading import revert_weight_conversion

    state = {name: tensor.detach() for name, tensor in merged_state(model).items()}
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    state = {name: tensor for name, tensor in state.items() if name not in tied}
    return dict(revert_weight_conversion(model, state))


def write_state(model: Any, file: Path) -> None:
    """`checkpoint_state(model)` as a safetensors file, complete or absent. Only the owner can read it."""
    from safetensors.torch import save_file

    # Experts are slices of one stacked tensor: safetensors wants each with memory of its own.
    state = {name: tensor.cpu().clone().contiguous() for name, tensor in checkpoint_state(model).items()}
    part = file.with_suffix(".part")
    part.touch(mode=0o600)
    save_file(state, part)
    part.replace(file)


class SyncExtension:
    """Mixed into vLLM's worker (`worker_extension_cls`), so `self` has the worker's `model_runner`."""

    repack_experts = True  # a test switches this off to show that the canary notices
    r1_version = ""  # of the weights that r1 loaded last; empty = those the server was started with

    def r1_load_state(self, state: dict[str, Tensor]) -> int:
        """Load a checkpoint-format state; returns how many MoE layers were packed again."""
        runner = self.model_runner  # type: ignore[attr-defined]
        model = runner.get_model()
        packed = reset_moe_kernels(model) if SyncExtension.repack_experts else 0
        runner.reload_weights(weights_iterator=_with_plain_copies(model, state))
        pack_tied_heads(model)
        return packed

    def r1_load_files(self, files: Sequence[str], version: str) -> dict[str, Any]:
        """`r1_load_state` of safetensors files (checkpoint format) on this machine."""
        from safetensors.torch import load_file

        self.r1_version = f"half of {version}"
        packed = self.r1_load_state({name: tensor for file in files for name, tensor in load_file(file).items()})
        self.r1_version = version
        return {"packed": packed}

    def r1_facts(self) -> dict[str, Any]:
        """What a run must know about this server before it relies on it."""
        config = self.model_runner.model_config  # type: ignore[attr-defined]
        return {
            "version": self.r1_version,
            "dtype": str(config.dtype).removeprefix("torch."),
            "max_model_len": config.max_model_len,
            "logprobs_mode": str(config.logprobs_mode),
        }

    def r1_record_routes(self) -> None:
        """Begin to record which experts each token goes to."""
        from rollout.routes import RouteRecorder

        self.r1_routes = RouteRecorder(self.model_runner)  # type: ignore[attr-defined]

    def r1_take_routes(self) -> dict[str, Any]:
        """What was recorded since the last call: `rollout.routes.RouteRecorder.take`."""
        return self.r1_routes.take()


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


def pack_tied_heads(model: Any) -> int:
    """Pack output heads that share their weight with the embedding again; returns how many.

    On a CPU vLLM multiplies with a packed copy of the head. A tied head has no weights of its own in a checkpoint, so
    a reload passes it over, and the copy keeps the old values.
    """
    heads = [module for module in model.modules() if hasattr(module, "cpu_linear") and hasattr(module, "tie_weights")]
    shared = [id(m.weight) for m in model.modules() if hasattr(m, "cpu_linear") and m not in heads]
    tied = [head for head in heads if id(head.weight) in shared]
    for head in tied:
        head.quant_method.process_weights_after_loading(head)
    return len(tied)


def reset_moe_kernels(model: Any) -> int:
    """Forget every built MoE kernel, so that loading weights builds it from the new ones.

    On a CPU vLLM 0.31 prepares expert weights only while `moe_kernel` is None and skips it on later loads, without a
    word (UnquantizedFusedMoEMethod). On a GPU the kernel holds references and is cheap to rebuild, but captured CUDA
    graphs hold addresses, so there it is left alone.
    """
    count = 0
    for module in model.modules():
        method = getattr(module, "quant_method", None)
        if getattr(method, "moe_kernel", None) is None:
            continue
        if next((p.device.type for p in module.parameters()), "cpu") == "cpu":
            method.moe_kernel = None
            count += 1
    return count
