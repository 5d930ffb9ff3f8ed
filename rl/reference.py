"""The reference policy of the KL term, replaced by the current policy now and then (R1: every 400 steps)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trl.trainer.utils import add_fused_lm_head

from models.checkpoint import load_model, save_model
from models.lora import ADAPTER, adapter_parameters


class ModelReference:
    """A frozen model of its own."""

    def __init__(self, model: Any, temperature: float) -> None:
        self.model = model.requires_grad_(False).eval()
        config = model.config.get_text_config()
        if getattr(config, "output_router_logits", False):  # an `aux` run leaves it on; nobody reads that loss here
            config.output_router_logits = False
        add_fused_lm_head(self.model, temperature=temperature)

    def __call__(self, **inputs: Any) -> Any:
        return self.model(**inputs)

    def replace(self, policy: Any) -> None:
        """Become the current policy, buffers included."""
        self.model.load_state_dict(policy.state_dict())

    def save(self, folder: Path) -> None:
        save_model(self.model, None, folder)

    def load(self, folder: Path) -> None:
        dtype = str(self.model.dtype).removeprefix("torch.")
        self.model.load_state_dict(load_model(folder, dtype, device="cpu").state_dict())


class AdapterReference:
    """The policy itself with its adapter as it was at some step: at first B = 0, the model that training began with.

    No second model: what it keeps has the size of the adapter. Router biases are those of the policy.
    """

    def __init__(self, policy: Any) -> None:
        self._policy = policy
        self._kept = {name: p.detach().clone() for name, p in adapter_parameters(policy).items()}

    def __call__(self, **inputs: Any) -> Any:
        current = {name: (p, p.data) for name, p in adapter_parameters(self._policy).items()}
        try:
            for name, (parameter, _) in current.items():
                parameter.data = self._kept[name]
            return self._policy(**inputs)
        finally:
            for parameter, data in current.values():
                parameter.data = data

    def replace(self, policy: Any) -> None:
        """Become the current policy."""
        self._kept = {name: p.detach().clone() for name, p in adapter_parameters(policy).items()}

    def save(self, folder: Path) -> None:
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file(self._kept, folder / ADAPTER)

    def load(self, folder: Path) -> None:
        from safetensors.torch import load_file

        saved = load_file(folder / ADAPTER)
        self._kept = {name: saved[name].to(tensor.device) for name, tensor in self._kept.items()}
