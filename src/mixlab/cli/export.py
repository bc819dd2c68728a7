"""`mixlab export`: writes a model for other programs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mixlab.cli.options import DATA, TrustCode
from mixlab.cli.output import logger, parse_image_size
from mixlab.errors import UserError


def export(
    model: Annotated[
        str, typer.Argument(help="A run, a published name, hub:owner/name, or a weights file.", show_default=False)
    ],
    out: Annotated[Path, typer.Argument(help="The new folder to write.", show_default=False)],
    to: Annotated[Literal["onnx"], typer.Option(help="Format.")] = "onnx",
    precision: Annotated[Literal["fp32", "fp16"], typer.Option(help="Precision of the network.")] = "fp32",
    image_size: Annotated[str | None, typer.Option(help="Resize to this many pixels: 448 or 384x512.")] = None,
    check: Annotated[
        str | None, typer.Option(help=f"Compare with mixlab on the test images of a data set, too: {DATA}.")
    ] = None,
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Hide progress.")] = False,
) -> None:
    """Export a model for other programs, after a comparison with mixlab from image files to labels.

    The graph resizes and normalises decoded images itself. predict.py beside it needs no mixlab and no PyTorch.
    """
    from mixlab.data.sources import open_dataset
    from mixlab.export.export import export_model

    if out.exists():
        raise UserError(f"{out} already exists and is never overwritten: give another name.")
    export_model(
        model,
        out,
        precision=precision,
        image_size=parse_image_size(image_size),
        check=None if check is None else open_dataset(check).splits["test"],
        log=logger(quiet=quiet),
    )
    print(out)
