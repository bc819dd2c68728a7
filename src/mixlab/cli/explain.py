"""`mixlab explain`: which places of an image speak for its label."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mixlab.cli.image_files import image_files
from mixlab.cli.options import Device, PredictionModel, Speed, TrustCode, split_names
from mixlab.cli.output import logger, output_folder, show
from mixlab.errors import UserError
from mixlab.report.table import Format, Table


def explain(
    model: PredictionModel,
    images: Annotated[list[Path], typer.Argument(help="Image or sound files, or folders of them.", show_default=False)],
    label: Annotated[str | None, typer.Option(help="The class to explain. Default: the predicted one.")] = None,
    method: Annotated[
        str,
        typer.Option(help="occlusion, for every model; grad-cam, for models with feature maps; or both, with a comma."),
    ] = "occlusion",
    window: Annotated[
        int | None,
        typer.Option(
            help="Side of a covered window in pixels. Default: the patch of the model, or a few if it is small."
        ),
    ] = None,
    stride: Annotated[
        int | None, typer.Option(help="Pixels from one window to the next. Default: the side of a window.")
    ] = None,
    cover: Annotated[
        str | None,
        typer.Option(
            help="Colour of a covered window. model: the mean in the preprocessing. image: the mean of the image, for "
            "dark or bright images. Default: model."
        ),
    ] = None,
    stage: Annotated[
        int | None, typer.Option(help="Stage of a DaViT for grad-cam, from 1. Default: the last one.")
    ] = None,
    check: Annotated[
        int, typer.Option(help="Number of models with shuffled weights that the maps are compared with.")
    ] = 0,
    format: Annotated[Format, typer.Option(help="csv and json contain all numbers in full precision.")] = "table",
    out: Annotated[
        Path | None, typer.Option(help="New folder for the figures and results.json. Default: in runs/.")
    ] = None,
    device: Device = None,
    speed: Speed = "auto",
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Hide progress.")] = False,
) -> None:
    """Show what a model looks at: which places of an image or a spectrogram speak for its label or against it."""
    from mixlab.files import atomic_folder
    from mixlab.prediction.explainer import Explainer, Explanation
    from mixlab.prediction.explanation_folder import ExplanationFolder, explanation_table
    from mixlab.prediction.randomised_weights import MAX_IMAGES, check_table, check_weights
    from mixlab.report.progress import progress

    if check < 0:
        raise UserError(f"--check {check} is out of range: it must be at least 0.")
    log = logger(quiet=quiet)
    folder = output_folder(out, "explain", model)
    explainer = Explainer(
        model,
        methods=split_names(method),
        window=window,
        stride=stride,
        cover=cover,
        stage=stage,
        device=device,
        speed=speed,
        log=log,
    )
    files = [file for path in images for file in image_files(path, explainer.preprocess, log)]
    if check and explainer.is_exported:
        raise UserError(
            f"--check shuffles weights, and {model} is an exported model: leave --check out, or give the run or the "
            "weights that it was exported from."
        )
    tables: list[Table] = []
    compared: list[Explanation] = []
    with atomic_folder(folder) as temporary, progress("explain", total=len(files), quiet=quiet) as advance:
        results = ExplanationFolder(temporary, explainer.preprocess.noun)
        for file, result in zip(files, explainer.explain(files, label), strict=True):
            if isinstance(result, Explanation):
                results.add(file, result)
                compared = [*compared, result][:MAX_IMAGES]
            else:
                print(f"mixlab: {result}", file=sys.stderr)
            advance(1, file.name)
        if not compared:
            raise typer.Exit(2)
        tables.append(explanation_table(explainer, results.rows))
        checks = check_weights(explainer, compared, check) if check else []
        if checks:
            tables.append(check_table(checks, explainer.preprocess.noun))
        results.finish(model, explainer, checks)
    if format == "json":
        print(json.dumps([table.to_dict() for table in tables], indent=2, ensure_ascii=False))
    else:
        show(tables, format)
    if format == "csv":
        for note in (note for table in tables for note in table.all_notes):
            log(note)
    log(f"Figures and maps: {folder}")
    if len(results.rows) < len(files):
        raise typer.Exit(1)
