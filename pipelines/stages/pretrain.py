"""`pretrain`: a tiny model reads generated text; this is how the shipped base and the students' bases are made."""

from __future__ import annotations

import itertools
from typing import Any, Literal

from pydantic import Field, model_validator

from pipelines.artifacts import Model
from pipelines.context import Context
from pipelines.stage import StageConfig, StageError, stage
from sft.pretrain import PretrainSettings


class PretrainConfig(StageConfig, PretrainSettings):
    """A tiny base from nothing. The text is made from train-split problems only."""

    architecture: Literal["deepseek_v3", "qwen3"] = Field(
        "deepseek_v3", description="deepseek_v3: Mixture of Experts, as the shipped base; qwen3: dense, a student's"
    )
    vocab_size: int = Field(768, ge=270, description="tokens of the byte-level BPE, trained on the same text")
    layers: int = Field(3, ge=2, description="transformer layers; of deepseek_v3 the first is dense")
    hidden_size: int = Field(128, ge=32, multiple_of=32, description="width of the residual stream")
    worked_share: float = Field(0.7, ge=0, le=1, description="share of documents that show their work")

    @model_validator(mode="before")
    @classmethod
    def _dense_has_no_router(cls, given: Any) -> Any:
        dense = isinstance(given, dict) and given.get("architecture") == "qwen3"
        return {"router": "frozen", **given} if dense else given


@stage(version=2, summary="pre-train a tiny model on generated text")
def pretrain(ctx: Context, config: PretrainConfig) -> Model:
    import torch

    from models.checkpoint import save_model
    from models.finite import DivergenceError
    from models.router import RouterPolicy
    from models.router_callback import RouterCallback
    from models.tiny import build_config, build_dense_config, build_model
    from models.tokenizer import train_tokenizer
    from pipelines.problems.corpus import corpus
    from sft.pretrain import pretrain as read_text
    from sft.train import Reporter

    def documents() -> Any:
        return corpus(ctx.seed, worked_share=config.worked_share)

    tokenizer = train_tokenizer(map("".join, itertools.islice(documents(), 20_000)), vocab_size=config.vocab_size)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    dense = config.architecture == "qwen3"
    build = build_dense_config if dense else build_config
    model = build_model(
        build(len(tokenizer), hidden_size=config.hidden_size, layers=config.layers, **ids), seed=ctx.seed
    )
    if not dense:
        model.set_experts_implementation("grouped_mm")
    torch.set_flush_denormal(True)
    reporter = Reporter(ctx.log, lambda _, total: ctx.progress("pretrain", total))
    callbacks = [RouterCallback(RouterPolicy.parse(config.router), model), reporter]
    loss = read_text(
        model,
        tokenizer,
        documents,
        config,
        seed=ctx.seed,
        scratch=ctx.scratch,
        callbacks=callbacks,
        resumed=ctx.resumed,
        say=ctx.say,
    )
    try:
        save_model(model, tokenizer, ctx.out / "model", dtype="bfloat16")
    except DivergenceError as error:
        raise StageError(str(error)) from error
    ctx.summary(loss=loss, parameters=model.num_parameters())
    return Model(ctx.out / "model")
