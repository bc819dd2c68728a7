"""The estimate of a linear probe before it is fitted: images, model size and time. No file is written.

`estimate_page` formats it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mixlab.evaluation.probes.features import missing_features, seconds_per_image
from mixlab.training.linear_probe.train import LinearProbeJob

SPLITS = ("train", "validation")
"""The splits that a linear probe uses: train to fit heads, validation to select one."""


@dataclass(frozen=True)
class LinearProbeEstimate:
    """The cost of a linear probe.

    parameters        of the model with its head
    macs              multiply-accumulates of the forward pass of one image
    missing_features  for each split, the number of images without features in the cache
    image_seconds     seconds to read an image, and seconds to compute its features
    """

    job: LinearProbeJob
    parameters: int
    macs: int
    missing_features: Mapping[str, int]
    image_seconds: tuple[float, float]

    @property
    def seconds(self) -> float:
        """Estimated seconds to compute the missing features, without the time to fit the head."""
        read, compute = self.image_seconds
        return sum(self.missing_features.values()) * (read / max(1, self.job.recipe.workers) + compute)


def linear_probe_estimate(job: LinearProbeJob) -> LinearProbeEstimate:
    """Estimate the cost of `job`. To measure the time, the features of a few images are computed."""
    backbone, splits = job.backbone, job.dataset.splits
    with_head = backbone.weights.architecture.with_fields(classes=len(job.dataset.classes))
    return LinearProbeEstimate(
        job=job,
        parameters=with_head.parameters,
        macs=with_head.macs,
        missing_features={name: len(missing_features(backbone, splits[name], job.device)) for name in SPLITS},
        image_seconds=seconds_per_image(backbone, splits["train"], job.device, batch=job.recipe.batch),
    )
