"""Which models use a larger budget best, by width and by depth?

Every model is trained in several widths and depths, on the same images for the same number of steps. The cost of a
training is the number of multiply-accumulates of one forward pass, times the images that it sees. The throughput is
measured on this machine, all models in turn. Models on the frontier are those that no other one beats in accuracy at no
higher cost. The growth of a model is the slope of its accuracy over the logarithm of the cost in the series of widths.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from mixlab.benchmark.throughput import images_per_second
from mixlab.data.dataset import Dataset
from mixlab.errors import UserError
from mixlab.measure.machine import device_name, pick_device
from mixlab.runs.folder import Run
from mixlab.studies.arms import Arms, TrainedArms
from mixlab.studies.arms_result import ArmsResult
from mixlab.studies.from_scratch import from_scratch
from mixlab.studies.grids import numbers, require_distinct
from mixlab.studies.model_scale_result import Member, Scaled, Series, make_result
from mixlab.training.job import Job
from mixlab.weights.load import build_with_weights, load_pretrained
from mixlab.zoo.architecture import Model, architecture
from mixlab.zoo.scaling import resized_config

COST = "72 trainings of 25 epochs on 10,000 images"

DEFAULT_MODELS = ("mixer_nano", "convmixer_nano", "davit_nano", "resnet_nano", "vit_nano")


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    models: tuple[str, ...] = field(
        default=DEFAULT_MODELS,
        metadata={"help": "Comma-separated models: sizes, timm:NAME with its widths, variant:NAME, py:FILE:NAME."},
    )
    widths: tuple[str, ...] = field(
        default=("0.5", "1", "2"), metadata={"help": "Factors of the channels and heads of each model."}
    )
    depths: tuple[str, ...] = field(
        default=("0.5", "1", "2"), metadata={"help": "Factors of the layers of each model."}
    )
    seeds: int = field(default=3, metadata={"help": "Trainings of each arm.", "min": 2})
    epochs: int = field(default=25, metadata={"help": "Epochs of each training.", "min": 1})
    images: int = field(default=10_000, metadata={"help": "Maximum training images, balanced by class.", "min": 1})
    image_size: int = field(default=32, metadata={"help": "Pixels of a side, for all models.", "min": 1})
    batch: int = field(default=64, metadata={"help": "Images of a timed forward pass.", "min": 1})


def arms(dataset: Dataset, settings: Settings) -> Arms:
    """A model, a series and a factor for each arm. Raises UserError if a setting does not fit."""
    return {
        member.arm: [
            from_scratch(member.model, dataset, settings, seed, config=member.config) for seed in range(settings.seeds)
        ]
        for member in _members(settings)
    }


def conclude(trained: TrainedArms, settings: Settings) -> ArmsResult:
    """Costs, throughput, frontiers, growths and findings."""
    members = {member.arm: member for member in _members(settings)}
    device = pick_device()
    trained.log(f"Timing {len(members)} models on {device_name(device)}.")
    loads: dict[str, Callable[[], Model]] = {name: partial(_load, trained.runs[name][0]) for name in members}
    measured = images_per_second(loads, device, settings.batch)
    found = {}
    for name, member in members.items():
        training = trained.trainings[name][0]
        assert isinstance(training.job, Job)
        seen = training.steps * training.job.batch
        found[name] = Scaled(member, trained.arm(name), training.job.architecture, seen, measured[name][1])
    return make_result(trained, settings, found)


def _members(settings: Settings) -> list[Member]:
    """The models of the grid, without those that are equal to another one after rounding."""
    require_distinct("--models", settings.models)
    factors: dict[Series, Sequence[float]] = {
        "width": numbers("--widths", settings.widths, above=0, most=64, example="0.5,1,2"),
        "depth": numbers("--depths", settings.depths, above=0, most=64, example="0.5,1,2"),
    }
    if all(set(of_series) == {1} for of_series in factors.values()):
        raise UserError("--widths 1 --depths 1 has a single size of each model: give more factors, such as 0.5,1,2.")
    return [member for model in settings.models for member in _of_model(model, factors)]


def _of_model(model: str, factors: Mapping[Series, Sequence[float]]) -> list[Member]:
    distinct: dict[str, Member] = {}
    base = Member(model, None, 1.0, {})
    scaled = [
        Member(model, series, factor, resized_config(model, **{series: factor}))
        for series, of_series in factors.items()
        for factor in of_series
        if factor != 1
    ]
    for member in (base, *scaled):
        distinct.setdefault(repr(architecture(model, **member.config).config), member)
    return list(distinct.values())


def _load(run: Run) -> Model:
    return build_with_weights(load_pretrained(run.path).weights)
