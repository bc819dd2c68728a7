"""Predicted masks as files: a mask and an overlay for each image, at the image's own size.

The folder has `masks/NAME.png` with class indices and a palette, `overlays/NAME.png` with the classes over the image in
grey, `classes.txt` with the names of the classes, and `shares.csv` with the share of each class in each image.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from mixlab.data.image_file import UnreadableImage, read_image
from mixlab.errors import UserError
from mixlab.evaluation.class_maps import ClassMapper
from mixlab.files import write_text
from mixlab.report.masks import overlay, palette
from mixlab.report.table import Cell, Column, Table, render
from mixlab.report.text import distinct, pluralize
from mixlab.speed.inference import Inference
from mixlab.weights.classifier import load_classifier

FOLDERS = ("masks", "overlays")


@dataclass(frozen=True, eq=False)
class PredictedMask:
    """The files of an image, and the share of each class in per cent."""

    image: Path
    mask: Path
    overlay: Path
    shares: Float[np.ndarray, " class"]


class MaskPredictor:
    """Predicts masks with the run of a segmentation, in fp32.

    `source` and `device` are those of `mixlab.prediction.predictor.Predictor`, and `overlap` is that of `ClassMapper`.
    Raises UserError if the weights can't be loaded or are for another task.
    """

    def __init__(self, source: str | Path, *, device: str | None = None, overlap: float | None = None):
        classifier = load_classifier(source)
        if classifier.task != "segmentation":
            raise UserError(f"{source} is a {classifier.task} model, which predicts no masks: give a segmentation.")
        self.classes, self.preprocess = classifier.classes, classifier.image_preprocess
        self._mapper = ClassMapper(
            Inference(classifier.network, classifier.pick_device(device)), classifier.image_preprocess, overlap
        )

    def __call__(self, file: Path) -> tuple[np.ndarray, np.ndarray]:
        """The image, uint8 (row, column, 3), and its mask, uint8 (row, column). Raises UnreadableImage."""
        image = read_image(file, self.preprocess.value_range)
        return image, self._mapper(image).astype(np.uint8)

    def write(
        self, files: Sequence[Path], folder: Path, on_error: Callable[[UnreadableImage], None]
    ) -> Iterator[PredictedMask | None]:
        """Write the masks of image files below `folder`, which exists; None for an image that can't be read."""
        names = distinct(file.stem for file in files)
        for kind in FOLDERS:
            (folder / kind).mkdir()
        write_text(folder / "classes.txt", "".join(f"{name}\n" for name in self.classes))
        for file, name in zip(files, names, strict=True):
            try:
                image, mask = self(file)
            except UnreadableImage as error:
                on_error(error)
                yield None
                continue
            shares = 100 * np.bincount(mask.ravel(), minlength=len(self.classes)) / mask.size
            stored_mask, stored_overlay = (folder / kind / f"{name}.png" for kind in FOLDERS)
            predicted = PredictedMask(file, stored_mask, stored_overlay, shares)
            stored = Image.fromarray(mask).convert("L")
            stored.putpalette(palette().tobytes())
            stored.save(predicted.mask, optimize=True)
            Image.fromarray(overlay(image, mask)).save(predicted.overlay)
            yield predicted

    def table(self, masks: Sequence[PredictedMask]) -> Table:
        """The share of each class in each image."""
        columns = [Column("image", "image"), *(Column(name, name, "%", digits=1) for name in self.classes)]
        rows: list[dict[str, Cell]] = [
            {"image": str(mask.image), **dict(zip(self.classes, mask.shares.tolist(), strict=True))} for mask in masks
        ]
        return Table(f"Shares of classes, {pluralize(len(masks), 'image')}", columns, rows)


def write_shares(folder: Path, table: Table) -> None:
    """Write shares.csv."""
    write_text(folder / "shares.csv", render(table, "csv"))
