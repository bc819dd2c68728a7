"""Logits with image names and labels as a parquet file, from which every metric can be recomputed without the model.

One row per image: `image` (its name), `split` ("validation" or "test"), `label` (class index) and `logits` (float32, in
the order of the classes). The metadata has the names of the model, of the data and of the classes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float32, Int64

from mixlab.data.readers.extras import needs_extra
from mixlab.errors import UserError
from mixlab.evaluation.calibration import TemperatureFit
from mixlab.evaluation.evaluation import Evaluation, EvaluationBuffer
from mixlab.evaluation.finite import require_finite
from mixlab.files import atomic_file, translate_read_errors

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

SUFFIX = ".parquet"
_SCHEMA = 1
_KEY = b"mixlab"
_READ_BYTES = 2**26  # of logits at a time


@dataclass(frozen=True)
class LogitsHeader:
    """What the logits belong to.

    source     the weights, as for `mixlab.load`
    model      the name of the model
    data       the name of the data set
    evaluated  which images were evaluated, in words
    classes    class names, in the order of the logits
    noun       what a sample is, for sentences
    """

    source: str
    model: str
    data: str
    evaluated: str
    classes: tuple[str, ...]
    noun: str = "image"


Rows = tuple[str, Sequence[str], Int64[np.ndarray, " image"], Float32[np.ndarray, "image class"]]
"""The split, the names, the labels and the logits of some images."""


def require_pyarrow() -> None:
    """Raises UserError if pyarrow is missing."""
    with needs_extra("A file of logits"):
        import pyarrow.parquet  # noqa: F401


def write_logits(path: Path, header: LogitsHeader, rows: Iterator[Rows]) -> None:
    """Write a file of logits, which is whole or absent."""
    import pyarrow
    import pyarrow.parquet

    logits_type = pyarrow.list_(pyarrow.float32(), len(header.classes))
    schema = pyarrow.schema(
        {"image": pyarrow.string(), "split": pyarrow.string(), "label": pyarrow.int32(), "logits": logits_type},
        metadata={_KEY: json.dumps({"schema": _SCHEMA, **asdict(header)})},
    )
    with (
        atomic_file(path) as temporary,
        pyarrow.parquet.ParquetWriter(temporary, schema, compression="none", use_dictionary=False) as writer,
    ):
        for split, names, labels, logits in rows:
            flat = pyarrow.array(logits.ravel(), pyarrow.float32())
            columns = [
                pyarrow.array(names, pyarrow.string()),
                pyarrow.array([split] * len(names), pyarrow.string()),
                pyarrow.array(labels, pyarrow.int32()),
                pyarrow.FixedSizeListArray.from_arrays(flat, len(header.classes)),
            ]
            writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))


@dataclass(frozen=True, eq=False)
class LogitsEvaluation:
    """The evaluation that follows from a file of logits.

    `validation`, `temperature` and `scaled` are None if the file has no validation images.

    names        of the images of the test split
    validation   the evaluation of the validation split
    temperature  fitted on the validation split
    scaled       the evaluation of the test split with logits that are divided by the temperature
    """

    header: LogitsHeader
    names: list[str]
    evaluation: Evaluation
    validation: Evaluation | None
    temperature: float | None
    scaled: Evaluation | None


def evaluate_logits(path: Path) -> LogitsEvaluation:
    """Evaluate a file of logits, some rows at a time.

    Raises UserError if it is damaged or is not a file of logits, if an image is named twice, or if logits are NaN or
    infinite.
    """
    with _open(path) as (file, header):
        rows = file.metadata.num_rows
        validation, test, scaled = (EvaluationBuffer(header.classes, rows) for _ in range(3))
        fit, names = TemperatureFit(), []
        for _, labels, logits in _rows(file, "validation", header):
            fit.add(logits, labels)
            validation.add(logits, labels)
        temperature = fit.temperature if len(validation.evaluation) else None
        for part, labels, logits in _rows(file, "test", header):
            names += part
            test.add(logits, labels)
            if temperature is not None:
                scaled.add(logits / temperature, labels)
    if not names:
        raise UserError(f"{path} has no rows of the test split: write it again with mixlab evaluate --save-logits.")
    _require_unique(path, names, header.noun)
    return LogitsEvaluation(
        header,
        names,
        test.evaluation,
        validation.evaluation if temperature is not None else None,
        temperature,
        scaled.evaluation if temperature is not None else None,
    )


@contextmanager
def _open(path: Path) -> "Iterator[tuple[pyarrow.parquet.ParquetFile, LogitsHeader]]":
    require_pyarrow()
    import pyarrow.parquet

    try:
        with translate_read_errors(path), pyarrow.parquet.ParquetFile(path) as file:
            yield file, _header(path, file.schema_arrow.metadata or {})
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist: give a file that mixlab evaluate --save-logits wrote.") from error
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"{path} is not a parquet file or is damaged: write it again.") from error


def _header(path: Path, metadata: Mapping[bytes, bytes]) -> LogitsHeader:
    stored: dict[str, Any] = json.loads(metadata.get(_KEY, b"{}"))
    if stored.pop("schema", None) != _SCHEMA:
        raise UserError(
            f"{path} has no logits of mixlab: give a file that mixlab evaluate --save-logits wrote with this version."
        )
    stored["classes"] = tuple(stored["classes"])
    return LogitsHeader(**stored)


def _rows(
    file: "pyarrow.parquet.ParquetFile", split: str, header: LogitsHeader
) -> Iterator[tuple[list[str], torch.Tensor, torch.Tensor]]:
    """The names, labels and logits of the images of a split, some at a time."""
    from pyarrow import compute

    for batch in file.iter_batches(max(_READ_BYTES // (4 * len(header.classes)), 1)):
        rows = batch.filter(compute.equal(batch["split"], split))  # pyright: ignore[reportAttributeAccessIssue]
        if not len(rows):
            continue
        flat = rows["logits"].flatten().to_numpy()
        names, logits = rows["image"].to_pylist(), torch.from_numpy(flat.reshape(len(rows), -1).copy())
        require_finite(logits, names)
        yield names, torch.from_numpy(rows["label"].to_numpy().astype(np.int64)), logits


def _require_unique(path: Path, names: list[str], noun: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(f"{path} has the {noun} {name} twice: write it again from {noun}s with different names.")
        seen.add(name)
