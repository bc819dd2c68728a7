"""`mixlab evaluate`: how good a model is, how sure, where it fails, and whether it is better than another one."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mixlab.cli.options import DATA, Device, Speed, TrustCode, Windows, require_alone, split_names
from mixlab.cli.output import logger, require_empty_folder, require_new_file, show
from mixlab.errors import UserError
from mixlab.report.progress import Log
from mixlab.report.table import Format, Table

if TYPE_CHECKING:
    from mixlab.evaluation.model_evaluation import ModelEvaluation
    from mixlab.evaluation.views import Views
    from mixlab.report.page import Page
    from mixlab.speed.inference_plan import Speed as InferenceSpeed

_OPTIONS = {
    "segmentation": ("a segmentation", {"--windows"}),
    "text": ("a model that reads texts", set[str]()),
    "multilabel": ("a multilabel model", {"--crop"}),
    "probe": ("--probe", {"--probe"}),
    "logits": ("saved logits", {"--against", "--margin", "--accuracy", "--save"}),
    "correctness": ("a file of --save", {"--against", "--margin"}),
}
"""What is evaluated in another way than a classifier, and which of the options have an effect on it."""


@dataclass(frozen=True)
class _Output:
    """Where a result goes: to standard output in `format`, and as a page and results.json to the folder `out`."""

    format: Format
    out: Path | None
    log: Log

    def write(
        self,
        results: Mapping[str, Any],
        tables: Sequence[Table],
        page: "Callable[[], Page]",
        *,
        notes: Sequence[str],
        csv: Sequence[Table] | None = None,
    ) -> None:
        from mixlab.files import atomic_folder
        from mixlab.report.result_folder import write_result_files

        for note in notes:
            self.log(note)
        match self.format:
            case "json":
                print(json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False))
            case "csv":
                show(tables if csv is None else csv, self.format)
            case _:
                show(tables, self.format)
        if self.out is not None:
            with atomic_folder(self.out) as temporary:
                write_result_files(temporary, page(), results)
            self.log(f"Report: {self.out / 'report.html'}")


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="A run, a published name, timm:NAME.TAG, hub:owner/name, a weights file, or saved logits (.parquet). "
            "Several runs of one method are separated by commas.",
            show_default=False,
        ),
    ],
    data: Annotated[
        list[str] | None, typer.Option(help=f"{DATA}. Can be repeated. Default: the test split of the run.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(help="Compare with this model on the same images: like MODEL, or a file of --save. Repeatable."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="Points: a smaller difference from --against is irrelevant in practice. Default: 1."),
    ] = None,
    accuracy: Annotated[
        float | None,
        typer.Option(help="Wanted accuracy in per cent of the answers above a confidence. Default: 99."),
    ] = None,
    probe: Annotated[
        str | None,
        typer.Option(help="Evaluate the frozen features instead: fewshot:K, knn:K, ridge or logistic."),
    ] = None,
    crop: Annotated[
        str | None, typer.Option(help="Evaluation crop of the papers: resize-crop, resmall-crop or resize.")
    ] = None,
    tta: Annotated[str | None, typer.Option(help="Test-time augmentation: flip or flip-shift.")] = None,
    tta_below: Annotated[
        float | None, typer.Option(help="Augment only images with a lower confidence, from 0 to 1.")
    ] = None,
    real: Annotated[
        Path | None, typer.Option(help="real.json: also evaluate with the ReaL labels of ImageNet's validation images.")
    ] = None,
    corruptions: Annotated[
        str | None, typer.Option(help="Also evaluate on corrupted images: all, or kinds separated by commas.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="New file that says which images are correct, for others' --against (.correct).")
    ] = None,
    save_logits: Annotated[
        Path | None, typer.Option(help="New parquet file for the logits, from which all numbers can be recomputed.")
    ] = None,
    windows: Windows = None,
    format: Annotated[Format, typer.Option(help="csv and json contain all numbers in full precision.")] = "table",
    out: Annotated[Path | None, typer.Option(help="New folder for report.html, results.json and figures.")] = None,
    device: Device = None,
    speed: Speed = "auto",
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not show progress.")] = False,
) -> None:
    """Evaluate a model on images that it was not trained on: accuracy, confidences, every class, errors."""
    from mixlab.evaluation.correctness import is_correctness_file, write_correctness
    from mixlab.evaluation.corruption_evaluation import evaluate_corruptions
    from mixlab.evaluation.corruptions.corrupt import KINDS, SEVERITIES, check_corruption
    from mixlab.evaluation.logits_evaluation import evaluate_logits_file, is_logits_file
    from mixlab.evaluation.logits_file import SUFFIX
    from mixlab.evaluation.methods import DEFAULT_MARGIN, evaluate_methods, sources_of
    from mixlab.evaluation.methods_report import full_tables, methods_page, tables
    from mixlab.evaluation.model_evaluation import evaluate_model
    from mixlab.evaluation.selective import DEFAULT_ACCURACY
    from mixlab.evaluation.views import Views
    from mixlab.speed.allocator import retain_freed_memory
    from mixlab.speed.inference_plan import parse_speed
    from mixlab.weights.source import task_of

    retain_freed_memory()

    if out is not None:
        require_empty_folder(out)
    task = task_of(model)
    if task != "classification":
        kind = task
    elif probe is not None:
        kind = "probe"
    elif is_logits_file(model):
        kind = "logits"
    else:
        kind = "correctness" if is_correctness_file(Path(model)) else task
    options: dict[str, object] = {
        "--against": against,
        "--margin": margin is not None,
        "--accuracy": accuracy is not None,
        "--probe": probe,
        "--crop": crop,
        "--tta": tta,
        "--tta-below": tta_below is not None,
        "--real": real,
        "--corruptions": corruptions,
        "--save": save,
        "--save-logits": save_logits,
        "--windows": windows is not None,
    }
    if kind in _OPTIONS:
        name, effective = _OPTIONS[kind]
        require_alone(name, {option: given for option, given in options.items() if option not in effective})
    else:
        require_alone("a model without masks", {"--windows": windows is not None})
    if kind == "correctness" and not against:
        raise UserError(f"{model} only says which answers are correct: give what it is compared with as --against.")
    if margin is not None and not against:
        raise UserError("--margin has no effect without --against: add it, or leave --margin out.")
    for option in ("--save", "--save-logits", "--corruptions"):
        if options[option] is not None and (len(data or []) > 1 or len(sources_of(model)) > 1):
            raise UserError(f"{option} is for one run on one data set: give a single MODEL and --data.")
    if save_logits is not None:
        require_new_file(save_logits, "--save-logits", SUFFIX)
    if save is not None:
        require_new_file(save, "--save", ".correct")
    kinds = KINDS if corruptions == "all" else split_names(corruptions or "")
    for name in kinds:
        check_corruption(name, SEVERITIES[0])
    output = _Output(format, out, logger(quiet=quiet))
    margin = DEFAULT_MARGIN if margin is None else margin
    wanted = DEFAULT_ACCURACY if accuracy is None else accuracy
    views, parsed_speed = Views(crop, tta, tta_below), parse_speed(speed)
    if kind == "segmentation":
        _evaluate_segmentation(model, data or [], windows, device, output, quiet=quiet)
        return
    if kind == "text":
        _evaluate_texts(model, data or [], device, output, quiet=quiet)
        return
    if kind == "multilabel":
        _evaluate_multilabel(model, data or [], views, device, parsed_speed, output, quiet=quiet)
        return
    if probe is not None:
        _evaluate_probe(model, data or [], probe, device, parsed_speed, output, quiet=quiet)
        return
    log = output.log

    def evaluate_one(source: str, name: str | None) -> "ModelEvaluation":
        if is_logits_file(source):
            return evaluate_logits_file(source, name, wanted=wanted)
        return evaluate_model(
            source,
            name,
            wanted=wanted,
            views=views,
            real=real,
            device=device,
            save_logits=save_logits if source == model else None,
            speed=parsed_speed,
            log=log,
            quiet=quiet,
        )

    result = evaluate_methods(model, against or [], data or [None], margin=margin, evaluate=evaluate_one)
    corrupted = None
    if kinds:
        corrupted = evaluate_corruptions(
            model,
            data[0] if data else None,
            kinds,
            views=views,
            device=device,
            speed=parsed_speed,
            log=log,
            quiet=quiet,
        )
    if save is not None:
        write_correctness(save, result.sets[0][0].predictions)
        log(f"Which {result.noun}s are correct: {save}")
    of_corruptions = [corrupted.table()] if corrupted else []
    output.write(
        result.results() | ({"corruptions": corrupted.to_dict()} if corrupted else {}),
        [*tables(result), *of_corruptions],
        lambda: methods_page(result, corrupted),
        csv=[*full_tables(result), *of_corruptions],
        notes=result.notes,
    )


def _evaluate_probe(
    model: str,
    data: list[str],
    probe: str,
    device: str | None,
    speed: "InferenceSpeed",
    output: _Output,
    *,
    quiet: bool,
) -> None:
    from mixlab.data.sources import open_dataset
    from mixlab.evaluation.probes.page import probe_page
    from mixlab.evaluation.probes.probe import parse_probe
    from mixlab.evaluation.probes.probe import probe as evaluate_probe
    from mixlab.measure.machine import pick_device

    method = parse_probe(probe)
    if len(data) != 1:
        raise UserError("--probe needs one data set with training and test images: give it with --data.")
    dataset = open_dataset(data[0], quiet=quiet)
    result = evaluate_probe(model, dataset, method, device=device, speed=speed, quiet=quiet)
    page = partial(probe_page, result, pick_device(device))
    output.write(result.to_dict(), result.tables(), page, notes=())


def _evaluate_multilabel(
    model: str,
    data: list[str],
    views: "Views",
    device: str | None,
    speed: "InferenceSpeed",
    output: _Output,
    *,
    quiet: bool,
) -> None:
    from mixlab.evaluation.multilabel_evaluation import evaluate_multilabel

    single = _single_data_set(data, "A multilabel model")
    result = evaluate_multilabel(model, single, views=views, device=device, speed=speed, log=output.log, quiet=quiet)
    output.write(result.results(), result.tables(), result.page, notes=result.subject.notes)


def _evaluate_texts(model: str, data: list[str], device: str | None, output: _Output, *, quiet: bool) -> None:
    from mixlab.evaluation.text_evaluation import evaluate_texts

    single = _single_data_set(data, "A model that reads texts")
    result = evaluate_texts(model, single, device=device, quiet=quiet)
    output.write(result.results(), result.tables(), result.page, notes=result.subject.notes)


def _evaluate_segmentation(
    model: str, data: list[str], windows: float | None, device: str | None, output: _Output, *, quiet: bool
) -> None:
    from mixlab.evaluation.segmentation_evaluation import evaluate_segmentation

    single = _single_data_set(data, "A segmentation")
    result = evaluate_segmentation(model, single, overlap=windows, device=device, quiet=quiet)
    output.write(result.results(), result.tables(), result.page, notes=result.subject.notes)


def _single_data_set(data: list[str], what: str) -> str | None:
    """The only name in `data`, or None without one. Raises UserError for several."""
    if len(data) > 1:
        raise UserError(f"{what} is evaluated on one data set at a time: give --data once.")
    return data[0] if data else None
