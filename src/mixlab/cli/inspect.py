"""`mixlab inspect`: shows the contents of a weights file."""

import sys
from typing import Annotated

import typer

from mixlab.cli.options import DATA, TrustCode
from mixlab.cli.output import show
from mixlab.errors import UserError
from mixlab.report.table import Format, render


def inspect(
    source: Annotated[str, typer.Argument(help="A published name, hub:owner/name, a run, a folder or a file.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Also load it strictly; show checksums and logits of a fixed image.")
    ] = False,
    data: Annotated[str | None, typer.Option(help=f"Also verify it, and evaluate it on this data: {DATA}.")] = None,
    set: Annotated[list[str] | None, typer.Option(help="Config field that is not in the file: window=12.")] = None,
    format: Annotated[Format, typer.Option(help="Output format; csv and json list only the tensors.")] = "table",
    trust_code: TrustCode = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Hide progress.")] = False,
) -> None:
    """Show the format, the architecture and tensor statistics of a weights file, with warnings about NaN and zeros."""
    from mixlab.weights.inspect import UNTRAINED
    from mixlab.weights.inspect import inspect as inspect_source
    from mixlab.weights.source import find_source
    from mixlab.zoo.architecture import parse_assignment

    given = dict(map(parse_assignment, set or []))
    inspection = inspect_source(find_source(source), given)
    if format in ("csv", "json"):
        show([inspection.table()], format)
    else:
        if inspection.is_untrained:
            print(f"{UNTRAINED}\n")
        show([inspection.table(), inspection.summary()], format)
    if (verify or data is not None) and not inspection.reason:
        from mixlab.evaluation.verification import verify_weights

        verification = verify_weights(source, data, given, quiet=quiet)
        if format in ("csv", "json"):  # standard output has only the tensors
            print(render(verification.table(), "markdown"), file=sys.stderr)
        else:
            show([verification.table()], format)
        if verification.damaged:
            raise UserError(
                f"{', '.join(verification.damaged)}: unexpected SHA-256, so the file is damaged or was replaced. "
                "Download it again."
            )
    if inspection.reason:
        raise typer.Exit(1)
