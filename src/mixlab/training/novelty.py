"""The novelty detector of a finished training: it flags images that are unlike the training images."""

from collections.abc import Mapping
from functools import reduce

from accelerate import Accelerator
from torch import Tensor

from mixlab.evaluation.novelty import NoveltyDetector
from mixlab.evaluation.novelty_features import NoveltyFeatures, embed_novelty_images, select_novelty_images
from mixlab.evaluation.training_images import TrainingImages
from mixlab.training.distributed import all_gather, broadcast_from_main
from mixlab.training.job import Job
from mixlab.weights.adapt import Weights
from mixlab.weights.load import build_with_weights
from mixlab.zoo.architecture import classifies_embeddings


def novelty_detector(
    job: Job,
    weights: Mapping[str, Tensor],
    learned: TrainingImages,
    accelerator: Accelerator,
    *,
    batch: int,
    quiet: bool,
) -> NoveltyDetector | None:
    """The detector of a model with the final `weights`. Collective: call it on every rank.

    learned  the images that the weights have learned from; only that of the main process is used
    batch    images per forward pass
    quiet    no progress bars

    None for texts and masks, without enough validation images, and for models that do not classify their embedding.
    """
    if not job.task.embeds_images:
        return None
    images = broadcast_from_main(lambda: select_novelty_images(job.dataset, learned, quiet=quiet))
    if images is None:
        return None
    model = build_with_weights(Weights(job.architecture.family, job.architecture.config, dict(weights)))
    model = model.to(accelerator.device)
    if not classifies_embeddings(model):
        return None
    share = images.share(accelerator.process_index, accelerator.num_processes)
    features = embed_novelty_images(
        model,
        job.image_preprocess,
        job.dataset,
        share,
        batch=batch,
        workers=job.recipe.workers,
        speed=job.recipe.speed,
        quiet=quiet,
    )
    return reduce(NoveltyFeatures.__or__, all_gather(features)).detector()
