"""The card of a published run: README.md, with what the hub reads at its head."""

import tomli_w
from huggingface_hub import EvalResult, ModelCardData

from mixlab.data.preprocess import Preprocess
from mixlab.evaluation.run_evaluation_tables import TITLES, summary_table
from mixlab.export.publication import Publication
from mixlab.report.numbers import interval, number
from mixlab.report.table import render

_KINDS = {"mixer": "an MLP-Mixer", "convmixer": "a ConvMixer", "davit": "a DaViT", "timm": "a model of timm's"}
_METRICS = {"top1": "accuracy", "top5": "accuracy", "balanced_accuracy": "balanced_accuracy", "macro_f1": "f1"}
_CLASSES_LISTED = 20


def model_card(publication: Publication) -> str:
    run_evaluation, environment = publication.run_evaluation, publication.run.environment
    model, data = publication.run.config["model"], publication.recipe["data"]
    results = render(summary_table(run_evaluation), "markdown")
    versions = ", ".join(f"{package} {version}" for package, version in environment["versions"].items())
    return f"""---
{_metadata(publication)}
---

# {model}, trained on {data}

{_description(publication)}

```python
from mixlab import Predictor
print(Predictor("{publication.source}")("image.jpg").label)
```

`mixlab.load("{publication.source}")` is the model alone, as a PyTorch module.{_needs_timm(publication)}

## How good it is

{run_evaluation.answer}

{results}
Every class and every confusion is in results.json.

## What it was trained on

{data}{_counted(publication.images)}. Whoever published this model can say under which licence these images are.

## What it sees

{_preprocessing_text(publication.opened.preprocess)}

## How it was trained

On {environment["device"]}, by mixlab's commit {environment["commit"] or "unknown"}, with {versions}. The recipe:

```toml
{tomli_w.dumps(publication.recipe).strip()}
```

## Licence

{_licence(publication.licence)}
"""


def _metadata(publication: Publication) -> str:
    """YAML, in the hub's words."""
    run_evaluation, model = publication.run_evaluation, publication.run.config["model"]
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=run_evaluation.dataset.name.partition(":")[0],
            dataset_name=run_evaluation.dataset.name.rpartition(":")[2],
            dataset_split="test",
            metric_type=_METRICS[measure],
            metric_name=f"{TITLES[measure]}, % {interval(estimate, 1)}".rstrip(),
            metric_value=round(estimate.value, 2),
        )
        for measure, estimate in run_evaluation.summary.items()
    ]
    card = ModelCardData(
        library_name="mixlab",
        pipeline_tag="image-classification",
        license=publication.licence,
        tags=["mixlab", publication.opened.weights.family],
        metrics=sorted({_METRICS[measure] for measure in run_evaluation.summary}),
        model_name=model,
        eval_results=results,
    )
    return card.to_yaml(line_break="\n")


def _description(publication: Publication) -> str:
    height, width = publication.opened.preprocess.image_size
    classes = publication.opened.classes
    listed = f": {', '.join(classes)}" if len(classes) <= _CLASSES_LISTED else ", which config.json names"
    return (
        f"{publication.run.config['model']} is {_KINDS[publication.opened.weights.family]} of "
        f"{number(publication.parameters, 0)} parameters. One image of {height}x{width} pixels takes "
        f"{number(publication.macs, 0)} multiply-accumulates. It tells {len(classes)} classes apart{listed}."
    )


def _needs_timm(publication: Publication) -> str:
    return ' timm builds it: `pip install "mixlab[baselines]"`.' if publication.opened.weights.family == "timm" else ""


def _counted(images: dict[str, int]) -> str:
    """ ": 60 train, 20 test images", or nothing where they could not be counted."""
    counts = ", ".join(f"{number(count, 0)} {split}" for split, count in images.items())
    return f": {counts} images" if counts else ""


def _preprocessing_text(preprocess: Preprocess) -> str:
    height, width = preprocess.image_size
    if preprocess.resize == "stretch":
        resized = f"stretched to {height}x{width} pixels, {preprocess.interpolation}"
    else:
        resized = (
            f"scaled until it covers {height}x{width} pixels divided by {preprocess.crop_fraction:g}, "
            f"{preprocess.interpolation}, of which the central {height}x{width} are cut out"
        )
    return (
        f"An image is {resized}; from 0 to 1, its red, green and blue lose "
        f"{', '.join(f'{mean:g}' for mean in preprocess.mean)} and are divided by "
        f"{', '.join(f'{std:g}' for std in preprocess.std)}. mixlab does this by itself."
    )


def _licence(licence: str | None) -> str:
    if licence is None:
        return "None was given: ask whoever published this model before you use it."
    return f"{licence}."
