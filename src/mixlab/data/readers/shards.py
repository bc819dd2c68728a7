"""Files by a pattern, with braces and `*`, on the disk or at an http(s) address: where they lie, and their parts.

What lies at an address is fetched whole into the user's cache, once.
"""

import hashlib
import os
import re
from pathlib import Path, PurePosixPath

from mixlab.data.readers.extras import needs_extra
from mixlab.data.readers.folder_scan import SPLIT_FOLDERS
from mixlab.download import download
from mixlab.errors import UserError
from mixlab.files import cache_folder

_ADDRESS = re.compile(r"https?://")


def absolute_pattern(pattern: str) -> str:
    """The pattern as it is understood from any working directory."""
    if _ADDRESS.match(pattern):
        return pattern
    return os.path.abspath(os.path.expanduser(pattern))  # noqa: PTH100, PTH111  a Path would change the pattern


def matching(name: str, pattern: str) -> list[str]:
    """The paths or addresses, in order. `name` is the set's, for sentences. Raises UserError."""
    with needs_extra(name):
        from braceexpand import braceexpand
    try:
        written = list(braceexpand(pattern))
    except ValueError as error:
        raise UserError(f"{name} has a brace that is not closed: write it as in pets-{{0000..0007}}.tar.") from error
    if _ADDRESS.match(pattern):
        return written
    shards = [shard for one in written for shard in (_globbed(one) if "*" in one else [one])]
    if not shards:
        raise UserError(f"{name} matches no file: give the path of one, or a pattern.")
    for shard in shards:
        if Path(shard).is_dir():
            raise UserError(f'{name} names a folder, {shard}: give the files in it, as "{shard}/*".')
        if not Path(shard).exists():
            raise UserError(f"{name} names {shard}, which is not there: give the path of a file, or a pattern.")
    return shards


def _globbed(pattern: str) -> list[str]:
    path = Path(pattern)
    return sorted(map(str, Path(path.anchor).glob(str(path.relative_to(path.anchor)))))


def local_path(shard: str) -> Path:
    """The file on this machine. Raises UserError."""
    if not _ADDRESS.match(shard):
        return Path(shard)
    place = hashlib.sha256(shard.encode()).hexdigest()[:16]
    return download(shard, cache_folder() / "shards" / place / PurePosixPath(shard.partition("?")[0]).name, None)


def by_part(name: str, shards: list[str]) -> dict[str, list[str]]:
    """The shards of each part, which a shard's name or its folder's tells; where no name tells one, all are train."""
    splits: dict[str, list[str]] = {}
    silent = [shard for shard in shards if not _part(shard)]
    if len(silent) == len(shards):
        return {"train": shards}
    for shard in shards:
        splits.setdefault(_part(shard) or "", []).append(shard)
    if silent:
        raise UserError(
            f"{name} has files of {' and '.join(sorted(filter(None, splits)))}, and {silent[0]}, whose name says no "
            "part: put train, val or test into it, or leave it out of the pattern."
        )
    return splits


def _part(shard: str) -> str | None:
    path = PurePosixPath(shard)
    words = [path.parent.name.lower(), *re.split(r"[^a-z]+", path.stem.lower())]
    return next((SPLIT_FOLDERS[word] for word in reversed(words) if word in SPLIT_FOLDERS), None)


def relative_names(shards: list[str]) -> dict[str, str]:
    """Each shard -> its path below the folder that all of them share, without its ending: it begins images' names."""
    outer = os.path.commonpath([PurePosixPath(shard).parent for shard in shards])
    return {shard: str(PurePosixPath(shard).relative_to(outer).with_suffix("")) for shard in shards}
