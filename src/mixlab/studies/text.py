"""Does a Mixer work for texts, and what does its fixed number of tokens cost?

A Mixer over hashed tokens and a Transformer encoder with the same stem are trained from scratch beside logistic
regression on bags of words. A further Mixer reads only the first tokens of a text; longer test texts are cut, read in
windows, or read with resized token MLPs. Settings and checkpoints are chosen on validation texts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import numpy as np
import torch

from mixlab.data.dataset import Dataset
from mixlab.data.text.sources import out_of_scope_texts
from mixlab.errors import UserError
from mixlab.evaluation.bag_of_words import BagOfWords, contents, fit_bag_of_words
from mixlab.evaluation.evaluate import evaluate
from mixlab.evaluation.out_of_scope import OutOfScope, best_threshold, evaluate_out_of_scope
from mixlab.evaluation.text_evaluation import LENGTHS, confidences_of, lengths_of
from mixlab.measure.machine import pick_device
from mixlab.measure.timing import interleaved
from mixlab.prediction.text_predictor import TextPredictor
from mixlab.report.axes import Axis
from mixlab.report.forest_plot import forest_plot
from mixlab.report.table import Cell, Column, Table
from mixlab.report.text import pluralize
from mixlab.runs.folder import Run
from mixlab.speed.inference import Inference
from mixlab.stats.estimate import Estimate
from mixlab.stats.intervals import mean_interval, median_interval
from mixlab.studies.arms import Arms, TrainedArms
from mixlab.studies.arms_result import ArmsResult, Quantity
from mixlab.studies.text_claims import BAG_OF_WORDS, MIXER, TRANSFORMER, claims, long_texts, short_arm, way
from mixlab.studies.text_lengths import correct_in_windows, correct_when_cut, correct_when_resized
from mixlab.training.recipes.defaults import default_recipe
from mixlab.training.recipes.parse import parse_training_recipe
from mixlab.training.recipes.schema import Recipe
from mixlab.weights.load import build_with_weights, load_pretrained

COST = "9 trainings of 10 epochs"

TASK = "text"

_MODELS = {MIXER: "variant:text_mixer", TRANSFORMER: "variant:text_transformer"}
_MIN_LONG = 30
"""Test texts. With fewer long ones, there are no quantities about them."""
_TIMED, _ROUNDS = 50, 9


@dataclass(frozen=True)
class Settings:
    """The options of the study."""

    seeds: int = field(default=3, metadata={"help": "Trainings of each network.", "min": 2})
    epochs: int = field(default=10, metadata={"help": "Epochs of each training.", "min": 1})
    tokens: int = field(default=32, metadata={"help": "Maximum length of a text.", "min": 2})
    short: int = field(default=8, metadata={"help": "Maximum length of the Mixer with short texts.", "min": 1})
    channels: int = field(default=64, metadata={"help": "Width of all networks, a multiple of 4.", "min": 4})
    depth: int = field(default=2, metadata={"help": "Blocks of all networks.", "min": 1})


def arms(dataset: Dataset, settings: Settings) -> Arms:
    """A Mixer, a Transformer, and a Mixer for short texts. Raises UserError if a setting is not valid."""
    if settings.short >= settings.tokens:
        raise UserError(f"--short {settings.short} is out of range: it must be less than --tokens {settings.tokens}.")
    of_arm = {name: (model, settings.tokens) for name, model in _MODELS.items()}
    of_arm[short_arm(settings.short)] = (_MODELS[MIXER], settings.short)
    return {
        name: [_recipe(model, tokens, dataset, settings, seed) for seed in range(settings.seeds)]
        for name, (model, tokens) in of_arm.items()
    }


def conclude(trained: TrainedArms, settings: Settings) -> ArmsResult:
    """Accuracies, costs, and what the fixed number of tokens costs."""
    dataset = trained.dataset
    baseline = fit_bag_of_words(dataset)
    correct = baseline.correct(dataset.splits["test"])
    repeated = (100 * float(correct.mean()),) * settings.seeds
    rejected = _out_of_scope(trained, baseline)
    top1 = {name: trained.arm(name).top1 for name in trained.runs}
    top1[BAG_OF_WORDS] = Estimate(repeated[0], low=None, high=None, n=1, unit="%")
    figure = forest_plot(
        "Top-1 of each arm",
        top1,
        Axis("Top-1", "%", "higher", digits=1),
        caption=f"Points are means over seeds, lines 95 % intervals over seeds; the {BAG_OF_WORDS} has no seeds.",
    )
    return trained.result(
        title="Does a Mixer work for texts, and what does its fixed number of tokens cost?",
        command="mixlab study text",
        settings=settings,
        claims=claims(settings.short),
        quantities=(
            Quantity(BAG_OF_WORDS, repeated, "%", least=0, most=100),
            *_long_text_quantities(trained, settings),
            *(
                Quantity(f"{name}, {measure} out of scope", tuple(values), "%", least=0, most=100)
                for name, of_name in rejected.items()
                for measure, values in (
                    ("AUROC", [one.auroc for one in of_name]),
                    ("recall", [one.recall.value for one in of_name]),
                    ("accuracy in scope with rejection", [one.accuracy.value for one in of_name]),
                )
            ),
        ),
        own_tables=(_costs_table(trained, baseline), _lengths_table(trained, correct), _cut_table(trained, settings)),
        own_figures=(figure,),
        protocol=_protocol(trained, baseline),
        notes=(f"{BAG_OF_WORDS} has no random numbers, so its value is the same for every seed.",),
    )


def _recipe(model: str, tokens: int, dataset: Dataset, settings: Settings, seed: int) -> Recipe:
    name, recipe = default_recipe(model, dataset.name)
    config = {"tokens": tokens, "channels": settings.channels, "depth": settings.depth}
    recipe |= {"seed": seed, "epochs": settings.epochs, "config": recipe["config"] | config}
    return parse_training_recipe(recipe, name)


def _long_text_quantities(trained: TrainedArms, settings: Settings) -> list[Quantity]:
    """Accuracies on the test texts that are longer than the short Mixer can read; without values if they are few."""
    test, short = trained.dataset.splits["test"], settings.short
    long = np.flatnonzero(lengths_of(test) > short)
    texts = test.subset(long)
    runs = trained.runs[short_arm(short)]
    ways: dict[str, Callable[[Run], np.ndarray]] = {
        "cut": lambda run: correct_when_cut(load_pretrained(run.path), texts, short),
        "windows": lambda run: correct_in_windows(load_pretrained(run.path), texts),
        "resized": lambda run: correct_when_resized(load_pretrained(run.path), texts, settings.tokens),
    }
    enough = len(long) >= _MIN_LONG
    values: dict[str, Sequence[float]] = {
        long_texts(name, short): [100 * float(one.correct[0, long].mean()) for one in trained.predictions(name)]
        if enough
        else []
        for name in (MIXER, TRANSFORMER)
    }
    for name, correct in ways.items():
        values[way(short, name)] = [100 * float(correct(run).mean()) for run in runs] if enough else []
    return [Quantity(name, tuple(of_name), "%", least=0, most=100) for name, of_name in values.items()]


def _cut_table(trained: TrainedArms, settings: Settings) -> Table:
    """The accuracy of the networks of full length if all test texts are cut."""
    test = trained.dataset.splits["test"]
    lengths = [length for length in (2, 4, 8, 16) if length < settings.tokens] + [settings.tokens]
    rows: list[dict[str, Cell]] = []
    for length in lengths:
        row: dict[str, Cell] = {"tokens": length}
        for name in _MODELS:
            scores = [
                100 * float(correct_when_cut(load_pretrained(run.path), test, length).mean())
                for run in trained.runs[name]
            ]
            row[name] = mean_interval(scores, "%", least=0, most=100)
        rows.append(row)
    columns = [Column("tokens", "first tokens"), *(Column(name, name, "%", digits=1) for name in _MODELS)]
    note = f"Networks that were trained on up to {settings.tokens} tokens; ± is the standard deviation over seeds."
    return Table("Accuracy if test texts are cut", columns, rows, [note])


def _lengths_table(trained: TrainedArms, baseline_correct: np.ndarray) -> Table:
    """The accuracy of each arm and of the baseline by the length of the test texts."""
    test = trained.dataset.splits["test"]
    groups = np.searchsorted(LENGTHS, lengths_of(test))
    rows: list[dict[str, Cell]] = []
    for group in np.unique(groups).tolist():
        chosen = groups == group
        first = 1 if group == 0 else LENGTHS[group - 1] + 1
        row: dict[str, Cell] = {
            "tokens": f"{first} to {LENGTHS[group]}" if group < len(LENGTHS) else f"{first} or more",
            "texts": int(chosen.sum()),
            BAG_OF_WORDS: 100 * float(baseline_correct[chosen].mean()),
        }
        for name in trained.runs:
            scores = [100 * float(one.correct[0, chosen].mean()) for one in trained.predictions(name)]
            row[name] = mean_interval(scores, "%", least=0, most=100)
        rows.append(row)
    columns = [
        Column("tokens", "tokens"),
        Column("texts", "texts"),
        *(Column(name, name, "%", digits=1) for name in (*trained.runs, BAG_OF_WORDS)),
    ]
    return Table("Accuracy by length of the test texts", columns, rows, ["± is the standard deviation over seeds."])


def _costs_table(trained: TrainedArms, baseline: BagOfWords) -> Table:
    """Parameters, bytes, and the time for one text, from the string to the probabilities."""
    texts = cycle(contents(trained.dataset.splits["test"])[:_TIMED])
    predictors = {name: TextPredictor(runs[0].path, device="cpu") for name, runs in trained.runs.items()}
    calls: dict[str, Callable[[], object]] = {
        name: lambda predictor=predictor: predictor(next(texts)) for name, predictor in predictors.items()
    }
    calls[BAG_OF_WORDS] = lambda: baseline.pipeline.predict_proba([next(texts)])
    seconds = interleaved(calls, rounds=_ROUNDS)
    sizes = {
        name: (of_arm[0].job.architecture.parameters, trained.runs[name][0].weights.stat().st_size)  # pyright: ignore
        for name, of_arm in trained.trainings.items()
    }
    sizes[BAG_OF_WORDS] = (baseline.parameters, baseline.bytes)
    rows: list[dict[str, Cell]] = [
        {
            "name": name,
            "parameters": sizes[name][0],
            "megabytes": sizes[name][1] / 1e6,
            "milliseconds": median_interval([1000 * each for each in of_name], "ms"),
        }
        for name, of_name in seconds.items()
    ]
    columns = [
        Column("name", "model"),
        Column("parameters", "parameters"),
        Column("megabytes", "size", "MB", digits=2),
        Column("milliseconds", "time for one text", "ms", digits=2, uncertainty="interval"),
    ]
    notes = [
        "Size: the file of the weights in fp32, or the pickled vocabulary and coefficients.",
        f"Time: batch 1, from the string to the probabilities, on the CPU with "
        f"{pluralize(torch.get_num_threads(), 'thread')} of PyTorch; median and 95 % interval of {_ROUNDS} "
        "interleaved rounds.",
    ]
    return Table("Costs", columns, rows, notes)


def _out_of_scope(trained: TrainedArms, baseline: BagOfWords) -> dict[str, list[OutOfScope]]:
    """The rejection of texts out of scope by the networks of full length and the baseline; empty without any."""
    dataset = trained.dataset
    outside = out_of_scope_texts(dataset.name)
    if not outside.keys() >= {"validation", "test"}:
        return {}
    of_networks = {name: [_rejection(run, dataset, outside) for run in trained.runs[name]] for name in _MODELS}
    validation, test = dataset.splits["validation"], dataset.splits["test"]
    confidences = {name: baseline.confidences(texts) for name, texts in outside.items()}
    threshold = best_threshold(
        baseline.confidences(contents(validation)), baseline.correct(validation), confidences["validation"]
    )
    of_baseline = evaluate_out_of_scope(
        threshold, baseline.confidences(contents(test)), baseline.correct(test), confidences["test"]
    )
    return of_networks | {BAG_OF_WORDS: [of_baseline] * len(of_networks[MIXER])}


def _rejection(run: Run, dataset: Dataset, outside: dict[str, list[str]]) -> OutOfScope:
    pretrained = load_pretrained(run.path)
    inference = Inference(build_with_weights(pretrained.weights), pick_device())
    inside = {
        name: evaluate(inference, dataset.splits[name], pretrained.preprocess, dataset.classes).evaluation
        for name in ("validation", "test")
    }
    preprocess: Any = pretrained.preprocess
    confidences = {name: confidences_of(inference, preprocess, outside[name]) for name in inside}
    validation = inside["validation"]
    threshold = best_threshold(validation.confidences, validation.correct, confidences["validation"])
    return evaluate_out_of_scope(threshold, inside["test"].confidences, inside["test"].correct, confidences["test"])


def _protocol(trained: TrainedArms, baseline: BagOfWords) -> str:
    counts = {name: len(split) for name, split in trained.dataset.splits.items()}
    return (
        f"Each network was trained from scratch on {counts['train']:,} texts, {len(next(iter(trained.runs.values())))} "
        f"times; repetition i of every arm has the same seed. The weights with the highest accuracy on "
        f"{counts['validation']:,} validation texts were evaluated in fp32 on {counts['test']:,} test texts. The "
        f"logistic regression has TF-IDF features of words and pairs of words; its C, {baseline.strength:g}, was "
        "chosen on the same validation texts."
    )
