"""An upcycled model in vLLM: loaded, and synced after its experts have parted, it says what the trainer says."""

from __future__ import annotations

from pathlib import Path

import torch

from models.checkpoint import save_model
from models.upcycle import upcycle
from models.zoo import VOCABULARY, update_all_tensors
from pipelines import fidelity
from rollout.fidelity import ROUNDS


def test_vllm_agrees_with_the_trainer(tmp_path: Path) -> None:
    """With a tied output head, as SmolLM2 has: on a CPU vLLM packs head and experts, and a plain reload does not."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=256,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    dense = LlamaForCausalLM(config).float()
    update_all_tensors(dense, 0.05, seed=0)
    save_model(upcycle(dense, experts=4, top_k=2), None, tmp_path)
    row = fidelity.check(str(tmp_path), "float32", 600)
    assert row.failure == "" and row.judged == (True, "agrees") and len(row.rounds) == ROUNDS + 1
    assert all(measured.before > 0.1 for measured in row.rounds[1:]), "updates that matter"
