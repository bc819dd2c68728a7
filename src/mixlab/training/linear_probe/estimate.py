"""What a head in closed form would be, before it is fitted: its images, its backbone and its time. Nothing is kept.

`head_forecast_page` puts it in words.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from mixlab.evaluation.probes.features import seconds_a_image, unseen
from mixlab.measure.macs import count_macs, count_parameters
from mixlab.training.linear_probe.train import HeadJob
from mixlab.zoo.build import build

PARTS = ("train", "validation")
"""Those that a head is fitted to, and chosen on."""


@dataclass(frozen=True)
class HeadForecast:
    """`unseen`: of each part, the images whose features are not in the cache; `image_seconds`: to read one, and to
    show it to the backbone.
    """

    job: HeadJob
    parameters: int
    macs: int  # of one image's forward pass
    unseen: Mapping[str, int]
    image_seconds: tuple[float, float]

    @property
    def seconds(self) -> float:
        """Estimated, of all features; what the head itself takes is not in it."""
        read, show = self.image_seconds
        return sum(self.unseen.values()) * (read / max(1, self.job.recipe.workers) + show)


def head_forecast(job: HeadJob) -> HeadForecast:
    """Some images are read and shown to the backbone, for the time it takes."""
    backbone, parts = job.backbone, job.dataset.parts
    with torch.device("meta"):
        network = build(backbone.weights.family, {**backbone.weights.config, "classes": len(job.dataset.classes)})
    return HeadForecast(
        job=job,
        parameters=count_parameters(network),
        macs=count_macs(network, (3, *backbone.preprocess.image_size)),
        unseen={name: len(unseen(backbone, parts[name], job.device)) for name in PARTS},
        image_seconds=seconds_a_image(backbone, parts["train"], job.device, batch=job.recipe.batch),
    )
