"""`wds:PATTERN`: tar shards of samples, as webdataset writes them: `0001.jpg` and `0001.cls` are one sample.

The class is what `0001.cls` says, or else `0001.json` under "label".

The pattern may have braces, `pets-train-{0000..0007}.tar`, and `*`; it may be an http(s) address, whose shards are
fetched whole into the user's cache, once. Shards are listed once and then read at any place, so their images have
orders and are resumed as files are. A shard's part is what its name, or its folder's, says: train, val, test.

Format: https://github.com/webdataset/webdataset, "The WebDataset Format".
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from mixlab.data.dataset import Dataset, Sample
from mixlab.data.readers.archive import Member, members
from mixlab.data.readers.folder_scan import is_image
from mixlab.data.readers.shards import absolute_pattern, by_part, local_path, matching, relative_names
from mixlab.data.splits import as_provided
from mixlab.errors import UserError
from mixlab.report.text import pluralize


def read_webdataset(pattern: str, *, quiet: bool) -> Dataset:
    name = f"wds:{absolute_pattern(pattern)}"
    shards = matching(name, absolute_pattern(pattern))
    places = relative_names(shards)
    found: dict[str, list[Sample]] = {}
    bare = 0
    for split, shard in ((split, shard) for split, of_part in by_part(name, shards).items() for shard in of_part):
        for sample, files in _samples(shard, members(local_path(shard), quiet=quiet)):
            image = next((file for ending, file in files.items() if is_image(PurePosixPath(f"_.{ending}"))), None)
            if image is None:
                bare += 1
                continue
            label = next((files[ending].label for ending in ("cls", "json") if ending in files), None)
            if not label:
                raise UserError(
                    f"{shard} has no class for the sample {sample}: beside its image there has to be {sample}.cls, "
                    f'with a number or a name in it, or {sample}.json with one under "label" '
                    f"(there is {', '.join(files)})."
                )
            found.setdefault(split, []).append(Sample(label, f"{places[shard]}/{image.file.name}", image.file))
    if not found:
        raise UserError(
            f"{name} has no images in {pluralize(len(shards), 'shard')}: a sample is a .jpg and a .cls or a .json."
        )
    notes = (f"Left out because they have no image: {pluralize(bare, 'sample')}.",) if bare else ()
    return as_provided(name, found, notes)


def _samples(shard: str, listed: list[Member]) -> Iterator[tuple[str, dict[str, Member]]]:
    """A sample's name, which ends at the first dot, and its files by what follows, in the shard's order."""
    samples: dict[str, dict[str, Member]] = {}
    for member in listed:
        place = PurePosixPath(member.file.name)
        stem, _, ending = place.name.partition(".")
        if not stem or not ending:  # hidden, or without an ending: no part of a sample
            continue
        sample = samples.setdefault(str(place.with_name(stem)), {})
        if ending.lower() in sample:
            raise UserError(
                f"{shard} has {member.file.name} twice: a sample has one file of an ending, so pack the shard again."
            )
        sample[ending.lower()] = member
    yield from samples.items()
