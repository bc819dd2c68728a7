"""Prepares small datasets with tensorflow_datasets, without TensorFlow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast


def prepare(
    folder: Path,
    features: Mapping[str, Any],
    splits: Mapping[str, Sequence[Mapping[str, Any]]],
    name: str = "pets",
    config: str = "",
) -> Path:
    """Prepare the dataset NAME or NAME/CONFIG with `splits` (name -> rows), and return its folder."""
    import tensorflow_datasets as tfds

    dataset, location = name, cast(Any, folder)  # TFDS has a type of its own for paths

    class Prepared(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # pyright: ignore[reportGeneralTypeIssues, reportCallIssue]
        name = dataset
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []
        pkg_dir_path = code_path = location  # its default can't be determined in a test module

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {name: enumerate(rows) for name, rows in splits.items()}

        def _generate_examples(self):
            raise NotImplementedError

    builder: Any = Prepared(data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    return Path(builder.data_dir)
