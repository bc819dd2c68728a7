"""The model card of a published run: README.md with the metadata of the Hugging Face hub."""

import tomli_w
from huggingface_hub import EvalResult, ModelCardData

from mixlab.data.preprocess import Preprocess
from mixlab.evaluation.model_evaluation_tables import summary_table
from mixlab.export.publication import Publication
from mixlab.report.numbers import interval, number
from mixlab.report.table import render
from mixlab.weights.timm_preprocess import TimmPreprocess
from mixlab.zoo import user_code

_KINDS = {"mixer": "an MLP-Mixer", "convmixer": "a ConvMixer", "davit": "a DaViT", "timm": "a timm model"}
_METRICS = {"top1": "accuracy", "top5": "accuracy", "balanced_accuracy": "balanced_accuracy", "macro_f1": "f1"}
_MAX_LISTED_CLASSES = 20
_NO_BROWSER = (
    "There are no files for transformers.js: it resizes images in another way, so its probabilities would differ."
)
_OWN_PIXELS = "In a browser, use onnx/model.onnx with ONNX Runtime Web: it resizes the decoded pixels itself."


def model_card(publication: Publication) -> str:
    """The Markdown text of the model card."""
    evaluated, environment = publication.evaluated, publication.run.environment
    model, data = publication.recipe["model"], publication.recipe["data"]
    results = render(summary_table(evaluated), "markdown")
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

`mixlab.load("{publication.source}")` returns the model as a PyTorch module.{_needs_timm(publication)}

## Evaluation

{evaluated.conclusion}

{results}
The results of each class and the confusion matrix are in results.json.

## Training data

{data}{_image_counts(publication.images)}. For the licence of the images, ask the publisher of this model.

## Preprocessing

{_preprocessing_text(publication.pretrained.image_preprocess)}

## Other programs

{_other_programs(publication)}

{_onnx(publication)}## Training

Trained on {environment["device"]} with mixlab (commit {environment["commit"] or "unknown"}) and {versions}. The recipe:

```toml
{tomli_w.dumps(publication.recipe).strip()}
```

## Licence

{_licence(publication.licence)}
"""


def _metadata(publication: Publication) -> str:
    """The metadata of the hub, as YAML."""
    evaluated, model = publication.evaluated, publication.recipe["model"]
    results = [
        EvalResult(
            task_type="image-classification",
            dataset_type=evaluated.data.partition(":")[0],
            dataset_name=evaluated.data.rpartition(":")[2],
            dataset_split="test",
            metric_type=_METRICS[metric.key],
            metric_name=f"{metric.title}, % {interval(estimate, 1)}".rstrip(),
            metric_value=round(estimate.value, 2),
        )
        for metric, estimate in evaluated.summary.items()
        if metric.key in _METRICS
    ]
    family, opens_in_timm = publication.pretrained.weights.family, not isinstance(publication.timm, str)
    card = ModelCardData(
        library_name="timm" if opens_in_timm else "mixlab",
        pipeline_tag="image-classification",
        license=publication.licence,
        tags=list(
            dict.fromkeys(["mixlab", family.partition(":")[0], *(("timm", "transformers") if opens_in_timm else ())])
        ),
        metrics=sorted({_METRICS[metric.key] for metric in evaluated.summary if metric.key in _METRICS}),
        model_name=model,
        eval_results=results,
    )
    return card.to_yaml(line_break="\n")


def _description(publication: Publication) -> str:
    height, width = publication.pretrained.image_preprocess.image_size
    classes = publication.pretrained.classes
    listed = f": {', '.join(classes)}" if len(classes) <= _MAX_LISTED_CLASSES else ", listed in config.json"
    return (
        f"{publication.recipe['model']} is {_kind(publication.pretrained.weights.family)} with "
        f"{number(publication.parameters, 0)} parameters. An image of {height}x{width} pixels takes "
        f"{number(publication.macs, 0)} multiply-accumulates. The model has {len(classes)} classes{listed}."
    )


def _kind(family: str) -> str:
    return (
        f"a network with its code in {user_code.COPY}"
        if family.startswith("py:")
        else _KINDS.get(family, f"a {family}")
    )


def _needs_timm(publication: Publication) -> str:
    return (
        ' It needs timm: `pip install "mixlab[baselines]"`.' if publication.pretrained.weights.family == "timm" else ""
    )


def _image_counts(images: dict[str, int]) -> str:
    """For example ": 60 train, 20 test images"; empty if the counts are unknown."""
    counts = ", ".join(f"{number(count, 0)} {split}" for split, count in images.items())
    return f": {counts} images" if counts else ""


def _preprocessing_text(preprocess: Preprocess) -> str:
    height, width = preprocess.image_size
    if preprocess.resize == "stretch":
        resized = f"stretched to {height}x{width} pixels ({preprocess.interpolation})"
    else:
        how = "resized to cover" if preprocess.resize == "shorter_side" else "stretched to"
        resized = (
            f"{how} {height}x{width} pixels divided by {preprocess.crop_fraction:g} "
            f"({preprocess.interpolation}), and cropped to the central {height}x{width} pixels"
        )
    return (
        f"An image is {resized}. Its values in [0, 1] are normalised for red, green and blue with the means "
        f"{', '.join(f'{mean:g}' for mean in preprocess.mean)} and the standard deviations "
        f"{', '.join(f'{std:g}' for std in preprocess.std)}. mixlab applies this preprocessing."
        + _value_range_text(preprocess)
    )


def _value_range_text(preprocess: Preprocess) -> str:
    if preprocess.value_range is None:
        return ""
    black, white = preprocess.value_range
    return f" In images with more than 8 bits, {black:g} is black and {white:g} is white."


def _other_programs(publication: Publication) -> str:
    if isinstance(publication.timm, str):
        return f"timm and transformers can't use this model: {publication.timm} Use `mixlab.load`. {_NO_BROWSER}"
    source, name = publication.source, publication.source.removeprefix("hub:")
    in_timm = f"hf-hub:{name}" if source.startswith("hub:") else f"local-dir:{name}"
    return f"""The folder is also one of timm, and of transformers with timm installed:

```python
import timm
from transformers import pipeline
model = timm.create_model("{in_timm}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
classify = pipeline("image-classification", model="{name}")
```

{_same_outputs(publication.pretrained.image_preprocess)} {_NO_BROWSER}"""


def _onnx(publication: Publication) -> str:
    """The section about the model in ONNX; empty without it."""
    if publication.onnx is None:
        return ""
    parity, evaluated = publication.onnx.card["parity"], publication.onnx.evaluated
    return f"""## ONNX

`onnx/model.onnx` is the model as one graph, from the pixels of a decoded image of any size, uint8 (batch, row,
column, channel), to probabilities. It resizes, crops and normalises images itself. `onnx/predict.py` shows how files
are decoded, and needs numpy, onnxruntime and Pillow: `python onnx/predict.py image.jpg`. {_OWN_PIXELS}

For {number(parity["files"], 0)} image files of unusual kinds, it has the labels of mixlab, and probabilities that
differ by at most {parity["difference"]:.1g}.

{render(summary_table(evaluated), "markdown")}
"""


def _same_outputs(preprocess: Preprocess) -> str:
    """When other programs have the labels and probabilities of mixlab."""
    files = (
        "They drop transparency, which mixlab blends with white, and do not scale images with more than 8 bits. timm "
        "leaves the reading of files to you: apply the EXIF orientation, and convert to RGB."
    )
    if TimmPreprocess(preprocess).same_pixels:
        return f"Both give the labels and probabilities of mixlab. {files}"
    return (
        "Both give the labels and probabilities of mixlab for most square images. Other images are resized to a width "
        f"or height that can differ by a pixel before the crop, which changes the probabilities slightly. {files}"
    )


def _licence(licence: str | None) -> str:
    if licence is None:
        return "No licence was given: ask the publisher of this model before you use it."
    return f"{licence}."
