"""The files of a result: its page, its figures as PNG files, and results.json."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mixlab.files import write_json, write_text
from mixlab.report.figure import Figure
from mixlab.report.image_panels import ImageFigure
from mixlab.report.page import Block, Columns, Details, Page, Section
from mixlab.report.text import distinct


def write_result_files(folder: Path, page: Page, results: Mapping[str, Any]) -> None:
    """Write report.html, results.json, and figures/*.png for the figures of the page.

    folder   must exist
    results  the content of results.json, which also lists the figures, if there are any, with title, caption and file
    """
    figures = list(_figures(page.sections))
    names = distinct(re.sub(r"[^a-z0-9]+", "-", figure.title.lower()).strip("-") for figure in figures)
    listed: list[dict[str, str]] = []
    for name, figure in zip(names, figures, strict=True):
        figure.save_png(folder / "figures" / f"{name}.png")
        listed.append({"title": figure.title, "caption": figure.caption, "file": f"figures/{name}.png"})
    write_json(folder / "results.json", {**results, **({"figures": listed} if listed else {})})
    write_text(folder / "report.html", page.html())


def _figures(blocks: Iterable[Block]) -> Iterator[Figure | ImageFigure]:
    for block in blocks:
        match block:
            case Figure() | ImageFigure():
                yield block
            case Section() | Columns() | Details():
                yield from _figures(block.blocks)
            case _:
                pass
