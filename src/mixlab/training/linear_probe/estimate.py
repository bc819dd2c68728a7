"""What a head in closed form would be, before it is fitted: its images, its backbone and its time. Nothing is kept.

`head_forecast_page` puts it in words.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mixlab.evaluation.probes.features import missing_features, seconds_per_image
from mixlab.training.linear_probe.train import LinearProbeJob

SPLITS = ("train", "validation")
"""Those that a head is fitted to, and chosen on."""


@dataclass(frozen=True)
class LinearProbeEstimate:
    """`missing_features`: images of each split whose features are not in the cache; `image_seconds`: seconds to read
    an image, and to compute its features.
    """

    job: LinearProbeJob
    parameters: int
    macs: int  # of one image's forward pass
    missing_features: Mapping[str, int]
    image_seconds: tuple[float, float]

    @property
    def seconds(self) -> float:
        """Estimated, of all features; what the head itself takes is not in it."""
        read, show = self.image_seconds
        return sum(self.missing_features.values()) * (read / max(1, self.job.recipe.workers) + show)


def linear_probe_estimate(job: LinearProbeJob) -> LinearProbeEstimate:
    """Some images are read and shown to the backbone, for the time it takes."""
    backbone, splits = job.backbone, job.dataset.splits
    with_head = backbone.weights.architecture.with_fields(classes=len(job.dataset.classes))
    return LinearProbeEstimate(
        job=job,
        parameters=with_head.parameters,
        macs=with_head.macs,
        missing_features={name: len(missing_features(backbone, splits[name], job.device)) for name in SPLITS},
        image_seconds=seconds_per_image(backbone, splits["train"], job.device, batch=job.recipe.batch),
    )
