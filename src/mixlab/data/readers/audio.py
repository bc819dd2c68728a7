"""`audio:PATH`: sounds in one folder per class as for `folder:PATH`, or with the classes in the names of the files.

Options follow the path, each with a regular expression that is searched in the name of each file, its path relative to
the folder:

    audio:recordings:label=^(\\d):test=jackson:group=_([a-z]+)_

`label`: the first group, or the whole match, is the class. Files without a match are skipped.
`test`: the files with a match are the test split; the folder has no splits then.
`group`: as for `folder:PATH` (`mixlab.data.name_groups`).
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mixlab.data.audio.sound_file import Sound
from mixlab.data.dataset import Dataset, Sample
from mixlab.data.name_groups import compiled, group_by_name, matched_group
from mixlab.data.readers.data_dirs import data_dirs
from mixlab.data.readers.folder_files import SOUND_FILES, files_below, normalize_name
from mixlab.data.readers.folder_scan import scan
from mixlab.data.splits import as_provided
from mixlab.errors import UserError
from mixlab.report.text import pluralize

OPTIONS = ("label", "test", "group")

_REPOSITORY, _DIGIT, _OFFICIAL_TEST = "free-spoken-digit-dataset", r"^(\d)_", r"_[0-4]\.wav$"
"""The Free Spoken Digit Dataset, https://github.com/Jakobovski/free-spoken-digit-dataset."""


def read_audio(location: str) -> Dataset:
    """Read a folder of sounds, followed by options. Raises UserError."""
    path, *rest = re.split(rf":({'|'.join(OPTIONS)})=", location)
    options = dict(zip(rest[::2], rest[1::2], strict=True))
    if len(options) < len(rest[::2]):
        raise UserError(f"audio:{location} has the same option twice: give each of {', '.join(OPTIONS)} at most once.")
    return _read(Path(path).expanduser(), options)


def open_spoken_digits(location: str) -> Dataset:
    """The Free Spoken Digit Dataset. Its official split has the recordings 0 to 4 of each digit and speaker as test.

    `location`: the folder with `recordings`, or this folder; empty to search the default folders. `:test=REGEX` after
        it selects other test sounds, such as those of a speaker: `spoken-digits:test=_jackson_`.

    Raises UserError if it is not there.
    """
    folder, _, test = re.sub(r"^test=", ":test=", location).partition(":test=")
    roots = [Path(folder).expanduser()] if folder else [root / _REPOSITORY for root in data_dirs()]
    found = [inner for root in roots for inner in (root / "recordings", root) if inner.is_dir()]
    if not found:
        raise UserError(
            f"spoken-digits is not at {' or '.join(map(str, roots))}: clone "
            f"https://github.com/Jakobovski/{_REPOSITORY}, and give its path as spoken-digits:PATH."
        )
    name = ["spoken-digits", *([str(roots[0].absolute())] if folder else []), *([f"test={test}"] if test else [])]
    dataset = _read(found[0], {"label": _DIGIT, "test": test or _OFFICIAL_TEST})
    return replace(dataset, name=":".join(name))


def _read(root: Path, options: Mapping[str, str]) -> Dataset:
    name = "".join([f"audio:{root.absolute()}", *(f":{key}={options[key]}" for key in OPTIONS[:2] if key in options)])
    if "label" in options:
        samples, notes = _labelled_by_name(root, name, options["label"])
        splits = {"train": samples}
    else:
        contents = scan(root, SOUND_FILES)
        splits, notes = contents.splits, contents.notes
    sounds = {split: list(map(_with_sound, samples)) for split, samples in splits.items()}
    if "test" in options:
        sounds = _with_test_split(sounds, name, options["test"])
    dataset = replace(as_provided(name, sounds, notes), noun=SOUND_FILES.noun)
    return group_by_name(dataset, options["group"]) if "group" in options else dataset


def _labelled_by_name(root: Path, name: str, pattern: str) -> tuple[list[Sample], tuple[str, ...]]:
    """The sounds of a folder with a match of `pattern`, and notes about the others."""
    if not root.is_dir():
        raise UserError(f"{name} is not a folder ({root.absolute()}): give the folder that contains the sounds.")
    found = files_below(root, SOUND_FILES).images
    regex = compiled(pattern, "label", name)
    names = [normalize_name(path.relative_to(root).as_posix()) for path in found]
    labels = [matched_group(regex, file) for file in names]
    samples = [Sample(label, file, path) for label, file, path in zip(labels, names, found, strict=True) if label]
    if not samples:
        example = f", such as {names[0]}" if names else ""
        raise UserError(
            f"{name} matches none of the {pluralize(len(found), 'sound')}{example}: the regular expression is searched "
            "in the path of each sound inside the folder."
        )
    missing = len(names) - len(samples)
    note = f"Skipped because label={pattern} does not match their names: {pluralize(missing, 'sound')}."
    return samples, (note,) if missing else ()


def _with_test_split(splits: Mapping[str, list[Sample]], name: str, pattern: str) -> dict[str, list[Sample]]:
    if set(splits) != {"train"}:
        raise UserError(
            f"{name} has the splits {', '.join(sorted(splits))} as folders: remove :test=, or merge these folders."
        )
    regex = compiled(pattern, "test", name)
    test = [sample for sample in splits["train"] if regex.search(sample.name)]
    train = [sample for sample in splits["train"] if not regex.search(sample.name)]
    if not test or not train:
        raise UserError(
            f"{name} puts {'all' if test else 'none'} of the {pluralize(len(test or train), 'sound')} into the test "
            f"split, such as {(test or train)[0].name}: write a regular expression that matches some of their names."
        )
    return {"train": train, "test": test}


def _with_sound(sample: Sample) -> Sample:
    assert isinstance(sample.image, Path)
    return Sample(sample.label, sample.name, Sound(sample.image), sample.group)
