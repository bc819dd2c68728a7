"""What the model of each arm costs: parameters, multiply-accumulates, and the memory of weights and activations."""

from collections.abc import Mapping, Sequence

import torch

from mixlab.measure.live_memory import peak_bytes_of
from mixlab.models.contract import height_and_width
from mixlab.report.table import Cell, Column, Table
from mixlab.training.training import Training
from mixlab.zoo.architecture import Architecture

_CPU = torch.device("cpu")
_WEIGHT_BYTES = 4  # of a parameter in fp32


def costs_table(trainings: Mapping[str, Sequence[Training]]) -> Table:
    """A row for each arm, given its trainings."""
    rows = [_row(name, of_arm[0].job.architecture) for name, of_arm in trainings.items()]
    columns = [
        Column("name", "arm"),
        Column("parameters", "parameters"),
        Column("macs", "MACs", "M", digits=2),
        Column("weights", "weights", "MB", digits=2),
        Column("activations", "activations", "MB", digits=2),
    ]
    notes = [
        "MACs: multiply-accumulates of the forward pass of one image.",
        "Weights in fp32. Activations: the measured peak of the memory that a forward pass of one image takes on a CPU "
        "in fp32, without weights.",
    ]
    return Table("Costs", columns, rows, notes)


def _row(name: str, architecture: Architecture) -> dict[str, Cell]:
    return {
        "name": name,
        "parameters": architecture.parameters,
        "macs": architecture.macs / 1e6,
        "weights": _WEIGHT_BYTES * architecture.parameters / 1e6,
        "activations": _activation_bytes(architecture) / 1e6,
    }


def _activation_bytes(architecture: Architecture) -> int:
    with torch.random.fork_rng(devices=[]):
        model = architecture.build().eval()
    image = torch.zeros(1, architecture.config["image_channels"], *height_and_width(architecture.image_size))
    with torch.no_grad():
        return peak_bytes_of(lambda: model(image), _CPU)
