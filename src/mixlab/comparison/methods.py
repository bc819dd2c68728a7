"""What a paper needs of a comparison: the methods paragraph, and BibTeX entries of what was used."""

from collections.abc import Iterable
from dataclasses import dataclass

from mixlab.comparison.comparison import Comparison
from mixlab.comparison.comparison_tables import settings_note
from mixlab.comparison.pretrained_comparison import PretrainedComparison
from mixlab.comparison.ranking import Ranking
from mixlab.comparison.tuning import FOLDS
from mixlab.data.holdout import VALIDATION_SHARE
from mixlab.report.machine import software_sentence
from mixlab.report.numbers import format_points
from mixlab.report.page import Block, Code, Details
from mixlab.report.references import bibtex, data_references
from mixlab.report.text import pluralize
from mixlab.stats.estimate import RESAMPLES
from mixlab.zoo.architecture import Architecture
from mixlab.zoo.references import model_references


@dataclass(frozen=True, slots=True)
class PaperText:
    """The methods paragraph and the BibTeX entries of a comparison."""

    methods: str
    bibtex: str

    def blocks(self) -> list[Block]:
        """On the page of the comparison."""
        return [self.methods, Details("BibTeX", [Code(self.bibtex)])]


def of_trained(comparison: Comparison) -> PaperText:
    """Trainings, evaluation, intervals, tests, margin, device and versions."""
    dataset, settings = comparison.dataset, comparison.settings
    train, test = len(dataset.splits["train"]), comparison.test_samples
    scaled = f", with {comparison.scaling}" if comparison.scaling else ""
    tuning = f"Each trial was trained {FOLDS} times, without one fold of these {dataset.noun}s, and evaluated on it."
    sentences = [
        f"{pluralize(len(comparison.names), 'model')} were trained from scratch on {train:,} training {dataset.noun}s "
        f"of {dataset.name}{scaled}, with {comparison.seeds} each, for {comparison.length}.",
        settings_note(comparison),
        *([tuning] if comparison.tunings else []),
        f"The weights of the last step were evaluated in fp32 on the {test}, without selection.",
        *_tests(comparison.ranking, f"seeds and {test}" if settings.seeds > 1 else test),
        software_sentence(comparison.environment),
    ]
    models = [result.candidate.job.architecture for result in comparison.model_results]
    tuned = ["expectedbest"] if comparison.tunings else []
    return PaperText(" ".join(sentences), _bibtex(models, dataset.name, tuned, comparison.ranking))


def of_pretrained(comparison: PretrainedComparison) -> PaperText:
    """Heads, evaluation, intervals, tests, margin, device and versions."""
    dataset, folds = comparison.dataset, comparison.cv_folds.count
    fitted_on = "the other folds" if folds > 1 else f"the other {dataset.noun}s"
    sentences = [
        f"{len(comparison.names)} published weights were compared on {comparison.test_samples} of {dataset.name}, "
        f"{comparison.evaluation_scheme}. A ridge regression on their frozen features was fitted on {fitted_on}; its "
        f"ridge and temperature were selected on {100 * VALIDATION_SHARE:g} % of these.",
        comparison.uncertainty_note,
        *_tests(comparison.ranking, f"{dataset.noun}s"),
        software_sentence(comparison.environment),
    ]
    models = [result.backbone.weights.architecture for result in comparison.model_results]
    corrected = ["generalization"] if folds > 1 else []
    return PaperText(" ".join(sentences), _bibtex(models, dataset.name, corrected, comparison.ranking))


def _tests(ranking: Ranking, samples: str) -> list[str]:
    """Sentences about intervals, tests, adjustment and the recommendation; `samples` is what is resampled."""
    pairs = len(ranking.pairs)
    adjusted = f"P-values were adjusted by Holm's method for all {pairs} pairs; the level is 0.05."
    return [
        f"Intervals are 95 % bootstrap intervals over {samples}, with {RESAMPLES:,} resamples.",
        *([adjusted] if pairs > 1 else []),
        "The recommended model is the fastest one whose upper bound on its distance to the best model is at most "
        f"{format_points(ranking.margin)}, a margin that was fixed in advance. The bounds are those of Hsu's multiple "
        "comparison with the best, and hold for all models at once with 95 % confidence.",
    ]


def _bibtex(models: Iterable[Architecture], data: str, others: list[str], ranking: Ranking) -> str:
    of_models = [key for model in models for key in model_references(model)]
    tests = ["crossedbootstrap", "hsu", *(["holm"] if len(ranking.pairs) > 1 else [])]
    return bibtex([*of_models, *data_references(data), *others, *tests])
