"""Model soups: average the weights of several trainings into a new run.

Wortsman et al. 2022, https://arxiv.org/abs/2203.05482. Inference costs as much as for one model. The trainings must
have the same architecture, classes, preprocessing and split of the data. The average is usually accurate only if they
also started from the same weights, for example when one model was fine-tuned several times.
"""

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from mixlab.data.batches import TrainingBatches
from mixlab.data.dataset import Dataset, Split
from mixlab.data.preprocess import Preprocess
from mixlab.data.sources import open_dataset, open_with_assignment
from mixlab.errors import UserError
from mixlab.evaluation.evaluate import evaluate
from mixlab.evaluation.novelty import NoveltyDetector
from mixlab.evaluation.novelty_features import embed_novelty_images, select_novelty_images
from mixlab.evaluation.training_images import TrainingImages, digests_of, training_images_of, union
from mixlab.files import atomic_folder, write_text
from mixlab.measure import machine
from mixlab.report.progress import progress
from mixlab.runs.folder import Run, require_free_folder, start_run
from mixlab.runs.history import read_history
from mixlab.runs.journal import Journal
from mixlab.speed.inference import Inference
from mixlab.speed.plan import ComputeMode, prepare_model
from mixlab.tasks.tasks import noun_of
from mixlab.training.job import apply_subset
from mixlab.training.linear_probe.recipe import LinearProbeRecipe
from mixlab.training.recipes.parse import parse_recipe
from mixlab.training.recipes.schema import Recipe
from mixlab.training.run_page import run_page
from mixlab.weights.classifier import require_classification
from mixlab.weights.load import load
from mixlab.weights.source import task_of
from mixlab.weights.storage.write import write_tensors
from mixlab.zoo.architecture import Model, classifies_embeddings


def average(runs: Sequence[Run], out: Path, *, quiet: bool) -> Run:
    """Average the weights of finished `runs` and write them as a finished run to `out`.

    runs   two or more; recipe, plan and split of the new run are those of the first
    out    a new or empty folder
    quiet  no progress bars

    The statistics of batch normalisation are estimated again in one epoch of the training images, augmented but not
    mixed, because those of the single trainings do not fit the averaged weights. Raises UserError if the runs differ in
    architecture, classes, preprocessing or data.
    """
    if len(runs) < 2:
        raise UserError("Averaging needs two or more runs: `mixlab runs --average A B --out DIR`.")
    require_free_folder(out)
    first, *others = runs
    for run in runs:
        require_classification(task_of(run.path), run.path, "be averaged")
    for other in others:
        _require_same_model_and_data(first, other)
    recipe = parse_recipe(first.recipe, str(first.path / "recipe.toml"))
    dataset = _open_dataset(first, recipe)
    device = machine.pick_device()
    model = load(first.path)
    model.load_state_dict(average_state_dicts(load(run.path).state_dict() for run in runs))
    prepare_model(model, device, ComputeMode())
    images = union(training_images_of(run.path) for run in runs)
    unreadable = _estimate_statistics(model, first, recipe, dataset.splits["train"], quiet=quiet)
    validation = _evaluated(model, first, recipe, dataset, images, quiet=quiet)
    detector = _novelty_detector(model, first, recipe, dataset, images, quiet=quiet)
    with atomic_folder(out) as temporary:
        run = start_run(
            temporary, first.recipe, first.plan, machine.describe(device), first.data, first.split_assignment
        )
        with Journal(run.journal) as journal:
            journal.write("averaged", runs=[str(averaged.path) for averaged in runs], validation=validation)
            journal.write("end", **_total_cost(runs), unreadable=unreadable)
        write_tensors(run.weights, {name: tensor.cpu() for name, tensor in model.state_dict().items()})
        images.write(run.training_images)
        if detector is not None:
            detector.write(run.novelty)
        shutil.copy(first.path / "config.json", run.path)
        write_text(run.path / "report.html", run_page(run, out).html())
        run.set_state("done")
    return Run(out)


def average_state_dicts(states: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each floating-point tensor, summed in float64 and rounded once; other tensors are the first's."""
    count = 0
    first: dict[str, Tensor] = {}
    sums: dict[str, Tensor] = {}
    for state in states:
        count += 1
        first = first or dict(state)
        for name, tensor in state.items():
            if tensor.is_floating_point():
                sums[name] = sums[name] + tensor.double() if name in sums else tensor.double()
    return first | {name: (total / count).to(first[name].dtype) for name, total in sums.items()}


def _require_same_model_and_data(first: Run, other: Run) -> None:
    first_settings, other_settings = _model_settings(first), _model_settings(other)
    keys = [
        key
        for key in dict.fromkeys([*first_settings, *other_settings])
        if first_settings.get(key) != other_settings.get(key)
    ]
    if keys:
        listed = "; ".join(
            f"{key} is {_format(first_settings.get(key))} and {_format(other_settings.get(key))}" for key in keys
        )
        raise UserError(
            f"The weights of {first.path} and {other.path} can't be averaged, because their models differ: {listed}. "
            "Average trainings of the same architecture on the same classes."
        )
    if first.data != other.data:
        noun = noun_of(first.recipe)
        raise UserError(
            f"{first.path} and {other.path} were trained on different {noun}s or splits, so {noun}s that one held out "
            f"may be training {noun}s of the other: average trainings on the same split."
        )


def _model_settings(run: Run) -> dict[str, Any]:
    """The settings that must be equal, by key."""
    config = run.config
    sections = {f"{name}.{key}": value for name in ("config", "preprocess") for key, value in config[name].items()}
    return {"family": config["family"]} | sections | {"classes": config["classes"]}


def _format(value: object) -> str:
    return "not given" if value is None else shorten(str(value), 60)


def _open_dataset(run: Run, recipe: Recipe | LinearProbeRecipe) -> Dataset:
    """The data as the run has divided them and learned from them."""
    classes = tuple(run.config["classes"])
    if run.split_assignment is not None:
        dataset = open_with_assignment(recipe.data, run.split_assignment, classes)
    else:
        dataset = open_dataset(recipe.data)
    if isinstance(recipe, Recipe) and recipe.validation == "merged":
        dataset = dataset.merge_validation()
    return apply_subset(dataset, recipe.subset).relabelled(classes)


def _estimate_statistics(
    model: nn.Module, run: Run, recipe: Recipe | LinearProbeRecipe, split: Split, *, quiet: bool
) -> dict[str, str]:
    """Estimate the statistics of batch normalisation, with micro-batches as large as in training.

    Returns the unreadable images that were skipped, with the reasons.
    """
    if isinstance(recipe, LinearProbeRecipe) or not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return {}  # linear probes of the same backbone have the same statistics
    preprocess = Preprocess.from_dict(run.config["preprocess"])
    batches = TrainingBatches(
        split,
        preprocess,
        recipe.augmentation,
        batch=run.plan["micro_batch"],
        seed=recipe.seed,
        workers=recipe.workers,
        max_unreadable=recipe.max_unreadable,
        quiet=quiet,
    )
    with (
        torch.random.fork_rng(devices=[]),
        progress("estimate statistics", total=len(batches), quiet=quiet) as advance,
    ):
        torch.manual_seed(recipe.seed)  # for stochastic depth, which is active as in training

        def images() -> Iterator[Tensor]:
            for batch in batches.epoch(0):
                inputs = batch.on(next(model.parameters()).device)[0]
                yield inputs if preprocess.transform is None else preprocess.transform(inputs)
                advance()

        update_bn(images(), model)
    return batches.unreadable


def _evaluated(
    model: nn.Module,
    run: Run,
    recipe: Recipe | LinearProbeRecipe,
    dataset: Dataset,
    images: TrainingImages,
    *,
    quiet: bool,
) -> dict[str, float] | None:
    """The accuracy on the validation images that are not training images of one of the runs; None without any."""
    split = dataset.splits.get("validation", dataset.splits["train"].subset([]))
    unseen = split.subset(np.flatnonzero(~images.contains_trained(digests_of(split, quiet=quiet))))
    if not len(unseen):
        return None
    evaluation = evaluate(
        Inference(model, next(model.parameters()).device),
        unseen,
        Preprocess.from_dict(run.config["preprocess"]),
        dataset.classes,
        batch=run.plan["micro_batch"],
        workers=recipe.workers,
        max_unreadable=recipe.max_unreadable,
        quiet=quiet,
    ).evaluation
    return {"top1": evaluation.top1.value, "images": len(evaluation)}


def _novelty_detector(
    model: Model, run: Run, recipe: Recipe | LinearProbeRecipe, dataset: Dataset, images: TrainingImages, *, quiet: bool
) -> NoveltyDetector | None:
    selected = select_novelty_images(dataset, images, quiet=quiet)
    if selected is None or not classifies_embeddings(model):
        return None
    preprocess, batch = Preprocess.from_dict(run.config["preprocess"]), run.plan["micro_batch"]
    speed = recipe.speed if isinstance(recipe, Recipe) else "auto"
    features = embed_novelty_images(
        model, preprocess, dataset, selected, batch=batch, workers=recipe.workers, speed=speed, quiet=quiet
    )
    return features.detector()


def _total_cost(runs: Sequence[Run]) -> dict[str, float]:
    """Time and images of all trainings together, and the largest peak memory."""
    ends = [end for run in runs if (end := read_history(run.journal).end)]
    return {
        "training_seconds": sum(end["training_seconds"] for end in ends),
        "images": sum(end["images"] for end in ends),
        "peak_bytes": max(end["peak_bytes"] for end in ends),
    }
