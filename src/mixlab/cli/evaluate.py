"""`mixlab evaluate`: how good a model is, how sure, where it fails, and whether it is better than another one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mixlab.cli.options import DATA, Device, Speed, TrustCode, Windows, require_alone
from mixlab.cli.output import logger, require_empty_folder, require_new_file, show
from mixlab.errors import UserError
from mixlab.report.progress import Log
from mixlab.report.table import Format, Table

if TYPE_CHECKING:
    from mixlab.evaluation.multilabel_evaluation import MultilabelEvaluation
    from mixlab.evaluation.segmentation_evaluation import SegmentationEvaluation
    from mixlab.evaluation.text_evaluation import TextEvaluation
    from mixlab.evaluation.views import Views
    from mixlab.speed.inference_plan import Speed as InferenceSpeed


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
        float, typer.Option(help="Points: a smaller difference from --against is irrelevant in practice.")
    ] = 1.0,
    accuracy: Annotated[
        float, typer.Option(help="Wanted accuracy in per cent of the answers above a confidence.")
    ] = 99.0,
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
    out: Annotated[Path | None, typer.Option(help="New folder for report.html and results.json.")] = None,
    device: Device = None,
    speed: Speed = "auto",
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not show progress.")] = False,
) -> None:
    """Evaluate a model on images that it was not trained on: accuracy, confidences, every class, errors."""
    from mixlab.evaluation.correctness import write_correctness
    from mixlab.evaluation.corruption_evaluation import evaluate_corruptions
    from mixlab.evaluation.corruptions.corrupt import KINDS
    from mixlab.evaluation.logits_evaluation import evaluate_logits_file, is_logits_file
    from mixlab.evaluation.logits_file import SUFFIX
    from mixlab.evaluation.methods import evaluate_methods
    from mixlab.evaluation.methods_report import full_tables, methods_page, tables
    from mixlab.evaluation.model_evaluation import ModelEvaluation, evaluate_model
    from mixlab.evaluation.views import Views
    from mixlab.files import atomic_folder, write_json, write_text
    from mixlab.speed.inference_plan import parse_speed
    from mixlab.weights.source import task_of

    if out is not None:
        require_empty_folder(out)
    if save_logits is not None:
        require_new_file(save_logits, "--save-logits", SUFFIX)
    if save is not None:
        require_new_file(save, "--save", ".correct")
        if len(data or []) > 1 or ("," in model and not Path(model).exists()):
            raise UserError("--save writes the answers of one run on one data set: give a single MODEL and --data.")
    task = task_of(model)
    others: dict[str, object] = {"--against": against, "--probe": probe, "--real": real, "--save": save}
    others |= {"--tta": tta, "--corruptions": corruptions, "--save-logits": save_logits}
    if task == "segmentation":
        require_alone("a segmentation", others | {"--crop": crop})
        _evaluate_segmentation(model, data or [], windows, device, format, out, quiet=quiet)
        return
    require_alone("a model without masks", {"--windows": windows is not None})
    if task == "text":
        require_alone("a model that reads texts", others | {"--crop": crop})
        _evaluate_texts(model, data or [], device, format, out, quiet=quiet)
        return
    if task == "multilabel":
        require_alone("a multilabel model", others)
        _evaluate_multilabel(model, data or [], Views(crop), device, parse_speed(speed), format, out, quiet=quiet)
        return
    if probe is not None:
        require_alone("--probe", {"--against": against, "--corruptions": corruptions, "--save-logits": save_logits})
        _evaluate_probe(model, data or [], probe, device, format, out, quiet=quiet)
        return
    views = Views(crop, tta, tta_below)
    log = logger(quiet=quiet)
    parsed_speed = parse_speed(speed)

    def evaluate_one(source: str, name: str | None) -> ModelEvaluation:
        if is_logits_file(source):
            return evaluate_logits_file(source, name, wanted=accuracy)
        return evaluate_model(
            source,
            name,
            wanted=accuracy,
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
    if corruptions is not None:
        kinds = KINDS if corruptions == "all" else corruptions.split(",")
        corrupted = evaluate_corruptions(
            model, data[0] if data else None, kinds, device=device, speed=parsed_speed, log=log, quiet=quiet
        )
    of_corruptions = [corrupted.table()] if corrupted else []
    results = result.results() | ({"corruptions": corrupted.to_dict()} if corrupted else {})
    for note in result.notes:
        log(note)
    match format:
        case "json":
            print(json.dumps(results, indent=2, ensure_ascii=False, allow_nan=False))
        case "csv":
            show([*full_tables(result), *of_corruptions], format)
        case _:
            show([*tables(result), *of_corruptions], format)
    if save is not None:
        write_correctness(save, result.sets[0][0].predictions)
        log(f"Which {result.noun}s are correct: {save}")
    if out is not None:
        page = methods_page(result, corrupted).html()
        with atomic_folder(out) as temporary:
            write_json(temporary / "results.json", results)
            write_text(temporary / "report.html", page)
        log(f"Report: {out / 'report.html'}")


def _evaluate_probe(
    model: str, data: list[str], probe: str, device: str | None, format: Format, out: Path | None, *, quiet: bool
) -> None:
    from mixlab.data.sources import open_dataset
    from mixlab.evaluation.probes.probe import parse_probe
    from mixlab.evaluation.probes.probe import probe as evaluate_probe
    from mixlab.files import atomic_folder, write_json

    method = parse_probe(probe)
    if len(data) != 1:
        raise UserError("--probe needs one data set with training and test images: give it with --data.")
    result = evaluate_probe(model, open_dataset(data[0], quiet=quiet), method, device=device, quiet=quiet)
    if format == "json":
        print(json.dumps(result.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        show(result.tables(), format)
    if out is not None:
        with atomic_folder(out) as temporary:
            write_json(temporary / "results.json", result.to_dict())
        logger(quiet=quiet)(f"Results: {out / 'results.json'}")


def _evaluate_multilabel(
    model: str,
    data: list[str],
    views: "Views",
    device: str | None,
    speed: "InferenceSpeed",
    format: Format,
    out: Path | None,
    *,
    quiet: bool,
) -> None:
    from mixlab.evaluation.multilabel_evaluation import evaluate_multilabel

    single = _single_data_set(data, "A multilabel model")
    log = logger(quiet=quiet)
    result = evaluate_multilabel(model, single, views=views, device=device, speed=speed, log=log, quiet=quiet)
    _show_and_write(result, result.label_table(), format, out, log)


def _evaluate_texts(
    model: str, data: list[str], device: str | None, format: Format, out: Path | None, *, quiet: bool
) -> None:
    from mixlab.evaluation.text_evaluation import evaluate_texts

    single = _single_data_set(data, "A model that reads texts")
    result = evaluate_texts(model, single, device=device, quiet=quiet)
    _show_and_write(result, result.class_table(), format, out, logger(quiet=quiet))


def _evaluate_segmentation(
    model: str,
    data: list[str],
    windows: float | None,
    device: str | None,
    format: Format,
    out: Path | None,
    *,
    quiet: bool,
) -> None:
    from mixlab.evaluation.segmentation_evaluation import evaluate_segmentation

    single = _single_data_set(data, "A segmentation")
    result = evaluate_segmentation(model, single, overlap=windows, device=device, quiet=quiet)
    _show_and_write(result, result.class_table(), format, out, logger(quiet=quiet))


def _single_data_set(data: list[str], what: str) -> str | None:
    """The only name in `data`, or None without one. Raises UserError for several."""
    if len(data) > 1:
        raise UserError(f"{what} is evaluated on one data set at a time: give --data once.")
    return data[0] if data else None


def _show_and_write(
    result: "MultilabelEvaluation | SegmentationEvaluation | TextEvaluation",
    csv_table: Table,
    format: Format,
    out: Path | None,
    log: Log,
) -> None:
    """Print the result, and write its page and results.json to the folder `out`."""
    from mixlab.files import atomic_folder, write_json, write_text

    for note in result.subject.notes:
        log(note)
    match format:
        case "json":
            print(json.dumps(result.results(), indent=2, ensure_ascii=False, allow_nan=False))
        case "csv":
            show([csv_table], format)
        case _:
            show(result.tables(), format)
    if out is not None:
        with atomic_folder(out) as temporary:
            write_json(temporary / "results.json", result.results())
            write_text(temporary / "report.html", result.page().html())
        log(f"Report: {out / 'report.html'}")
