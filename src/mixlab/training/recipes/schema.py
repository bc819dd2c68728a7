"""A recipe: everything that decides a training, section by section, complete and without code."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mixlab.data.augmentation.augment import Augmentation
from mixlab.errors import UserError

Rate = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def _refuse_unused(self, *keys: str, needs: str) -> None:
        """Raise UserError for a key that stands at something else than usual, where nothing listens to it."""
        for key in keys:
            value = getattr(self, key)
            if value != type(self).model_fields[key].default:
                section = type(self).__name__.lower()
                raise UserError(f"{section}.{key}={value!r} changes nothing here: it needs {needs}. Leave it out.")


class Preprocessing(Section):
    """How an image is resized, cut and normalised; what is left out is as the weights' Card says, or as usual."""

    resize: Literal["stretch", "shorter_side"] | None = None
    crop_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    interpolation: Literal["bilinear", "bicubic"] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[Positive, Positive, Positive] | None = None


class Initialization(Section):
    """Where the weights come from; without `weights`, they are random."""

    weights: str | None = None  # any name that `mixlab.load` takes, and the path of a run or a file
    sha256: str | None = None  # of the tensors that are loaded; other ones are refused
    resize: Literal["exact", "resampled"] | None = None  # of a Mixer's token MLPs, where image_size changes
    head: Literal["auto", "keep", "zero"] = "auto"  # auto: keep the head if its classes are the data's

    @model_validator(mode="after")
    def _no_unused_keys(self) -> Self:
        if self.weights is None:
            self._refuse_unused("sha256", "resize", "head", needs="initialization.weights")
        return self


class TransformSettings(Section):
    """A fixed change of every image after all augmentation and mixing (`mixlab.data.transforms`)."""

    name: Literal["permute_patches", "permute_pixels"]
    seed: int = Field(default=0, ge=0)
    patch_size: Count | None = None  # pixels; permute_patches


class Subset(Section):
    """The training images that are used (`mixlab.data.subset`)."""

    classes: tuple[str, ...] | None = None  # names, in the order of the labels; None: all
    per_class: Count | None = None  # images of each class at most
    share: Annotated[float, Field(gt=0, le=1)] | None = None  # of each class's images
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        if self.per_class is not None and self.share is not None:
            raise UserError("subset has both per_class and share: give one of them.")
        return self


class Optimizer(Section):
    name: Literal["adamw", "sgd", "muon"] = "adamw"
    learning_rate: float = Field(gt=0)  # at the peak of the schedule
    weight_decay: float = Field(ge=0)
    decay_parameters: Literal["matrices", "all"] = "matrices"  # "matrices" leaves out biases and norms' scales
    decoupled_decay: bool = False  # false: a step subtracts rate * decay, as PyTorch's; true: rate / peak * decay
    betas: tuple[Rate, Rate] = (0.9, 0.999)  # adamw, and what muon leaves to it
    epsilon: float = Field(default=1e-8, gt=0)  # adamw
    momentum: Rate = 0.9  # sgd, muon
    clip_norm: Positive | None = None  # of all gradients together
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = None  # of the rate, a layer down from the head
    sam_rho: Positive | None = None  # rho of sharpness-aware minimisation, which takes two passes a step

    @model_validator(mode="after")
    def _no_unused_keys(self) -> Self:
        if self.name == "adamw":
            self._refuse_unused("momentum", needs='optimizer.name="sgd" or "muon"')
        if self.name == "sgd":
            self._refuse_unused("betas", "epsilon", needs='optimizer.name="adamw" or "muon"')
            if self.decoupled_decay:
                raise UserError(
                    "optimizer.decoupled_decay=true does not go with sgd, whose decay is a part of the gradient "
                    'and follows the rate: leave it out, or take optimizer.name="adamw".'
                )
        return self


class Schedule(Section):
    name: Literal["cosine", "linear", "piecewise"] = "cosine"
    knots: tuple[tuple[Share, Share], ...] | None = None  # piecewise: (share of the training, share of the peak)
    warmup: Rate = 0.0  # share of the steps
    warmup_steps: Count | None = None  # in its place
    warmup_epochs: Positive | None = None  # in its place
    warmup_factor: Share = 0.0  # share of the peak where the warm-up begins
    decay_start: Literal["warmup", "start"] = "warmup"  # start: the warm-up takes the place of the fall's beginning
    final_factor: Share = 0.0  # share of the peak where the fall ends
    cooldown_epochs: int = Field(default=0, ge=0)  # at `final_factor`, added to the recipe's epochs or steps
    update_every: Literal["step", "epoch"] = "step"  # how often the rate is set anew

    @model_validator(mode="after")
    def _one_schedule(self) -> Self:
        warmups = [key for key in _WARMUPS if getattr(self, key)]
        if len(warmups) > 1:
            raise UserError(
                f"schedule has both {warmups[0]} and {warmups[1]}, two lengths of one warm-up: leave one out."
            )
        if self.name == "piecewise":
            _check_knots(self.knots)
            course = 'schedule.name="cosine" or "linear", since knots are the whole course'
            self._refuse_unused(*_WARMUPS, "warmup_factor", "decay_start", "final_factor", needs=course)
        else:
            self._refuse_unused("knots", needs='schedule.name="piecewise"')
        if not warmups:
            self._refuse_unused("warmup_factor", "decay_start", needs="a warm-up, such as schedule.warmup=0.1")
        if self.cooldown_epochs and not (self.knots[-1][1] if self.knots else self.final_factor):
            raise UserError(
                f"schedule.cooldown_epochs={self.cooldown_epochs} would learn nothing, as the rate has fallen to 0: "
                "give schedule.final_factor, such as 0.01, or leave it out."
            )
        return self


_WARMUPS = ("warmup", "warmup_steps", "warmup_epochs")


def _check_knots(knots: tuple[tuple[float, float], ...] | None) -> None:
    """Raises UserError for those of no course."""
    shares = [share for share, _ in knots or ()]
    if shares[:1] != [0] or shares[-1:] != [1] or shares != sorted(set(shares)):
        raise UserError(
            f"schedule.knots={knots and [list(knot) for knot in knots]} are no course: they are pairs (share of the "
            "training, share of the peak), whose first numbers grow from 0 to 1, such as [[0, 0], [0.4, 1], [1, 0]]."
        )


class Loss(Section):
    name: Literal["softmax", "sigmoid"] = "softmax"
    label_smoothing: Rate = 0.0
    class_weights: Literal["balanced"] | tuple[Positive, ...] | None = None
    head_bias: float | None = None  # sigmoid: where a fresh head starts; -ln(classes) expects each as often as it comes

    @model_validator(mode="after")
    def _no_unused_keys(self) -> Self:
        if self.name == "softmax":
            self._refuse_unused("head_bias", needs='loss.name="sigmoid"')
        return self


class Ema(Section):
    decay: Rate  # a step


class Distillation(Section):
    teacher: str  # any MODEL with weights
    weight: Share = 0.5  # of the teacher's part of the loss
    temperature: Positive = 1.0
    target: Literal["soft", "hard"] = "soft"

    @model_validator(mode="after")
    def _no_unused_keys(self) -> Self:
        if self.weight == 0:
            raise UserError(
                "distillation.weight=0 asks a teacher and does not listen: leave out the section, or give 0.5."
            )
        if self.target == "hard":
            self._refuse_unused("temperature", needs='distillation.target="soft"')
        return self


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
    on: str  # which images were judged
    seconds: float | None = None  # a seed
    device: str | None = None


class Recipe(Section):
    model: str
    data: str
    image_size: int | tuple[int, int] | None = None  # pixels; None: the model's own
    epochs: Count | None = None
    steps: Count | None = None
    batch: Annotated[int, Field(ge=2)] | Literal["auto"] = "auto"  # images a step, over all processes
    accumulate: Count = 1  # parts that a process's share of a batch goes through the model in
    seed: int = Field(default=0, ge=0)
    workers: int = Field(default=0, ge=0)
    max_unreadable: int = Field(default=0, ge=0)  # images of each part that may be left out
    validation: Literal["held_out", "merged"] = (
        "held_out"  # trained: nothing is selected by it, the last weights are kept
    )
    non_finite: Literal["stop", "skip"] = "stop"  # what a loss that is no number does
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    speed: Literal["auto", "off"] = "auto"
    parallel: Literal["ddp", "fsdp"] = "ddp"  # with several processes: copies of the model, or shards of it
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    config: dict[str, Any] = {}  # the model's own fields
    initialization: Initialization = Initialization()
    preprocessing: Preprocessing = Preprocessing()
    transform: TransformSettings | None = None
    subset: Subset | None = None
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
        for unit in ("epochs", "steps"):
            length, warmup = getattr(self, unit), getattr(self.schedule, f"warmup_{unit}")
            if length is not None and warmup is not None and warmup >= length:
                raise UserError(
                    f"schedule.warmup_{unit}={warmup:g} leaves nothing of {unit}={length}: it must be less."
                )
        return self

    @model_validator(mode="after")
    def _no_conflicts(self) -> Self:
        inner = self.config.get("image_size", self.image_size)
        if self.image_size is not None and _sides(inner) != _sides(self.image_size):
            raise UserError(
                f"image_size={self.image_size} and config.image_size={inner} are two sizes of one image: leave out "
                "the latter."
            )
        for given, rule, way_out in self._conflicts():
            raise UserError(f"{given} do not go together: {rule}. {way_out}")
        return self

    def _conflicts(self) -> Iterator[tuple[str, str, str]]:
        """What does not go together, why, and the way out."""
        optimizer = self.optimizer
        if self.precision == "fp16" and optimizer.name == "muon":
            rule = "the scale of fp16's gradients is taken off for one optimiser alone"
            yield 'optimizer.name="muon" and precision="fp16"', rule, 'Give precision="bf16".'
        if self.precision == "fp16" and optimizer.sam_rho is not None:
            rule = "the scale of fp16's gradients is found out once a step, and there are two passes"
            yield f'optimizer.sam_rho={optimizer.sam_rho} and precision="fp16"', rule, 'Give precision="bf16".'
        if self.precision == "fp16" and self.non_finite == "skip":
            rule = "fp16's scale is found by leaving such steps out, and has to be told of each"
            yield 'non_finite="skip" and precision="fp16"', rule, "Leave non_finite out."
        if self.parallel == "fsdp" and optimizer.name == "muon":
            yield 'optimizer.name="muon" and parallel="fsdp"', "muon needs whole matrices", 'Give parallel="ddp".'

    def to_dict(self) -> dict[str, Any]:
        """As TOML can hold it: what is None is left out."""
        return self.model_dump(mode="json", exclude_none=True)


def _sides(image_size: Any) -> tuple[Any, ...]:
    return (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
