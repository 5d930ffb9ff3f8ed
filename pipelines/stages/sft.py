"""`sft`: supervised fine-tuning: R1's cold start and its final round on curated samples."""

from __future__ import annotations

from pipelines.artifacts import Model, Samples, read_rows
from pipelines.context import Context
from pipelines.stage import StageConfig, StageError, stage
from sft.config import SftSettings


class SftConfig(SftSettings, StageConfig):
    """Supervised fine-tuning. The loss sees completions only."""

    added = ("rehearsal", "rehearsal_weight")


@stage(version=4, summary="supervised fine-tuning on chat samples")
def sft(ctx: Context, config: SftConfig, *, model: Model, samples: list[Samples]) -> Model:
    from models.finite import DivergenceError
    from models.lora import LoraError
    from models.router import RouterError
    from sft.data import SampleError
    from sft.train import train_sft

    rows = [row for part in samples for row in read_rows(part)]
    try:
        numbers = train_sft(
            model.path,
            rows,
            config,
            ctx.out / "model",
            seed=ctx.seed,
            log=ctx.log,
            progress=ctx.progress,
            scratch=ctx.scratch,
            resumed=ctx.resumed,
            say=ctx.say,
        )
    except (DivergenceError, LoraError, RouterError, SampleError) as error:
        raise StageError(str(error)) from error
    ctx.summary(**numbers)
    return Model(ctx.out / "model")
