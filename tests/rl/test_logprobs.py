"""Log-probs by token budget: same numbers as the plain way, without ever holding all logits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rl.config import GrpoSettings
from tests.rl.trainers import make_trainer


def test_budgeted_logprobs_agree_with_plain_ones(policy_path: Path, tmp_path: Path) -> None:
    """Packing, sorting and cutting by token budget change neither values nor gradients; masked rows give zeros."""
    import torch

    from rl.logprobs import completion_logprobs
    from rollout.forward import model_logprobs

    trainer = make_trainer(policy_path, tmp_path, GrpoSettings(group=2, prompts_per_step=1, max_tokens=4, beta=0.0))
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(5, 200, (n,), generator=generator).tolist() for n in (2, 9, 5, 7, 1)]
    completions = [torch.randint(5, 200, (n,), generator=generator).tolist() for n in (12, 1, 6, 3, 0)]
    pairs = list(zip(prompts, completions, strict=True))
    ids = torch.tensor([[0] * (9 - len(p)) + p + c + [0] * (12 - len(c)) for p, c in pairs])
    mask = torch.tensor([[0] * (9 - len(p)) + [1] * len(p + c) + [0] * (12 - len(c)) for p, c in pairs])
    expected = model_logprobs(trainer.model, [p + c for p, c in pairs])
    gradients = []
    for budget in (1, 30, 10_000):
        logps, entropy, _ = completion_logprobs(trainer.model, ids, mask, 12, batch_tokens=budget, entropy=True)
        for i, (p, c) in enumerate(pairs):
            assert logps[i, : len(c)].tolist() == pytest.approx(expected[i][len(p) - 1 :][: len(c)], abs=1e-5)
            assert not logps[i, len(c) :].any() and not entropy[i, len(c) :].any()
        trainer.model.zero_grad()
        logps.sum().backward()
        gradients.append(trainer.model.lm_head.weight.grad.clone())
    assert all(torch.allclose(gradients[0], other, atol=1e-4) for other in gradients)


def test_a_masked_completion_is_not_run(policy_path: Path, tmp_path: Path) -> None:
    import torch

    from rl.logprobs import completion_logprobs

    trainer = make_trainer(policy_path, tmp_path, GrpoSettings(group=2, prompts_per_step=1, max_tokens=4, beta=0.0))
    seen: list[int] = []
    trainer.model.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    ids, mask = torch.full((3, 6), 7), torch.ones(3, 6, dtype=torch.long)
    mask[1, 2:] = 0
    logps, entropy, _ = completion_logprobs(trainer.model, ids, mask, 4, batch_tokens=1000, entropy=True)
    assert seen == [2 * 6] and not logps[1].any() and not entropy[1].any() and logps[0].all()
    mask[:, 2:] = 0
    logps, _, _ = completion_logprobs(trainer.model, ids, mask, 4, batch_tokens=1000)
    assert seen == [2 * 6, 2] and not logps.any()
    logps.sum().backward()  # a batch of nothing still has a graph


# In a process of its own, so that its largest memory is this computation's: 1,016 tokens x 150,000 logits in float32
# are 581 MiB, and a step that held them would hold them several times (logits, softmax, gradient).
LARGE_VOCABULARY = """
import resource, sys
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Qwen3Config, Qwen3ForCausalLM
from trl.trainer.utils import add_fused_lm_head
from rl.logprobs import completion_logprobs

class Largest(TorchDispatchMode):
    elements = 0
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return out

size = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1, head_dim=16)
model = Qwen3ForCausalLM(Qwen3Config(vocab_size=150_000, num_key_value_heads=1, **size))
add_fused_lm_head(model, outputs=("log_probs", "entropy"))
ids = torch.randint(0, 150_000, (8, 128), generator=torch.Generator().manual_seed(0))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
small = ids[:1, :16]
completion_logprobs(model, small, torch.ones_like(small), 8, batch_tokens=4096)[0].sum().backward()
before = peak()
with Largest() as largest:
    logps, entropy, _ = completion_logprobs(model, ids, torch.ones_like(ids), 64, batch_tokens=4096, entropy=True)
    (logps.sum() + 0.1 * entropy.sum()).backward()
print(largest.elements, round(peak() - before))
"""


def test_the_logits_of_a_large_vocabulary_are_never_whole() -> None:
    """Forward and backward: no tensor above a 50th of all logits, memory under two thirds of one copy of them."""
    whole = 8 * 127 * 150_000
    done = subprocess.run(
        [sys.executable, "-c", LARGE_VOCABULARY], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
    elements, megabytes = map(int, done.stdout.split()[-2:])
    assert elements < whole / 50
    assert megabytes < 0.65 * whole * 4 / 2**20
