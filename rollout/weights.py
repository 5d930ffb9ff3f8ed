"""Hands a trainer's weights to vLLM: the whole state in checkpoint format, buffers included, in one reload.

Sending parameters one by one, as other trainers do, leaves buffers behind (`e_score_correction_bias` of a DeepSeek-V3
router is one). `SyncExtension` runs inside vLLM's worker and loads what it is given (`rollout/reload.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
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
    from safetensors import TensorSpec, serialize_file

    state = {name: tensor.cpu().contiguous() for name, tensor in checkpoint_state(model).items()}
    # Experts are slices of one stacked tensor. `save_file` refuses these; written by address, nothing is copied first.
    specs = {
        name: TensorSpec(
            dtype=str(tensor.dtype).removeprefix("torch."),
            shape=list(tensor.shape),
            data_ptr=tensor.data_ptr(),
            data_len=tensor.nbytes,
        )
        for name, tensor in state.items()
    }
    part = file.with_suffix(".part")
    part.touch(mode=0o600)
    serialize_file(specs, part)
    part.replace(file)


class SyncExtension:
    """Mixed into vLLM's worker (`worker_extension_cls`), so `self` has the worker's `model_runner`."""

    r1_version = ""  # of the weights that r1 loaded last; empty = those the server was started with

    def r1_load_state(self, state: dict[str, Tensor]) -> None:
        """Load a checkpoint-format state."""
        from rollout.reload import load_state

        load_state(self.model_runner, state)  # type: ignore[attr-defined]

    def r1_load_files(self, files: Sequence[str], version: str) -> None:
        """`r1_load_state` of safetensors files (checkpoint format) on this machine."""
        from safetensors.torch import load_file

        self.r1_version = f"half of {version}"
        self.r1_load_state({name: tensor for file in files for name, tensor in load_file(file).items()})
        self.r1_version = version

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
