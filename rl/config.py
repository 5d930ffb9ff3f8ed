"""The settings of GRPO. Import costs nothing: no torch here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from models.lora import Targets
from models.router import RouterPolicy
from rl.algorithms import Algorithm, with_defaults
from rollout.factory import EngineKind, resolve_kind
from rollout.server_settings import Replicas, ServerUrls, StallSeconds, server_faults

Loss = Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"]
CLIPPED = ("grpo", "dr_grpo", "dapo", "bnpo", "luspo")
Correction = Literal["off", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]


class GrpoError(ValueError):
    """Data, model and settings do not fit together; the message is one line for the user."""


class GrpoSettings(BaseModel):
    """Defaults are DeepSeek-R1's where it published them (arXiv 2501.12948v2, 2.1 and 3.2.1): group 16, 32 questions a
    step, learning rate 3e-6, clip ratio 10, KL 0.001 to a reference replaced every 400 steps, temperature 1. One
    differs: one update per rollout instead of 16 (on-policy; the clip then never acts). `algorithm` changes some of
    them (`rl.algorithms`); what is given by hand wins."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    steps: int = Field(100, ge=1, description="policy updates")
    prompts_per_step: int = Field(32, ge=1, description="problems per update")
    group: int = Field(16, ge=2, description="samples per problem, the baseline of their advantages")
    minibatches: int = Field(
        1, ge=1, description="updates per batch of rollouts; above 1 the later ones are off-policy (R1: 16)"
    )
    overlap: bool = Field(
        False, description="draw the next batch while this one trains: faster, one batch off-policy (needs correction)"
    )
    inner_epochs: int = Field(1, ge=1, description="passes over each batch of rollouts")
    max_tokens: int = Field(1024, ge=1, description="longest completion, tokens (R1: 32,768)")
    temperature: float = Field(1.0, gt=0, description="sampling temperature; the loss uses the same")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling")
    template: Literal["chat", "plain"] = Field("chat", description="chat: the tokenizer's template; plain: R1-Zero")

    algorithm: Algorithm = Field("grpo", description="sets the defaults of the loss: see docs/algorithms.md")
    loss: Loss = Field("grpo", description="how token losses are formed and averaged")
    level: Literal["token", "sequence"] = Field("token", description="importance ratio per token or sequence (GSPO)")
    scale_rewards: Literal["group", "batch", "none"] = Field(
        "group", description="advantage = (reward - group mean) / std of the group, of the batch, or not divided"
    )
    beta: float = Field(0.001, ge=0, description="KL coefficient (k3 in the loss); 0 = no reference model")
    ratio_weighted_kl: bool = Field(False, description="DeepSeek-V3.2: multiply the KL by the importance ratio")
    ref_every: int = Field(400, ge=0, description="the reference becomes the current policy every N steps; 0 = never")
    epsilon: float | None = Field(
        10.0, gt=0, description="clip range of the importance ratio, 1 - e to 1 + e (R1: 10); empty: no lower clip"
    )
    epsilon_high: float | None = Field(None, gt=0, description="upper clip range (DAPO: 0.28); empty = epsilon")
    delta: float | None = Field(None, gt=1, description="two-sided clip: cap of the ratio for negative advantages")
    mask_truncated: bool = Field(False, description="leave completions cut at max_tokens out of the loss (DAPO)")
    correction: Correction = Field("off", description="importance sampling of trainer against engine probabilities")
    correction_cap: float = Field(2.0, gt=0, description="largest weight of the correction (IcePop: 5)")
    correction_floor: float | None = Field(
        None, gt=0, description="smallest weight of the correction (IcePop: 0.5); empty = none"
    )
    off_policy_mask: float | None = Field(
        None, gt=0, description="DeepSeek-V3.2: drop negative samples that moved further than this (nats per token)"
    )
    entropy_coef: float = Field(0.0, description="weight of an entropy bonus")
    refill: int = Field(
        0, ge=0, description="DAPO's dynamic sampling: times to replace groups that are all right or all wrong"
    )

    general_steps: int | None = Field(
        None,
        ge=1,
        description="prompts with a column `judge` (a reward model's) come in the last N steps only (R1: 400 of 1,700)",
    )
    general_share: float | None = Field(
        None, gt=0, lt=1, description="their share of a batch then; empty = as many as their share of the problems"
    )

    correct: tuple[str, ...] = Field(
        ("math", "code"), description="reward parts that say an answer is right (value 1): what accuracy counts"
    )

    eval_every: int = Field(0, ge=0, description="steps between evaluations on the `dev` problems; 0 = never")
    eval_samples: int = Field(4, ge=1, description="samples for each `dev` problem (temperature 0.6, top-p 0.95)")
    patience: int = Field(
        0, ge=0, description="stop after this many evaluations in a row that are not better than the best; 0 = never"
    )
    learned: tuple[str, ...] = Field(
        ("preference", "judge"), description="reward parts that can be hacked: watched against rules on `dev` problems"
    )
    on_alarm: Literal["warn", "stop"] = Field(
        "warn",
        description="when a learned reward rises and a rule falls on `dev` problems: say so, or end the training",
    )
    hand_on: Literal["last", "best"] = Field(
        "last", description="weights that the next stage gets: the last ones, or those best on the `dev` problems"
    )

    lr: float = Field(3e-6, gt=0, description="learning rate; R1 uses 3e-6 at 671B, tiny models want 1e-4 and more")
    lr_schedule: Literal["constant", "linear", "cosine"] = Field("constant", description="after the warm-up")
    warmup: int = Field(0, ge=0, description="steps in which lr rises from 0")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
    beta2: float = Field(0.95, gt=0, lt=1, description="AdamW's second beta")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="bf16 = autocast over fp32 weights; auto = bf16 on a GPU, fp32 on a CPU (faster there)"
    )
    gradient_checkpointing: bool = Field(False, description="recompute activations: less memory, a third slower")
    accumulate: int = Field(1, ge=1, description="backward passes per update; more = less memory")
    share_prompts: bool = Field(
        True, description="run a prompt once for its group, and equal samples once; where model and router policy allow"
    )
    batch_tokens: int | None = Field(
        None, ge=1, description="tokens per forward pass, padding included; empty = 2048 on a CPU, 32768 on a GPU"
    )

    lora_rank: int = Field(0, ge=0, description="train a LoRA adapter of this rank (docs/lora.md); 0 = all weights")
    lora_alpha: float = Field(32.0, gt=0, description="the adapter counts lora_alpha / lora_rank")
    lora_targets: Targets = Field(
        "attention", description="layers with an adapter: attention, or linear (dense MLPs and shared experts as well)"
    )

    router: str = Field("frozen", description="router policy: frozen, bias_update(rate) or aux(coef)")
    freeze_router: bool = Field(False, description="the routers' weights do not train either")

    router_replay: Literal["off", "r2", "r3"] = Field(
        "off", description="send tokens to the experts of the old policy's pass (r2) or of the rollout (r3)"
    )

    engine: EngineKind = Field("auto", description="rollout engine, see docs/engines.md; auto: vLLM in this process")
    replicas: Replicas = 1
    server_urls: ServerUrls = ()
    stall_seconds: StallSeconds = 120.0
    engine_dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="rollout precision; auto = bfloat16 on a GPU, float32 on a CPU"
    )
    max_num_seqs: int = Field(256, ge=1, description="sequences the engine decodes at once")
    kv_cache_gib: float | None = Field(
        None, gt=0, description="the engine's cache, GiB; empty = on a CPU enough for max_num_seqs, at most 4"
    )
    gpu_memory: float = Field(0.4, gt=0, lt=1, description="share of the GPU's memory for the engine")
    sleep: bool = Field(False, description="the engine gives the GPU's memory back while the policy trains")
    canary_max_gap: float | None = Field(
        None, gt=0, description="largest log-probability gap after a sync, nats; empty = by precision (fp32: 0.001)"
    )
    save_every: int = Field(50, ge=0, description="steps between checkpoints for resuming; 0 = none")
    keep: int = Field(2, ge=1, description="checkpoints kept while it runs: the last one and those to fall back on")
    save_dtype: Literal["float32", "bfloat16"] = Field("float32", description="precision of the saved weights")

    @field_validator("router")
    @classmethod
    def _router(cls, text: str) -> str:
        return str(RouterPolicy.parse(text))

    @model_validator(mode="before")
    @classmethod
    def _algorithm(cls, given: Any) -> Any:
        return with_defaults(given) if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _fits(self) -> Self:
        problems = list(contradictions(self))
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def policy(self) -> RouterPolicy:
        return RouterPolicy.parse(self.router, freeze_weights=self.freeze_router)

    @property
    def updates_per_rollout(self) -> int:
        """Policy updates between two generations."""
        return self.minibatches * self.inner_epochs

    @property
    def corrects(self) -> bool:
        """Whether the loss is weighed by what trainer and engine disagree about."""
        return self.correction != "off"

    @property
    def has_old_pass(self) -> bool:
        """Whether the policy that drew a batch needs a pass of its own: not if the first update is the only one, whose
        log-probs are the old policy's (the correction takes them from there, too)."""
        return self.updates_per_rollout > 1

    @property
    def upper(self) -> float:
        """The clip range above 1."""
        high = self.epsilon if self.epsilon_high is None else self.epsilon_high
        assert high is not None, "contradictions() lets no loss through without an upper clip"
        return high

    @property
    def comparable(self) -> bool:
        """Whether the engine's log-probs are of the distribution that the trainer's are: at the sampling temperature,
        which the transformers engine does not report, and before top-p, which at other temperatures vLLM does not."""
        return self.temperature == 1 or (resolve_kind(self.engine) != "transformers" and self.top_p == 1)

    @property
    def can_share(self) -> bool:
        """A router that is kept in balance counts the batch as it is, and a replay has the routes of all of it;
        gradient checkpointing keeps no keys and values."""
        open_ = self.policy.kind == "frozen" and self.router_replay == "off" and not self.gradient_checkpointing
        return self.share_prompts and open_

    @property
    def skips_flat_groups(self) -> bool:
        """Whether a sample with advantage 0 changes nothing, so that no forward pass is spent on it.

        A KL or entropy term has a gradient of its own there, `bnpo` counts its tokens, and a router that is kept
        in balance wants the load of the whole batch.
        """
        return self.beta == 0 and self.entropy_coef == 0 and self.loss != "bnpo" and self.policy.kind == "frozen"


def contradictions(s: GrpoSettings) -> Iterator[str]:
    """Knobs that cannot hold together, each in one line: what is wrong and what to do."""
    yield from server_faults(s.engine, s.replicas, s.server_urls)
    samples = s.prompts_per_step * s.group
    if samples % s.accumulate:
        yield f"accumulate {s.accumulate} does not divide prompts_per_step x group = {samples}"
    clips = s.loss in CLIPPED
    if s.loss == "cispo" and (s.epsilon is not None or s.epsilon_high is None):
        yield "loss: cispo has an upper clip only: set epsilon: null and epsilon_high, or use algorithm: cispo"
    if clips and s.epsilon is None:
        yield f"loss: {s.loss} clips on both sides: set epsilon (R1: 10, DAPO: 0.2)"
    if s.delta is not None and not clips:
        yield f"delta belongs to a clipped loss ({', '.join(CLIPPED)}), not to loss: {s.loss}: drop it or change loss"
    elif s.delta is not None and s.delta <= 1 + s.upper:
        yield f"delta {s.delta:g} lies inside the clip range 1 + {s.upper:g}: raise delta or lower epsilon"
    if s.level == "sequence" and s.loss not in ("grpo", "luspo"):
        yield f"level: sequence needs loss: grpo (GSPO) or luspo, not {s.loss}, which weighs tokens: change one of them"
    if s.loss == "luspo" and s.level != "sequence":
        yield "loss: luspo needs level: sequence"
    if s.loss == "vespo" and s.correction.startswith("sequence"):
        yield "loss: vespo takes correction: off, token_truncate or token_mask"
    if s.ratio_weighted_kl and s.beta == 0:
        yield "ratio_weighted_kl has no KL to weigh: set beta above 0 or ratio_weighted_kl: false"
    if (s.corrects or s.off_policy_mask) and not s.comparable:
        knob = "correction" if s.corrects else "off_policy_mask"
        yield (
            f"{knob} compares with the engine's log-probs, which are another distribution at temperature "
            f"{s.temperature:g}, top_p {s.top_p:g} and engine: {s.engine}: "
            "use temperature: 1, or engine: vllm and top_p: 1"
        )
    if not s.eval_every and (s.patience or s.hand_on == "best"):
        knob = "hand_on: best" if s.hand_on == "best" else f"patience: {s.patience}"
        yield f"{knob} goes by evaluations on held-out problems: set eval_every, and `dev` among the inputs"
    if s.on_alarm == "stop" and not s.eval_every:
        yield "on_alarm: stop goes by evaluations on held-out problems: set eval_every, and `dev` among the inputs"
    if s.general_steps is not None and s.general_steps > s.steps:
        yield f"general_steps {s.general_steps} is more than steps {s.steps}: lower it, or leave it out for all steps"
    if s.general_share is not None:
        batch = s.prompts_per_step * s.minibatches
        if not 0 < (general := round(s.general_share * batch)) < batch:
            yield (
                f"general_share {s.general_share:g} of {batch} prompts is {general} general prompts in every batch: "
                "change the share or prompts_per_step"
            )
    yield from _overlap_faults(s)
    if s.sleep and resolve_kind(s.engine) != "vllm":
        yield f"sleep: engine: {s.engine} holds its memory all the time: use engine: vllm or drop it"
    if s.router_replay == "r2" and not s.has_old_pass:
        yield (
            "router_replay: r2 replays the pass for the old policy, and with one update per rollout there is none "
            "(the routes are the same): use off, or r3 for the engine's routes"
        )
    if s.router_replay == "r3" and resolve_kind(s.engine) == "transformers":
        yield f"router_replay: r3 needs the experts that the rollout chose, which engine: {s.engine} does not give: r2"
    if s.lora_rank and s.policy.kind == "aux":
        yield f"router: {s.policy} trains the routers, and with lora_rank only the adapter trains: use frozen"
    if s.correction_floor is not None and not s.corrects:
        yield "correction_floor has no correction to bound: set correction (IcePop: token_mask) or drop it"
    if s.correction_floor is not None and s.correction_floor >= s.correction_cap:
        yield f"correction_floor {s.correction_floor:g} is not below correction_cap {s.correction_cap:g}: swap them"


def _overlap_faults(s: GrpoSettings) -> Iterator[str]:
    if not s.overlap:
        return
    if not s.corrects:
        yield "overlap draws with the weights of a batch before: set correction: token_truncate, or leave it out"
    if 0 < s.save_every <= s.updates_per_rollout < s.steps:
        yield (
            f"overlap draws nothing ahead across a checkpoint, and save_every {s.save_every} makes one before each "
            f"batch: raise it above {s.updates_per_rollout} (minibatches x inner_epochs)"
        )
    if s.sleep:
        yield "overlap draws while the policy trains, so the engine cannot sleep then: drop sleep or overlap"
    if s.ratio_weighted_kl:
        yield "overlap has no ratio that ratio_weighted_kl could weigh the KL with: leave one of them out"
