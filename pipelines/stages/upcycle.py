"""`upcycle`: a dense model becomes a Mixture-of-Experts that starts out as the same function."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from pipelines.artifacts import Model
from pipelines.context import Context
from pipelines.stage import StageConfig, StageError, stage


class UpcycleConfig(StageConfig):
    """Sparse upcycling (arXiv 2212.05055): each FFN copied into every expert, a fresh router before them."""

    experts: int = Field(4, ge=2, description="experts in each layer, all copies of its FFN")
    top_k: int = Field(2, ge=1, description="experts for each token; with 1 the router would get no gradient")


def _check(config: UpcycleConfig) -> Iterable[str]:
    if config.top_k > config.experts:
        yield f"top_k {config.top_k} is more than experts {config.experts}: lower it"


@stage(version=1, summary="make a Mixture-of-Experts of a dense model (sparse upcycling)", check=_check)
def upcycle(ctx: Context, config: UpcycleConfig, *, model: Model) -> Model:
    from models.checkpoint import load_model, load_tokenizer, save_model
    from models.upcycle import UpcycleError
    from models.upcycle import upcycle as make_sparse

    try:
        dense = load_model(model.path, device="cpu")
        sparse = make_sparse(dense, experts=config.experts, top_k=config.top_k, seed=ctx.seed)
    except (UpcycleError, ValueError) as error:
        raise StageError(str(error)) from error
    save_model(sparse, load_tokenizer(model.path), ctx.out / "model")
    ctx.summary(parameters=sparse.num_parameters(), dense_parameters=dense.num_parameters())
    return Model(ctx.out / "model")
