"""vLLM 0.31 `reload_weights` returns without an error and leaves weights behind. Needs vllm and transformers only.

    python reload_weights.py experts     Qwen3-MoE on a CPU: the experts
    python reload_weights.py tied-head   Qwen3 on a CPU: the output head tied to the embedding
    python reload_weights.py gpt-oss     gpt-oss (unquantized), any device: experts and attention sinks

A tiny random model is loaded, then another with the same config is reloaded from its folder (`weights_path`; an
iterator of the same tensors does the same). Printed are log-prob gaps between vLLM and transformers: after the load,
before and after the reload and, where a line marked WORKAROUND is enough, with it.
"""

import os
import sys
import tempfile

os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "HF_HUB_OFFLINE": "1"}
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from vllm import LLM, SamplingParams, TokensPrompt

COMMON = {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 64}
COMMON |= {"num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.2}
MOE = {"num_experts_per_tok": 2, "tie_word_embeddings": False}
CASES = {
    "experts": ("qwen3_moe", MOE | {"num_experts": 8, "moe_intermediate_size": 64}),
    "tied-head": ("qwen3", {"tie_word_embeddings": True}),
    "gpt-oss": ("gpt_oss", MOE | {"num_local_experts": 8}),
}
IDS = torch.randint(0, 256, (4, 48), generator=torch.Generator().manual_seed(0)).tolist()


def random_model(name, fields, seed):
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **COMMON, **fields)).float().eval()
    for parameter in model.parameters():  # norms, biases and sinks too
        parameter.data.add_(torch.randn_like(parameter) * 0.05)
    return model


@torch.no_grad()
def gap(model, llm):
    """Mean absolute difference of the log-probs of IDS, transformers against vLLM."""
    ids = torch.tensor(IDS)
    ours = model(input_ids=ids).logits.log_softmax(-1)[:, :-1].gather(-1, ids[:, 1:, None])[..., 0]
    params = SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0, detokenize=False)
    out = llm.generate([TokensPrompt(prompt_token_ids=x) for x in IDS], params, use_tqdm=False)
    theirs = [[o.prompt_logprobs[i][x[i]].logprob for i in range(1, len(x))] for o, x in zip(out, IDS, strict=True)]
    return (ours - torch.tensor(theirs)).abs().mean().item()


def reload(llm, folder):
    llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})


def main(case):
    first, second = (random_model(*CASES[case], seed) for seed in (0, 1))
    stance = torch.compiler.set_stance("force_eager")
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other, stance:
        first.save_pretrained(folder)
        second.save_pretrained(other)
        llm = LLM(folder, skip_tokenizer_init=True, dtype="float32", enforce_eager=True, max_model_len=64,
                  max_num_seqs=8, kv_cache_memory_bytes=2**27, enable_prefix_caching=False)  # fmt: skip
        print(f"{case}: after the load                   {gap(first, llm):.1e}")
        print(f"{case}: before the reload                {gap(second, llm):.1e}")
        reload(llm, other)
        print(f"{case}: after the reload                 {gap(second, llm):.1e}   <- should be as after the load")
        inside = llm.llm_engine.model_executor.driver_worker.get_model()
        if case == "experts":
            for module in inside.modules():
                if getattr(getattr(module, "quant_method", None), "moe_kernel", None) is not None:
                    module.quant_method.moe_kernel = None  # WORKAROUND: pack the experts again
            reload(llm, other)
        if case == "tied-head":
            inside.lm_head.quant_method.process_weights_after_loading(inside.lm_head)  # WORKAROUND: pack the head again
        if case != "gpt-oss":
            print(f"{case}: after the reload, workaround     {gap(second, llm):.1e}")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in CASES:
        sys.exit(f"usage: python reload_weights.py {'|'.join(CASES)}")
    main(sys.argv[1])
