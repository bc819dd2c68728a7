"""`mixlab convert`: weights into another program's format."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from mixlab.cli.output import parse_image_size
from mixlab.errors import UserError


def convert(
    source: Annotated[str, typer.Argument(help="A published name, hub:owner/name, a run, a folder or a file.")],
    out: Annotated[Path, typer.Argument(help="A new file or folder.", show_default=False)],
    to: Annotated[
        Literal["google", "big_vision", "convmixer", "davit", "timm", "mmpretrain", "mixlab"],
        typer.Option(help="Whose format.", show_default=False),
    ],
    image_size: Annotated[str | None, typer.Option(help="Pixels, as 448 or 384x512; else as in the file.")] = None,
    classes: Annotated[int | None, typer.Option(help="A new head for so many; 0: none; else as in the file.")] = None,
    set: Annotated[list[str] | None, typer.Option(help="field=value that the file does not say, as window=12.")] = None,
    lossy: Annotated[bool, typer.Option("--lossy", help="Write although the format can't say everything.")] = False,
) -> None:
    """Write weights as another program has them: every tensor bit by bit, and a word on what its format can't say."""
    from mixlab.weights.convert import Conversion
    from mixlab.weights.load import load_pretrained
    from mixlab.zoo.architecture import parse_assignment

    if out.exists():
        raise UserError(f"{out} is there already, and is never overwritten: give another name.")
    given = dict(map(parse_assignment, set or []))
    opened = load_pretrained(source, image_size=parse_image_size(image_size), classes=classes, **given)
    conversion = Conversion(opened, to, out)
    if conversion.lost is not None:
        if not lossy:
            raise UserError(f"{to}'s format can't say {conversion.lost}. Give --lossy to write it without.")
        print(f"{to}'s format can't say {conversion.lost}.", file=sys.stderr)
    conversion.write()
    print(out)
