"""Files that match a pattern with braces and `*`, on the disk or at an http(s) address, and their splits.

Files at an address are downloaded once, completely, into the user's cache.
"""

import hashlib
import os
import re
from pathlib import Path, PurePosixPath

from mixlab.data.readers.extras import needs_extra
from mixlab.data.readers.split_names import SPLIT_WORDS
from mixlab.download import download
from mixlab.errors import UserError
from mixlab.files import cache_folder

_ADDRESS = re.compile(r"https?://")


def absolute_pattern(pattern: str) -> str:
    """The pattern as an absolute path; an http(s) address is returned unchanged."""
    if _ADDRESS.match(pattern):
        return pattern
    return os.path.abspath(os.path.expanduser(pattern))  # noqa: PTH100, PTH111  a Path would normalise the pattern


def matching(name: str, pattern: str) -> list[str]:
    """The paths or addresses that match the pattern, in order.

    `name`: the name of the dataset, for error messages.

    Raises UserError if a file does not exist or nothing matches.
    """
    with needs_extra(name):
        from braceexpand import braceexpand
    try:
        expanded = list(braceexpand(pattern))
    except ValueError as error:
        raise UserError(f"{name} has an unmatched brace: write it as in pets-{{0000..0007}}.tar.") from error
    if _ADDRESS.match(pattern):
        return expanded
    shards = [shard for path in expanded for shard in (_glob(path) if "*" in path else [path])]
    if not shards:
        raise UserError(f"{name} matches no file: give the path of a file, or a pattern that matches some.")
    for shard in shards:
        if Path(shard).is_dir():
            raise UserError(f'{name} matches the folder {shard}: to use the files in it, write "{shard}/*".')
        if not Path(shard).exists():
            raise UserError(f"{name} includes {shard}, which does not exist: give the path of a file, or a pattern.")
    return shards


def _glob(pattern: str) -> list[str]:
    path = Path(pattern)
    return sorted(map(str, Path(path.anchor).glob(str(path.relative_to(path.anchor)))))


def local_path(shard: str) -> Path:
    """The path of a shard on this machine, downloaded if necessary. Raises UserError if the download fails."""
    if not _ADDRESS.match(shard):
        return Path(shard)
    folder = hashlib.sha256(shard.encode()).hexdigest()[:16]
    return download(shard, cache_folder() / "shards" / folder / PurePosixPath(shard.partition("?")[0]).name, None)


def by_split(name: str, shards: list[str]) -> dict[str, list[str]]:
    """Group shards by the split in their name, or in that of their folder. If none has one, all are train.

    Raises UserError if only some of them have one.
    """
    splits: dict[str, list[str]] = {}
    unassigned = [shard for shard in shards if not _split_from_name(shard)]
    if len(unassigned) == len(shards):
        return {"train": shards}
    for shard in shards:
        splits.setdefault(_split_from_name(shard) or "", []).append(shard)
    if unassigned:
        raise UserError(
            f"{name} has files of {' and '.join(sorted(filter(None, splits)))}, but {unassigned[0]} has no split in "
            "its name: add train, val or test to the name, or exclude the file from the pattern."
        )
    return splits


def _split_from_name(shard: str) -> str | None:
    path = PurePosixPath(shard)
    words = [path.parent.name.lower(), *re.split(r"[^a-z]+", path.stem.lower())]
    return next((SPLIT_WORDS[word] for word in reversed(words) if word in SPLIT_WORDS), None)


def relative_names(shards: list[str]) -> dict[str, str]:
    """Each shard -> its path without suffix, relative to the common folder of all; image names begin with it."""
    common_folder = os.path.commonpath([PurePosixPath(shard).parent for shard in shards])
    return {shard: str(PurePosixPath(shard).relative_to(common_folder).with_suffix("")) for shard in shards}
