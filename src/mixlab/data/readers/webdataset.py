"""`wds:PATTERN`: tar shards in webdataset format, where for example `0001.jpg` and `0001.cls` are one sample.

The class is the content of `0001.cls`, or the value of "label" in `0001.json`.

The pattern may contain braces, as in `pets-train-{0000..0007}.tar`, and `*`. It may be an http(s) address; its shards
are downloaded once, completely, into the user's cache. Shards are listed once and support random access, so they are
shuffled and resumed like folders. The split of a shard (train, val, test) is taken from its name or its folder's name.

Format: https://github.com/webdataset/webdataset, "The WebDataset Format".
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from mixlab.data.class_order import class_name
from mixlab.data.dataset import Dataset, Sample
from mixlab.data.readers.archive import Member, members
from mixlab.data.readers.folder_files import is_image
from mixlab.data.readers.shards import absolute_pattern, by_split, local_path, matching, relative_names
from mixlab.data.splits import as_provided
from mixlab.errors import UserError
from mixlab.report.text import pluralize


def read_webdataset(pattern: str, *, quiet: bool) -> Dataset:
    """Read all shards that match the pattern.

    Raises UserError if a shard is missing or damaged, or if a sample has several images or not exactly one class.
    """
    name = f"wds:{absolute_pattern(pattern)}"
    shards = matching(name, absolute_pattern(pattern))
    prefixes = relative_names(shards)
    samples: dict[str, list[Sample]] = {}
    without_image = 0
    for split, shard in (
        (split, shard) for split, shards_of_split in by_split(name, shards).items() for shard in shards_of_split
    ):
        for sample, files in _samples(shard, members(local_path(shard), quiet=quiet)):
            images = [file for suffix, file in files.items() if is_image(PurePosixPath(f"_.{suffix}"))]
            if not images:
                without_image += 1
                continue
            if len(images) > 1:
                raise UserError(
                    f"{shard} has several images for the sample {sample}, "
                    f"{', '.join(member.file.name for member in images)}: pack the shard with one image per sample."
                )
            label = next((files[suffix].label for suffix in ("cls", "json") if suffix in files), None)
            label = class_name(label, f"{shard}, sample {sample},")
            if not label:
                raise UserError(
                    f"{shard} has no class for the sample {sample}, only the files {', '.join(files)}: add "
                    f'{sample}.cls with the number or name of the class, or {sample}.json with a "label".'
                )
            image = images[0].file
            samples.setdefault(split, []).append(Sample(label, f"{prefixes[shard]}/{image.name}", image))
    if not samples:
        raise UserError(
            f"{name} has no images in {pluralize(len(shards), 'shard')}: a sample needs an image, such as a .jpg, and "
            "a .cls or .json file."
        )
    notes = (f"Skipped because they have no image: {pluralize(without_image, 'sample')}.",) if without_image else ()
    return as_provided(name, samples, notes)


def _samples(shard: str, shard_members: list[Member]) -> Iterator[tuple[str, dict[str, Member]]]:
    """The name of each sample, up to the first dot, and its files by suffix, in the order of the shard."""
    samples: dict[str, dict[str, Member]] = {}
    for member in shard_members:
        path = PurePosixPath(member.file.name)
        stem, _, suffix = path.name.partition(".")
        if not stem or not suffix:  # hidden files and files without a suffix do not belong to a sample
            continue
        sample = samples.setdefault(str(path.with_name(stem)), {})
        if suffix.lower() in sample:
            raise UserError(
                f"{shard} has {member.file.name} twice: a sample has one file per suffix, so pack the shard again."
            )
        sample[suffix.lower()] = member
    yield from samples.items()
