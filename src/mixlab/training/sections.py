"""A recipe: everything that decides a training, section by section, complete and without code."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mixlab.data.augment import Augmentation
from mixlab.errors import UserError

Rate = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Pictures(Section):
    """How a picture is resized, cut and normalised; what is left out is as the weights' Card says, or as usual."""

    resize: Literal["stretch", "shorter_side"] | None = None
    crop_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[Positive, Positive, Positive] | None = None


class Optimizer(Section):
    name: Literal["adamw", "sgd", "muon"] = "adamw"
    learning_rate: float = Field(gt=0)  # at the peak of the schedule
    weight_decay: float = Field(ge=0)
    decays: Literal["matrices", "everything"] = "matrices"  # matrices: biases and norms' scales never decay
    decay_follows: Literal["rate", "schedule"] = "rate"  # rate: a step takes rate * decay off; schedule: the peak is 1
    betas: tuple[Rate, Rate] = (0.9, 0.999)  # adamw, and what muon leaves to it
    epsilon: float = Field(default=1e-8, gt=0)  # adamw
    momentum: Rate = 0.9  # sgd, muon
    clip_norm: Positive | None = None  # of all gradients together
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None  # of the rate, a layer down from the head
    sharpness: Positive | None = None  # rho of sharpness-aware minimisation, which takes two passes a step


class Schedule(Section):
    name: Literal["cosine", "linear", "piecewise"] = "cosine"
    knots: tuple[tuple[Share, Share], ...] | None = None  # piecewise: (share of the training, share of the peak)
    warmup: Rate = 0.0  # share of the steps
    warmup_steps: Count | None = None  # in its place
    warmup_epochs: Positive | None = None  # in its place
    warmup_from: Share = 0.0  # share of the peak where the warm-up begins
    falls_from: Literal["warmup", "start"] = "warmup"  # its end, or the training's: the warm-up covers the fall's first
    final: Share = 0.0  # share of the peak where the fall ends
    cooldown_epochs: int = Field(default=0, ge=0)  # at `final`, added to the recipe's epochs or steps
    changes: Literal["step", "epoch"] = "step"  # how often the rate is set anew


class Loss(Section):
    name: Literal["softmax", "sigmoid"] = "softmax"
    label_smoothing: Rate = 0.0
    class_weights: Literal["balanced"] | tuple[Positive, ...] | None = None


class Ema(Section):
    decay: Rate  # a step


class Distillation(Section):
    teacher: str  # any MODEL with weights
    weight: Share = 0.5  # of the teacher's part of the loss
    temperature: Positive = 1.0
    target: Literal["soft", "hard"] = "soft"


class Checkpoints(Section):
    """Written at least once an epoch."""

    every_steps: Count | None = None
    every_seconds: Positive | None = None
    keep: Count = 2  # the last so many; the best weights are kept beside them


class Expected(Section):
    """What a recipe has reached, and where: written down after it was run, or by whom it was published."""

    top1: float  # per cent, mean
    spread: float | None = None  # sample standard deviation, points
    n: int | None = None  # trainings
    by: str
    on: str  # which pictures were judged
    seconds: float | None = None  # a seed
    device: str | None = None


class Recipe(Section):
    model: str
    data: str
    image_size: int | tuple[int, int] | None = None  # pixels; None: the model's own
    epochs: Count | None = None
    steps: Count | None = None
    batch: Annotated[int, Field(ge=2)] | Literal["auto"] = "auto"  # pictures a step, over all processes
    accumulate: Count = 1  # parts that a process's share of a batch goes through the model in
    seed: int = Field(default=0, ge=0)
    workers: int = Field(default=0, ge=0)
    max_unreadable: int = Field(default=0, ge=0)  # pictures of each part that may be left out
    validation: Literal["apart", "trained"] = "apart"  # trained: nothing is selected by it, the last weights are kept
    non_finite: Literal["stop", "skip"] = "stop"  # what a loss that is no number does
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    speed: Literal["auto", "off"] = "auto"
    parallel: Literal["ddp", "fsdp"] = "ddp"  # with several processes: copies of the model, or shards of it
    track: tuple[Literal["tensorboard", "wandb"], ...] = ()
    config: dict[str, Any] = {}  # the model's own fields
    pictures: Pictures = Pictures()
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    augmentation: Augmentation = Augmentation()
    loss: Loss = Loss()
    ema: Ema | None = None
    distillation: Distillation | None = None
    checkpoints: Checkpoints = Checkpoints()
    expected: Expected | None = None

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise UserError("a recipe has exactly one of epochs and steps: give one and leave the other out.")
        return self

    def to_dict(self) -> dict[str, Any]:
        """As TOML can hold it: what is None is left out."""
        return self.model_dump(mode="json", exclude_none=True)
