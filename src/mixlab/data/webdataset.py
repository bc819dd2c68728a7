"""`wds:PATTERN`: tar shards of samples, as webdataset writes them: `0001.jpg` and `0001.cls` are one sample.

The pattern may have braces, `pets-train-{0000..0007}.tar`, and `*`; it may be an http(s) address, whose shards are
fetched whole into the user's cache, once. Shards are listed once and then read at any place, so their pictures have
orders and are resumed as files are. A shard's part is what its name, or its folder's, says: train, val, test.

Format: https://github.com/webdataset/webdataset, "The WebDataset Format".
"""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mixlab.data.archive import Member, members
from mixlab.data.dataset import Dataset, Labelled
from mixlab.data.extras import needs_extra
from mixlab.data.parts import as_found
from mixlab.data.tree import PART_FOLDERS, counted, is_picture
from mixlab.download import downloaded
from mixlab.errors import UserError
from mixlab.files import cache_folder

_ADDRESS = re.compile(r"https?://")


def read_webdataset(pattern: str, *, quiet: bool) -> Dataset:
    if not _ADDRESS.match(pattern):
        pattern = os.path.abspath(os.path.expanduser(pattern))  # noqa: PTH100, PTH111  a Path would change the pattern
    name = f"wds:{pattern}"
    shards = _shards(name, pattern)
    parts = _parts(name, shards)
    outer = os.path.commonpath([PurePosixPath(shard).parent for shard in shards])
    found: dict[str, list[Labelled]] = {}
    others = 0
    for shard, part in zip(shards, parts, strict=True):
        place = PurePosixPath(shard).relative_to(outer).with_suffix("")
        for sample, files in _samples(shard, members(_here(shard), quiet=quiet)):
            picture = next((file for ending, file in files.items() if is_picture(PurePosixPath(f"_.{ending}"))), None)
            if picture is None:
                others += 1
                continue
            label = files["cls"].text if "cls" in files else None
            if not label:
                raise UserError(
                    f"{shard} has no class for the sample {sample}: beside its picture there has to be {sample}.cls, "
                    f"with a number or a name in it (there is {', '.join(files)})."
                )
            found.setdefault(part, []).append(Labelled(label, f"{place}/{picture.file.name}", picture.file))
    if not found:
        raise UserError(f"{name} has no pictures in {counted(len(shards), 'shard')}: a sample is a .jpg and a .cls.")
    notes = (f"Left out because they have no picture: {counted(others, 'sample')}.",) if others else ()
    return as_found(name, found, notes)


def _shards(name: str, pattern: str) -> list[str]:
    """The shards' paths or addresses, in order."""
    with needs_extra(name):
        from braceexpand import braceexpand
    try:
        written = list(braceexpand(pattern))
    except ValueError as error:
        raise UserError(f"{name} has a brace that is not closed: write it as in pets-{{0000..0007}}.tar.") from error
    if _ADDRESS.match(pattern):
        return written
    shards = [shard for one in written for shard in (_matching(one) if "*" in one else [one])]
    if not shards:
        raise UserError(f"{name} matches no file: give the path or the pattern of tar shards.")
    return shards


def _matching(pattern: str) -> list[str]:
    path = Path(pattern)
    return sorted(map(str, Path(path.anchor).glob(str(path.relative_to(path.anchor)))))


def _here(shard: str) -> Path:
    """The shard on this machine."""
    if not _ADDRESS.match(shard):
        return Path(shard)
    place = hashlib.sha256(shard.encode()).hexdigest()[:16]
    return downloaded(shard, cache_folder() / "shards" / place / PurePosixPath(shard.partition("?")[0]).name, None)


def _parts(name: str, shards: list[str]) -> list[str]:
    """Each shard's part; where no name tells one, all are train."""
    told = [_part(PurePosixPath(shard)) for shard in shards]
    for shard, part in zip(shards, told, strict=True):
        if part is None and any(told):
            raise UserError(
                f"{name} has shards of {' and '.join(sorted({part for part in told if part}))}, and {shard}, whose "
                "name says no part: put train, val or test into it, or leave it out of the pattern."
            )
    return [part or "train" for part in told]


def _part(shard: PurePosixPath) -> str | None:
    words = [shard.parent.name.lower(), *re.split(r"[^a-z]+", shard.stem.lower())]
    return next((PART_FOLDERS[word] for word in reversed(words) if word in PART_FOLDERS), None)


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
