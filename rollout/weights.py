"""Hands a trainer's weights to vLLM: the whole state in checkpoint format, buffers included, in one reload.

Sending parameters one by one, as other trainers do, leaves two things behind: buffers
(`e_score_correction_bias` of a DeepSeek-V3 router is one) and, on a CPU, the experts, which vLLM packs once and
never again. `SyncExtension` runs inside vLLM's worker and makes it pack them again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

EXTENSION = "rollout.weights.SyncExtension"


def checkpoint_state(model: Any) -> dict[str, Tensor]:
    """The state of a `transformers` model under the names and shapes of its checkpoint files (experts un-fused).

    Tied and shared tensors appear under the name the checkpoint uses. Tensors alias the model where they can.
    """
    from transformers.core_model_loading import revert_weight_conversion

    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    state = {name: tensor for name, tensor in state.items() if name not in tied}
    return dict(revert_weight_conversion(model, state))


class SyncExtension:
    """Mixed into vLLM's worker (`worker_extension_cls`), so `self` has the worker's `model_runner`."""

    repack_experts = True  # a test switches this off to show that the canary notices

    def r1_load_state(self, state: dict[str, Tensor]) -> int:
        """Load a checkpoint-format state; returns how many MoE layers were packed again."""
        runner = self.model_runner  # type: ignore[attr-defined]
        packed = reset_moe_kernels(runner.get_model()) if SyncExtension.repack_experts else 0
        runner.reload_weights(weights_iterator=iter(state.items()))
        return packed


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
