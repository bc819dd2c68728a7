"""Exported models among the forms that are timed."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from mixlab.benchmark.result import Task
from mixlab.errors import UserError
from mixlab.models.contract import height_and_width
from mixlab.weights.exported import is_exported, read_exported
from mixlab.zoo.architecture import Architecture


@dataclass(frozen=True)
class ExportedForm:
    """An exported model as mixlab runs it, on the CPU. Plain data, so that it can be sent to another process.

    source      its folder
    batch       images per call
    precision   of the network
    image_size  (rows, columns) of the images that it receives
    parameters  their number
    macs        multiply-accumulates for one image
    """

    source: str
    batch: int
    precision: str
    image_size: tuple[int, int]
    parameters: int
    macs: int

    device, layout, details = "cpu", "channels_last", "normalises images and computes probabilities, too"

    @property
    def peer(self) -> str:
        return f"exported {self.source}"

    def is_of(self, architecture: Architecture) -> bool:
        """Whether it computes as much as a model of this architecture, for images of the same size."""
        costs = architecture.parameters, architecture.macs
        return (self.parameters, self.macs, self.image_size) == (*costs, height_and_width(architecture.image_size))


def exported_form(source: str, batch: int) -> ExportedForm:
    """The form of an exported model. Raises UserError if it can't be read."""
    exported = read_exported(source)
    size = exported.preprocess.image_size
    return ExportedForm(source, batch, exported.precision, size, exported.parameters, exported.macs)


def prepare_exported(form: ExportedForm) -> Callable[[], object]:
    """A function that runs one batch of random images, which have the size of the model already."""
    network = read_exported(form.source).network
    images = torch.randint(0, 256, (form.batch, 3, *form.image_size)).float()
    return lambda: network(images)


def split_exported(models: list[str], task: Task) -> tuple[list[str], list[str]]:
    """The models that are not exported, and those that are. Raises UserError for an exported one that should train."""
    exported = [model for model in models if is_exported(model)]
    if exported and task == "training":
        raise UserError(f"{exported[0]} is an exported model, which can't be trained: leave it out, or give its run.")
    return [model for model in models if model not in exported], exported
