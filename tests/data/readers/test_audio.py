"""`audio:PATH` and `spoken-digits`: classes, splits and speakers from folders and names."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixlab.data.audio.sound_file import Sound
from mixlab.data.sources import open_as_provided, open_dataset, open_for_evaluation
from mixlab.errors import UserError
from sounds import tone, write_sound, write_tones

PITCHES = (("high", 2_000.0), ("low", 300.0))


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    return write_tones(tmp_path / "tones", PITCHES, 15)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Three digits by three speakers, six times each, in one folder."""
    for digit in range(3):
        for index, speaker in enumerate(("ann", "bob", "eve")):
            for number in range(6):
                file = tmp_path / "digits" / "recordings" / f"{digit}_{speaker}_{number}.wav"
                write_sound(file, tone(300 + 500 * digit + 10 * number + index, 0.05))
    return tmp_path / "digits" / "recordings"


def test_folders_are_classes_and_splits_are_made(tones: Path):
    dataset = open_dataset(f"audio:{tones}", quiet=True)
    assert dataset.classes == ("high", "low")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 22, "validation": 2, "test": 6}
    assert isinstance(dataset.splits["train"].images[0], Sound)
    assert dataset.name == f"audio:{tones}"


def test_notes_call_a_sound_a_sound(tones: Path):
    (tones / "high" / "copy.wav").write_bytes((tones / "high" / "00.wav").read_bytes())
    notes = open_dataset(f"audio:{tones}", quiet=True).notes
    assert any(note.startswith("A fifth of the sounds was held out as test") for note in notes)
    assert "Byte-identical to another sound and kept in the same split: 1 sound." in notes


def test_folders_of_splits_are_splits(tmp_path: Path):
    for split in ("train", "test"):
        write_tones(tmp_path / "tones" / split, PITCHES, 4)
    dataset = open_as_provided(f"audio:{tmp_path / 'tones'}")
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 8, "test": 8}


def test_classes_splits_and_speakers_come_from_names(recordings: Path):
    dataset = open_dataset(rf"audio:{recordings}:label=^(\d)_:test=_eve_:group=_([a-z]+)_", quiet=True)
    assert dataset.classes == ("0", "1", "2")
    assert set(dataset.splits["test"].groups) == {"eve"}
    assert {len(set(dataset.splits[name].groups)) for name in ("train", "validation")} == {1}
    assert open_dataset(dataset.name, quiet=True).assignment == dataset.assignment


def test_speakers_are_in_one_split_each(recordings: Path):
    dataset = open_dataset(rf"audio:{recordings}:label=^(\d)_:group=_([a-z]+)_", quiet=True)
    speakers = [set(split.groups) for split in dataset.splits.values()]
    assert [len(one) for one in speakers] == [1, 1, 1] and len(set.union(*speakers)) == 3


def test_sounds_without_a_label_in_their_names_are_skipped(recordings: Path):
    write_sound(recordings / "noise.wav", tone(100, 0.05))
    dataset = open_as_provided(rf"audio:{recordings}:label=^(\d)_")
    assert len(dataset.splits["train"]) == 54
    assert dataset.notes == (r"Skipped because label=^(\d)_ does not match their names: 1 sound.",)


def test_spoken_digits_have_their_official_split(recordings: Path, monkeypatch: pytest.MonkeyPatch):
    dataset = open_dataset(f"spoken-digits:{recordings.parent}", quiet=True)
    assert {name.rpartition("_")[2] for name in dataset.splits["test"].names} == {f"{n}.wav" for n in range(5)}
    assert all(name.endswith("_5.wav") for name in dataset.splits["train"].names)
    assert len(dataset.splits["test"]) == 45
    monkeypatch.setenv("MIXLAB_DATA", str(recordings.parents[1]))
    recordings.parent.rename(recordings.parents[1] / "free-spoken-digit-dataset")
    assert open_dataset("spoken-digits", quiet=True).assignment == dataset.assignment


def test_spoken_digits_of_a_speaker_can_be_the_test_split(recordings: Path):
    dataset = open_dataset(f"spoken-digits:{recordings.parent}:test=_bob_", quiet=True)
    assert all(("_bob_" in name) == (split == "test") for split, names in dataset.assignment.items() for name in names)
    assert open_dataset(dataset.name, quiet=True).assignment == dataset.assignment


def test_a_model_of_other_sounds_is_evaluated_on_all_of_them(tones: Path):
    assert len(open_for_evaluation(f"audio:{tones}", ("low", "high")).splits["test"]) == 30


def test_a_folder_of_images_is_refused(tmp_path: Path):
    for label in ("cat", "dog"):
        (tmp_path / "pets" / label).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)).save(tmp_path / "pets" / label / "a.png")
    with pytest.raises(UserError, match=r"audio:.*pets has no sounds: add a folder of sounds \(.wav, .flac, .ogg\)"):
        open_dataset(f"audio:{tmp_path / 'pets'}", quiet=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (":label=(", r"has an invalid regular expression .*, for example :label=\^\(\\w\+\?\)_"),
        (":label=^x(.)", "matches none of the 54 sounds, such as 0_ann_0.wav"),
        (r":label=^(\d)_:test=_zoe_", "puts none of the 54 sounds into the test split, such as 0_ann_0.wav"),
        (r":label=^(\d)_:test=_", "puts all of the 54 sounds into the test split"),
        (r":label=^(\d)_:group=wav", 'puts all sounds into one group, "wav"'),
        (r":label=^(\d)_:label=_", "has the same option twice: give each of label, test, group at most once"),
        ("", "has 54 sounds but no class folders: the class of a sound is the folder that contains it"),
    ],
)
def test_options_that_select_nothing_are_refused(recordings: Path, options: str, message: str):
    with pytest.raises(UserError, match=message):
        open_dataset(f"audio:{recordings}{options}", quiet=True)


def test_a_test_option_beside_folders_of_splits_is_refused(tmp_path: Path):
    for split in ("train", "test"):
        write_tones(tmp_path / "tones" / split, PITCHES, 3)
    with pytest.raises(UserError, match="has the splits test, train as folders: remove :test=, or merge"):
        open_dataset(f"audio:{tmp_path / 'tones'}:test=0", quiet=True)


def test_missing_folders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MIXLAB_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"audio:/missing does not exist .*: give a folder with a folder of sounds"):
        open_dataset("audio:/missing", quiet=True)
    with pytest.raises(UserError, match=r"is not a folder .*: give the folder that contains the sounds"):
        open_dataset("audio:/missing:label=x", quiet=True)
    with pytest.raises(UserError, match=r"spoken-digits is not at .*: clone https://github.com/Jakobovski/"):
        open_dataset("spoken-digits", quiet=True)
