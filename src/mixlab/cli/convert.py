"""`mixlab convert`: converts weights to the format of another program."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from mixlab.cli.options import TrustCode
from mixlab.cli.output import parse_image_size, require_new_path
from mixlab.errors import UserError


def convert(
    source: Annotated[str, typer.Argument(help="A published name, hub:owner/name, a run, a folder or a file.")],
    out: Annotated[Path, typer.Argument(help="The file or folder to write.", show_default=False)],
    to: Annotated[
        Literal["google", "big_vision", "convmixer", "davit", "timm", "mmpretrain", "mixlab"],
        typer.Option(help="Target format.", show_default=False),
    ],
    image_size: Annotated[str | None, typer.Option(help="Resize to this many pixels: 448 or 384x512.")] = None,
    classes: Annotated[int | None, typer.Option(min=0, help="Replace the head: number of classes, 0 for none.")] = None,
    set: Annotated[list[str] | None, typer.Option(help="Config field that is not in the file: window=12.")] = None,
    trust_code: TrustCode = False,
    lossy: Annotated[bool, typer.Option("--lossy", help="Write even if the format can't store every field.")] = False,
) -> None:
    """Convert weights to the format of another program, bit for bit, and report what the format can't store."""
    from mixlab.evaluation.novelty import novelty_detector_of
    from mixlab.evaluation.training_images import training_images_of
    from mixlab.runs.folder import Run
    from mixlab.weights.convert import Conversion
    from mixlab.weights.load import load_pretrained
    from mixlab.zoo.architecture import parse_assignment

    require_new_path(out)
    given = dict(map(parse_assignment, set or []))
    pretrained = load_pretrained(source, image_size=parse_image_size(image_size), classes=classes, **given)
    conversion = Conversion(pretrained, to, out)
    if conversion.lost is not None:
        if not lossy:
            raise UserError(f"The {to} format can't store {conversion.lost}. To write it anyway, give --lossy.")
        print(f"The {to} format can't store {conversion.lost}.", file=sys.stderr)
    conversion.write()
    if to == "mixlab":
        training_images_of(source).write(Run(out).training_images)
        detector = novelty_detector_of(source)
        if detector is not None and pretrained.weights is pretrained.unchanged:
            detector.write(Run(out).novelty)
    print(out)
