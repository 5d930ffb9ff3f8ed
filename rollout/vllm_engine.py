"""The vLLM engine in this process: weights are handed over in memory, on a CPU as well as on a GPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rollout.process import EXPANDED, process_state_kept, quiet_stderr, set_vllm_environment
from rollout.requests import request_seed, stop_token_ids
from rollout.routes import by_request
from rollout.types import Each, Finish, Rollout, SamplingParams
from rollout.weights import EXTENSION, checkpoint_state

Dtype = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """Size and precision of the engine.

    `max_model_len`: prompt plus completion, tokens. `kv_cache_gib`: cache size, None = on a CPU room for all
    `max_num_seqs` at full length, at most 4 GiB (vLLM writes zeros to all of it at the start), on a GPU what is left of
    `gpu_memory`, the share of the GPU's memory that vLLM may take. `dtype` auto = float32 on a CPU (measured: fidelity
    1e-6 against 4e-2) and bfloat16 on a GPU. `eager` captures no CUDA graphs: the canary reads prompts,
    which run outside of them, so that a graph left with old weights would go unseen.
    `processed_logprobs` reports the sampler's log-probs after temperature and top-p instead of the natural ones (only
    importance sampling at T != 1 wants it). `routes`: rollouts carry the experts of each token (router replay R3 wants
    them). `sleeps`: the engine can give the GPU's memory back between rollouts (`VllmEngine.sleep`).
    """

    max_model_len: int = 1024
    dtype: Dtype = "auto"
    max_num_seqs: int = 256
    kv_cache_gib: float | None = None
    gpu_memory: float = 0.4
    eager: bool = True
    processed_logprobs: bool = False
    routes: bool = False
    sleeps: bool = False


class VllmEngine:
    """`rollout.types.Engine` on one in-process `vllm.LLM`. One engine per process at a time is the tested use."""

    def __init__(self, model_path: str | Path, options: VllmOptions | None = None, *, seed: int = 0) -> None:
        self.options = options or VllmOptions()
        set_vllm_environment()
        with process_state_kept(), quiet_stderr():
            from vllm import LLM

            self._llm: Any = LLM(**llm_arguments(str(model_path), self.options, seed))
        self._asleep = False
        self._records = self.options.routes and not _on_gpu()  # there vLLM returns them itself
        if self._records:
            self._llm.collective_rpc("r1_record_routes")
        self.eos_ids = stop_token_ids(model_path)

    def generate(
        self, prompts_ids: Sequence[Sequence[int]], params: SamplingParams, n: int, *, each: Each | None = None
    ) -> list[list[Rollout]]:
        """`n` rollouts for each prompt, in order; equal calls on equal weights give equal rollouts if seeded.

        A sequence ends at the model's end tokens or at `params.stop_ids`; the end token is part of the completion.
        """
        prompts = [ids for ids in prompts_ids for _ in range(n)]
        seeds = [None if params.seed is None else request_seed(params.seed, i) for i in range(len(prompts))]
        rollouts = self.draw(prompts, seeds, params, each=each)
        return [rollouts[i : i + n] for i in range(0, len(rollouts), n)]

    def draw(
        self,
        prompts_ids: Sequence[Sequence[int]],
        seeds: Sequence[int | None],
        params: SamplingParams,
        *,
        each: Each | None = None,
    ) -> list[Rollout]:
        """One rollout for each prompt, with a seed of its own in place of that of `params`."""
        import vllm

        prompts = [vllm.TokensPrompt(prompt_token_ids=list(ids)) for ids in prompts_ids]
        requests = [
            vllm.SamplingParams(
                temperature=params.temperature,
                top_p=params.top_p,
                max_tokens=params.max_tokens,
                seed=seed,
                stop_token_ids=sorted({*self.eos_ids, *params.stop_ids}),
                logprobs=0,
                flat_logprobs=True,
                detokenize=False,
            )
            for seed in seeds
        ]
        if not _on_gpu():  # what an earlier call has left must not decide how this one rounds
            self._forget()
        outputs = self._run(prompts, requests, each and (lambda place, output: each(place, _rollout(output, {}))))
        routes = by_request(self._llm.collective_rpc("r1_take_routes")[0]) if self._records else {}
        return [_rollout(output, routes) for output in outputs]

    def sync(self, model: Any) -> None:
        """Take over all weights and buffers of `model`; cached prefixes of the old weights are dropped. Wakes."""
        with process_state_kept():
            if self._asleep:  # the cache last: until the weights are in, the trainer's memory is needed most
                self._llm.wake_up(tags=["weights"])
            self._llm.collective_rpc("r1_load_state", args=(checkpoint_state(model),))
            if self._asleep:
                self._llm.wake_up(tags=["kv_cache"])
                self._asleep = False
        self._forget()

    def load(self, files: Sequence[str], version: str) -> None:
        """`sync` with safetensors files of this machine, in checkpoint format."""
        with process_state_kept():
            self._llm.collective_rpc("r1_load_files", args=(list(files), version))
        self._forget()

    def sleep(self) -> None:
        """Give back the GPU memory of weights and cache until the next `sync`, which brings new weights anyway."""
        assert self.options.sleeps, "an engine that sleeps is built with `sleeps`"
        if not self._asleep:
            self._forget()
            self._llm.sleep(level=2)
            self._asleep = True

    def _forget(self) -> None:
        """Drop cached prefixes."""
        assert self._llm.reset_prefix_cache(), "vLLM holds on to a cached prefix, which may be of old weights"

    def logprobs(self, ids: Sequence[Sequence[int]]) -> list[list[float]]:
        """Teacher-forced natural log-probabilities (nats) of ids[1:], one list per sequence."""
        import vllm

        prompts = [vllm.TokensPrompt(prompt_token_ids=list(sequence)) for sequence in ids]
        params = vllm.SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        outputs = self._run(prompts, params)
        if self._records:
            self._llm.collective_rpc("r1_take_routes")
        return [
            [out.prompt_logprobs[i][token].logprob for i, token in enumerate(out.prompt_token_ids) if i]
            for out in outputs
        ]

    def _run(self, prompts: list[Any], params: Any, each: Callable[[int, Any], None] | None = None) -> list[Any]:
        """vLLM's output for each prompt, in their order; `each` is told of one, with its place, once it is finished.

        vLLM compiles its token-rank helper at the first call even when told to be eager: 5 s for a count.
        """
        import torch

        assert not self._asleep, "the engine sleeps and has no weights: sync first"
        engine, outputs = self._llm.llm_engine, dict[str, Any]()
        with torch.compiler.set_stance("default" if _on_gpu() else "force_eager"):
            ids = self._llm.enqueue(prompts, params, use_tqdm=False)
            names = [name.partition("-")[0] for name in ids]  # outputs are called without vLLM's random suffix
            places = {name: place for place, name in enumerate(names)}
            try:
                while engine.has_unfinished_requests():
                    for output in [output for output in engine.step() if output.finished]:
                        outputs[output.request_id] = output
                        if each is not None:
                            each(places[output.request_id], output)
            except BaseException:
                engine.abort_request(ids, internal=True)
                raise
        return [outputs[name] for name in names]

    def close(self) -> None:
        """Free the engine's memory; the engine is unusable afterwards. Safe to call twice."""
        if self._llm is None:
            return
        import gc

        self._llm.llm_engine.engine_core.shutdown()
        self._llm = None
        gc.collect()


def _on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _rollout(output: Any, routes: Mapping[str, Any]) -> Rollout:
    completion = output.outputs[0]
    reasons: dict[str | None, Finish] = {"stop": "stop", "length": "length"}
    return Rollout(
        prompt_ids=list(output.prompt_token_ids),
        completion_ids=list(completion.token_ids),
        logprobs=_sampled_logprobs(completion),
        finish=reasons.get(completion.finish_reason, "abort"),
        experts=routes.get(output.request_id, getattr(completion, "routed_experts", None)),
    )


def _sampled_logprobs(completion: Any) -> list[float]:
    """`logprobs=0` yields exactly the sampled token's value at each position."""
    flat: list[float] = completion.logprobs.logprobs
    assert len(flat) == len(completion.token_ids), "one log-probability per sampled token"
    return list(flat)


def llm_arguments(model_path: str, options: VllmOptions, seed: int) -> dict[str, Any]:
    """The keyword arguments of `vllm.LLM` for this model, these options and this machine."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model_path)
    on_gpu = _on_gpu()
    dtype = options.dtype if options.dtype != "auto" else ("bfloat16" if on_gpu else "float32")
    arguments: dict[str, Any] = {
        "model": model_path,
        "skip_tokenizer_init": True,
        "dtype": dtype,
        "seed": seed,
        "max_model_len": options.max_model_len,
        "max_num_seqs": options.max_num_seqs,
        "enforce_eager": options.eager or not on_gpu,
        "worker_extension_cls": EXTENSION,
        "logprobs_mode": "processed_logprobs" if options.processed_logprobs else "raw_logprobs",
        "use_tqdm_on_load": False,
    }
    if config.model_type == "deepseek_v3":  # vLLM reads these two from config.json; transformers does not write them
        arguments["hf_overrides"] = {
            "topk_method": getattr(config, "topk_method", None) or "noaux_tc",
            "scoring_func": getattr(config, "scoring_func", None) or "sigmoid",
        }
    if options.kv_cache_gib:
        arguments["kv_cache_memory_bytes"] = int(options.kv_cache_gib * 2**30)
    expanded = _expands_latent(config, on_gpu)
    os.environ[EXPANDED] = str(int(expanded))  # read by vLLM here and, inherited, in a server
    if on_gpu:
        arguments["gpu_memory_utilization"] = options.gpu_memory
        if not options.eager:  # graphs of the decoding steps are most of the gain and want no compilation
            arguments["compilation_config"] = {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"}
        if options.routes:
            arguments["enable_return_routed_experts"] = True
        if options.sleeps:
            arguments["enable_sleep_mode"] = True
        return arguments
    if not options.kv_cache_gib:
        arguments["kv_cache_memory_bytes"] = _kv_cache_bytes(config, options, dtype)
    # A prompt prefilled in parts ends the run: vLLM turns back its random generator, which a generator of a CPU cannot.
    arguments["enable_chunked_prefill"] = False
    arguments["max_num_batched_tokens"] = max(4096, options.max_model_len)
    # vLLM's CPU rotary kernel rotates MLA's 3-D queries by wrong positions (docs/upstream/); the native path is right.
    arguments["compilation_config"] = {"custom_ops": ["none"]}
    mla = bool(getattr(config, "kv_lora_rank", None)) and not expanded
    # A group reads its prompt once. vLLM's blocks of 128 tokens on a CPU would seldom be full; its kernels take 32. Not
    # where routes are wanted, for of a cached token there are none.
    kinds = set(getattr(config.get_text_config(), "layer_types", None) or ("full_attention",))
    plain = not mla and kinds <= {"full_attention", "sliding_attention"}
    arguments["enable_prefix_caching"] = plain and not options.routes
    if mla:
        arguments["attention_config"] = {"backend": "CPU_MLA"}  # fp32 and bf16; AMX_MLA cannot reload weights
    elif plain:
        arguments["block_size"] = 32
    return arguments


LATENT_SHAPES = ((128, 64, 128), (192, 64, 256), (64, 64, 128))
"""(qk_nope, qk_rope, v) head sizes of MLA for which vLLM 0.31 has a prefill kernel on every GPU: DeepSeek's own."""


def _expands_latent(config: Any, on_gpu: bool) -> bool:
    """Whether latent attention (MLA) runs as plain attention, over the keys and values that it stands for.

    On a GPU where vLLM 0.31 has no kernel. On a CPU, whose MLA it calls a reference and which reads a prompt again for
    each of its samples, where the cache grows to twice its size at most: with the few heads of a tiny model.
    """
    if not getattr(config, "kv_lora_rank", None):
        return False
    if on_gpu:
        return (config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim) not in LATENT_SHAPES
    return _plain_width(config) <= 2 * (config.kv_lora_rank + config.qk_rope_head_dim)


def _plain_width(config: Any) -> int:
    """Numbers that expanded latent attention caches for a token in one layer; vLLM pads values to the size of keys."""
    return int(2 * config.num_attention_heads * (config.qk_nope_head_dim + config.qk_rope_head_dim))


def _kv_cache_bytes(config: Any, options: VllmOptions, dtype: str) -> int:
    """Room for all sequences at full length, in blocks of 128 tokens at most; at most 4 GiB."""
    config = config.get_text_config()
    if getattr(config, "kv_lora_rank", None):
        expanded = _expands_latent(config, on_gpu=False)
        width = _plain_width(config) if expanded else config.kv_lora_rank + config.qk_rope_head_dim
    else:
        head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        width = 2 * head * (getattr(config, "num_key_value_heads", None) or config.num_attention_heads)
    token = width * config.num_hidden_layers * (2 if dtype == "bfloat16" else 4)
    blocks = (options.max_num_seqs + 2) * (-(-options.max_model_len // 128) + 1)
    return int(min(blocks * 128 * token, 4 * 2**30))
