"""The schema of recipes: all settings of a training, by section."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from mixlab.data.audio.spectrogram import Spectrogram
from mixlab.data.augmentation.augment import Augmentation
from mixlab.data.preprocess import Interpolation, Resize
from mixlab.errors import UserError
from mixlab.tasks.tasks import TASKS
from mixlab.training.recipes.decoder import Decoder, conflicts_of_masks, default_decoder
from mixlab.training.recipes.for_task import settings_of_images
from mixlab.training.recipes.section import Count, Section

Seed = Annotated[int, Field(ge=0, lt=2**63)]
Rate = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Preprocessing(Section):
    """How images are resized, cropped and normalised. Default: the preprocessing of the weights, else of mixlab."""

    resize: Resize | None = None
    crop_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    interpolation: Interpolation | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[Positive, Positive, Positive] | None = None
    value_range: tuple[float, float] | None = None  # black and white in images with more than 8 bits; None: of the data
    spectrogram: Spectrogram | None = None  # of sounds; None: the default settings for sounds, and none for images


class Initialization(Section):
    """The weights that the training starts from; random without `weights`."""

    weights: str | None = None  # anything that `mixlab.load` accepts: a name, or the path of a run or file
    sha256: str | None = None  # expected digest of the tensors of `weights`
    resize: Literal["exact", "resampled"] | None = None  # for the token MLPs of a Mixer, if image_size changes
    head: Literal["auto", "keep", "zero"] = "auto"  # auto: keep the head if it has the classes of the data

    @model_validator(mode="after")
    def _no_unused_keys(self) -> Self:
        if self.weights is None:
            self._require_unset("sha256", "resize", "head", needs="initialization.weights")
        return self


class TransformSettings(Section):
    """A fixed transform of every image after augmentation and mixing (`mixlab.data.transforms`)."""

    name: Literal["permute_patches", "permute_pixels_in_patches", "permute_patches_and_pixels", "permute_all_pixels"]
    seed: Seed = 0
    patch_size: Count | None = None  # pixels; for all but permute_all_pixels


class Subset(Section):
    """Train on a subset of the training images (`mixlab.data.subset`)."""

    classes: tuple[str, ...] | None = None  # names, in the order of the labels; None: all
    folds: Annotated[int, Field(ge=2)] | None = None  # folds for cross-validation, which are stratified by class
    left_out_fold: Annotated[int, Field(ge=0)] | None = None  # the fold without which to train, from 0 to folds - 1
    per_class: Count | None = None  # maximum number of images of each class
    share: Annotated[float, Field(gt=0, le=1)] | None = None  # fraction of the images of each class
    seed: Seed = 0

    @model_validator(mode="after")
    def _classes_and_size(self) -> Self:
        if self.classes is not None and (len(self.classes) < 2 or len({*self.classes}) < len(self.classes)):
            raise UserError(f"subset.classes={list(self.classes)} is no choice: give two or more different classes.")
        if self.per_class is not None and self.share is not None:
            raise UserError("subset has both per_class and share: remove one of them.")
        return self

    @model_validator(mode="after")
    def _fold_exists(self) -> Self:
        if (self.folds is None) != (self.left_out_fold is None):
            raise UserError("subset needs both folds and left_out_fold, or neither: add the other one.")
        if self.folds is not None and self.left_out_fold is not None and self.left_out_fold >= self.folds:
            raise UserError(
                f"subset.left_out_fold={self.left_out_fold} is out of range: the {self.folds} folds are numbered from "
                f"0 to {self.folds - 1}."
            )
        return self


class Optimizer(Section):
    """The optimiser, its peak learning rate and its weight decay."""

    name: Literal["adamw", "sgd", "muon"] = "adamw"
    learning_rate: float = Field(gt=0)  # at the peak of the schedule
    weight_decay: float = Field(ge=0)
    decay_parameters: Literal["matrices", "all"] = "matrices"  # "matrices": without biases and the scales of norms
    decoupled_decay: bool = False  # false: rate * decay per step, as in PyTorch; true: rate / peak * decay
    betas: tuple[Rate, Rate] = (0.9, 0.999)  # adamw, and muon for the parameters that use AdamW
    epsilon: float = Field(default=1e-8, gt=0)  # adamw
    momentum: Rate = 0.9  # sgd, muon
    clip_norm: Positive | None = None  # maximum norm of all gradients together
    layer_decay: Annotated[float, Field(gt=0, le=1)] | None = (
        None  # factor of the learning rate per layer below the head
    )
    sam_rho: Positive | None = None  # rho of SAM, which needs two passes per step

    @model_validator(mode="after")
    def _no_unused_keys(self) -> Self:
        if self.name == "adamw":
            self._require_unset("momentum", needs='optimizer.name="sgd" or "muon"')
        if self.name == "sgd":
            self._require_unset("betas", "epsilon", needs='optimizer.name="adamw" or "muon"')
            if self.decoupled_decay:
                raise UserError(
                    'optimizer.decoupled_decay=true is not supported with optimizer.name="sgd", where weight decay is '
                    'part of the gradient: remove it, or set optimizer.name="adamw".'
                )
        return self


class Schedule(Section):
    """The learning rate schedule (`mixlab.training.schedule`). Factors are relative to the peak learning rate."""

    name: Literal["cosine", "linear", "piecewise"] = "cosine"
    knots: tuple[tuple[Share, Share], ...] | None = None  # piecewise: (fraction of the training, factor)
    warmup: Rate = 0.0  # fraction of the steps
    warmup_steps: Count | None = None  # instead of warmup
    warmup_epochs: Positive | None = None  # instead of warmup
    warmup_factor: Share = 0.0  # factor at the start of the warm-up
    decay_start: Literal["warmup", "start"] = "warmup"  # "start": the decay starts at step 0, under the warm-up
    final_factor: Share = 0.0  # factor at the end of the decay
    cooldown_epochs: int = Field(default=0, ge=0)  # at `final_factor`, in addition to epochs or steps
    update_every: Literal["step", "epoch"] = "step"  # how often the learning rate changes

    @model_validator(mode="after")
    def _one_schedule(self) -> Self:
        warmups = [key for key in _WARMUPS if getattr(self, key)]
        if len(warmups) > 1:
            raise UserError(
                f"schedule has both {warmups[0]} and {warmups[1]}, which set the same warm-up: remove one of them."
            )
        if self.name == "piecewise":
            _check_knots(self.knots)
            other_names = 'schedule.name="cosine" or "linear"'
            self._require_unset(*_WARMUPS, "warmup_factor", "decay_start", "final_factor", needs=other_names)
        else:
            self._require_unset("knots", needs='schedule.name="piecewise"')
        if not warmups:
            self._require_unset("warmup_factor", "decay_start", needs="a warm-up, such as schedule.warmup=0.1")
        if self.cooldown_epochs and not (self.knots[-1][1] if self.knots else self.final_factor):
            raise UserError(
                f"schedule.cooldown_epochs={self.cooldown_epochs} has no effect with a final learning rate of 0: set "
                "schedule.final_factor, for example to 0.01, or remove it."
            )
        return self


_WARMUPS = ("warmup", "warmup_steps", "warmup_epochs")


def _check_knots(knots: tuple[tuple[float, float], ...] | None) -> None:
    """Raises UserError if the knots do not define a schedule from 0 to 1."""
    moments = [moment for moment, _ in knots or ()]
    if moments[:1] != [0] or moments[-1:] != [1] or moments != sorted(set(moments)):
        raise UserError(
            f"schedule.knots={knots and [list(knot) for knot in knots]} is not a schedule: it must be a list of pairs "
            "[fraction of the training, factor of the learning rate], with fractions that increase from 0 to 1, for "
            "example [[0, 0], [0.4, 1], [1, 0]]."
        )


class Loss(Section):
    """The loss for the labels."""

    name: Literal["softmax", "sigmoid"] = "softmax"
    label_smoothing: Rate = 0.0
    class_weights: Literal["balanced"] | tuple[Positive, ...] | None = None
    head_bias: float | None = None  # sigmoid: initial bias of a new head; -ln(classes) is the prior of balanced classes

    @model_validator(mode="after")
    def _no_unused_keys(self) -> Self:
        if self.name == "softmax":
            self._require_unset("head_bias", needs='loss.name="sigmoid"')
        return self


class Ema(Section):
    """An exponential moving average of the weights."""

    decay: Rate  # per step


class Distillation(Section):
    """Knowledge distillation from a trained teacher."""

    teacher: str  # any MODEL with weights
    sha256: str | None = None  # expected digest of the tensors of `teacher`
    weight: Share = 0.5  # of the distillation loss; the loss for the labels has 1 - weight
    temperature: Positive = 1.0
    target: Literal["soft", "hard"] = "soft"

    @model_validator(mode="after")
    def _no_unused_keys(self) -> Self:
        if self.weight == 0:
            raise UserError("distillation.weight=0 has no effect: remove [distillation] or set a weight such as 0.5.")
        if self.target == "hard":
            self._require_unset("temperature", needs='distillation.target="soft"')
        return self


class Checkpoints(Section):
    """When checkpoints are written, at least once per epoch."""

    every_steps: Count | None = None
    every_seconds: Positive | None = None
    keep: Count = 2  # number of last checkpoints to keep; the best weights are kept in addition


class EarlyStopping(Section):
    """End the training when the validation accuracy has not improved (`mixlab.training.early_stopping`)."""

    patience: Count  # validations without an improvement, one in each epoch unless validate_every is more
    min_delta: float = Field(default=0.0, ge=0)  # percentage points by which an epoch has to exceed the best one before


class Expected(Section):
    """The result of a recipe: measured by mixlab, or as published."""

    top1: float  # mean, per cent
    spread: float | None = None  # sample standard deviation, percentage points
    n: int | None = None  # number of trainings
    by: str  # who reported it
    on: str  # the images it was evaluated on
    seconds: float | None = None  # per training
    device: str | None = None


class Recipe(Section):
    """All settings of a training."""

    task: Literal["classification", "multilabel", "segmentation", "text"] = "classification"  # what is learned
    model: str
    data: str
    image_size: int | tuple[int, int] | None = None  # pixels; None: the default of the model
    epochs: Count | None = None
    steps: Count | None = None
    batch: Annotated[int, Field(ge=2)] | Literal["auto"] = "auto"  # images per step, over all processes
    accumulate: Count = 1  # micro-batches per step in each process
    seed: Seed = 0
    workers: int = Field(default=0, ge=0)
    max_unreadable: int = Field(default=0, ge=0)  # unreadable images of each split that may be skipped
    validation: Literal["held_out", "merged"] = "held_out"  # merged into train: the weights of the last step are saved
    validate_every: Annotated[float, Field(ge=1)] = 1  # epochs; also after the last one. 2.5: after epochs 3, 5, 8, 10
    non_finite: Literal["stop", "skip"] = "stop"  # skip steps with gradients that are not finite
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    speed: Literal["auto", "off"] = "auto"
    activation_checkpointing: Literal["off", "blocks"] = "off"  # less memory: blocks are computed twice in a step
    parallel: Literal["ddp", "fsdp"] = "ddp"  # with several processes: replicate or shard the model
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = ()
    config: dict[str, Any] = Field(default_factory=dict)  # fields of the model's config
    initialization: Initialization = Initialization()
    preprocessing: Preprocessing = Preprocessing()
    transform: TransformSettings | None = None
    subset: Subset | None = None
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    augmentation: Augmentation = Augmentation()
    loss: Loss = Loss()
    decoder: Decoder | None = None
    ema: Ema | None = None
    distillation: Distillation | None = None
    early_stopping: EarlyStopping | None = None
    checkpoints: Checkpoints = Checkpoints()
    expected: Expected | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_task(cls, fields: Any) -> Any:
        """The first loss and the decoder of the task, if the recipe has none."""
        if not isinstance(fields, dict) or fields.get("task") not in TASKS:
            return fields
        fields, loss = default_decoder(fields["task"]) | fields, fields.get("loss", {})
        return fields | {"loss": {"name": TASKS[fields["task"]].losses[0]} | loss} if isinstance(loss, dict) else fields

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise UserError("a recipe needs exactly one of epochs and steps: give one of them.")
        for unit in ("epochs", "steps"):
            length, warmup = getattr(self, unit), getattr(self.schedule, f"warmup_{unit}")
            if length is not None and warmup is not None and warmup >= length:
                raise UserError(
                    f"schedule.warmup_{unit}={warmup:g} is out of range: it must be less than {unit}={length}."
                )
        return self

    @model_validator(mode="after")
    def _no_conflicts(self) -> Self:
        inner = self.config.get("image_size", self.image_size)
        if self.image_size is not None and _sides(inner) != _sides(self.image_size):
            raise UserError(
                f"image_size={self.image_size} and config.image_size={inner} contradict each other: remove "
                "config.image_size."
            )
        for settings, reason, fix in self._conflicts():
            raise UserError(f"{settings} can't be combined: {reason}. {fix}")
        return self

    def _conflicts(self) -> Iterator[tuple[str, str, str]]:
        """Settings that can't be combined, the reason, and the fix."""
        optimizer = self.optimizer
        if self.precision == "fp16" and optimizer.name == "muon":
            reason = "gradients of fp16 can be unscaled for a single optimiser only, and muon needs two"
            yield 'optimizer.name="muon" and precision="fp16"', reason, 'Set precision="bf16".'
        if self.precision == "fp16" and optimizer.sam_rho is not None:
            reason = "gradients of fp16 can be unscaled once per step only, and SAM has two passes"
            yield f'optimizer.sam_rho={optimizer.sam_rho} and precision="fp16"', reason, 'Set precision="bf16".'
        if self.precision == "fp16" and self.non_finite == "skip":
            reason = "the gradient scaler of fp16 skips such steps already, and adapts the scale to them"
            yield 'non_finite="skip" and precision="fp16"', reason, "Remove non_finite."
        if self.early_stopping is not None and self.validation == "merged":
            reason = "the validation images are training images, so no accuracy shows when to stop"
            yield '[early_stopping] and validation="merged"', reason, "Remove one of them."
        if self.validate_every != 1 and self.validation == "merged":
            reason = "the validation images are training images"
            yield f'validate_every={self.validate_every:g} and validation="merged"', reason, "Remove one of them."
        if self.loss.name not in TASKS[self.task].losses:
            name, allowed = self.loss.name, TASKS[self.task].losses[0]
            reason = "its loss is the sum over independent labels"
            yield f'loss.name="{name}" and task="{self.task}"', reason, f'Set loss.name="{allowed}", or remove it.'
        if self.task != "classification" and self.distillation is not None:
            reason = "the distillation loss compares probabilities of one class per image"
            yield f'[distillation] and task="{self.task}"', reason, "Remove [distillation]."
        if self.task != "classification" and self.subset is not None:
            reason = "a subset is selected by the class of each image"
            yield f'[subset] and task="{self.task}"', reason, "Remove [subset], and the images from the data."
        yield from conflicts_of_masks(self)
        if self.task == "text":
            yield from settings_of_images(self)
        if self.parallel == "fsdp" and optimizer.name == "muon":
            yield 'optimizer.name="muon" and parallel="fsdp"', "muon needs unsharded matrices", 'Set parallel="ddp".'

    def to_dict(self) -> dict[str, Any]:
        """The recipe as values for TOML, without those that are None, and without the default task."""
        exclude = {"task"} if self.task == "classification" else set()
        return self.model_dump(mode="json", exclude_none=True, exclude=exclude)


def _sides(image_size: Any) -> tuple[Any, ...]:
    return (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
