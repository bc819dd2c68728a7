"""`mixlab inspect`: what a file of weights holds."""

from typing import Annotated

import typer

from mixlab.cli.options import DATA
from mixlab.cli.output import show
from mixlab.errors import UserError
from mixlab.report.table import Format


def inspect(
    source: Annotated[str, typer.Argument(help="A published name, hub:owner/name, a run, a folder or a file.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Load it strictly too: checksum, and the answer to a fixed image.")
    ] = False,
    data: Annotated[str | None, typer.Option(help=f"With --verify, judge it on these: {DATA}.")] = None,
    set: Annotated[list[str] | None, typer.Option(help="field=value that the file does not say, as window=12.")] = None,
    format: Annotated[Format, typer.Option(help="csv and json list the tensors alone.")] = "table",
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Tell a file's format and architecture, and every tensor's statistics; NaN and zeros are pointed out."""
    from mixlab.weights.inspect import inspect as inspected
    from mixlab.weights.source import find_source
    from mixlab.zoo.architecture import parse_assignment

    given = dict(map(parse_assignment, set or []))
    inspection = inspected(find_source(source), given)
    if format in ("csv", "json"):
        show([inspection.table()], format)
    else:
        show([inspection.table(), inspection.summary()], format)
    if (verify or data is not None) and not inspection.reason:
        from mixlab.evaluation.verification import verify_weights

        verification = verify_weights(source, data, given, quiet=quiet)
        show([verification.table()], "table" if format in ("csv", "json") else format)
        if verification.damaged:
            raise UserError(
                f"{', '.join(verification.damaged)}: by SHA-256 not what it should be, so it was damaged or replaced. "
                "Fetch it anew."
            )
    if inspection.reason:
        raise typer.Exit(1)
