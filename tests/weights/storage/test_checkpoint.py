"""Every kind of file of weights is opened, whole and lazily, without what a training keeps beside them."""

import argparse
import gzip
import json
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.weights.storage.checkpoint import Stored, open_checkpoint


def weights() -> dict[str, Tensor]:
    return {"stem.weight": torch.rand(3, 2), "stem.bias": torch.rand(3), "norm.num_batches_tracked": torch.tensor(7)}


def as_safetensors(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, path)


def as_npz(path: Path, tensors: dict[str, Tensor]) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **{name: tensor.numpy() for name, tensor in tensors.items()})


def as_packed_npz(path: Path, tensors: dict[str, Tensor]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **{name: tensor.numpy() for name, tensor in tensors.items()})


def as_zipped_pickle(path: Path, tensors: dict[str, Tensor]) -> None:
    torch.save(tensors, path)


def as_legacy_pickle(path: Path, tensors: dict[str, Tensor]) -> None:
    torch.save(tensors, path, _use_new_zipfile_serialization=False)


WRITERS = [as_safetensors, as_npz, as_packed_npz, as_zipped_pickle, as_legacy_pickle]


@pytest.mark.parametrize("write", WRITERS)
def test_the_tensors_come_back_bit_by_bit_under_any_suffix(tmp_path, write: Callable[[Path, dict[str, Tensor]], None]):
    tensors = weights()
    write(tmp_path / "download", tensors)
    checkpoint = open_checkpoint(tmp_path / "download")
    assert dict(checkpoint.stored) == {name: Stored(tuple(t.shape), t.dtype) for name, t in tensors.items()}
    assert all(torch.equal(checkpoint.tensor(name), tensor) for name, tensor in tensors.items())
    assert checkpoint.unwrapped == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("write", [as_safetensors, as_zipped_pickle, as_legacy_pickle])
def test_half_precision_stays_as_it_is(tmp_path, write, dtype):
    tensor = torch.rand(3, 2).to(dtype)
    write(tmp_path / "w", {"a": tensor})
    checkpoint = open_checkpoint(tmp_path / "w")
    assert checkpoint.stored["a"] == Stored((3, 2), dtype)
    assert torch.equal(checkpoint.tensor("a"), tensor)


def test_bfloat16_is_recovered_from_numpy_s_two_unknown_bytes(tmp_path):
    tensor = torch.rand(4, 3).bfloat16()
    np.savez(tmp_path / "w.npz", a=tensor.view(torch.int16).numpy().view("V2"))
    checkpoint = open_checkpoint(tmp_path / "w.npz")
    assert checkpoint.stored["a"] == Stored((4, 3), torch.bfloat16)
    assert torch.equal(checkpoint.tensor("a"), tensor)


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3).T, np.arange(6, dtype=">f4").reshape(3, 2)])
def test_an_array_of_another_order_of_axes_or_bytes_has_the_same_numbers(tmp_path, array):
    np.savez(tmp_path / "w.npz", a=array)
    assert np.array_equal(open_checkpoint(tmp_path / "w.npz").tensor("a").numpy(), array)


def test_a_training_s_npz_gives_its_parameters_alone(tmp_path):
    arrays = {"params/head/bias": np.ones(2, np.float32), "opt/0/mu": np.array("text"), "chrono": np.zeros(1)}
    np.savez(tmp_path / "w.npz", allow_pickle=False, **arrays)
    checkpoint = open_checkpoint(tmp_path / "w.npz")
    assert list(checkpoint.stored) == ["head/bias"]
    assert checkpoint.tensor("head/bias").tolist() == [1, 1]
    assert checkpoint.unwrapped == ("params/",)


@pytest.mark.parametrize("wrapper", ["state_dict_ema", "model_ema", "state_dict", "model", "params"])
def test_a_wrapper_is_taken_off_and_what_stands_beside_the_weights_is_left(tmp_path, wrapper):
    beside = {
        "epoch": 3,
        "arch": "mixer",
        "args": argparse.Namespace(lr=0.1),
        "optimizer": {"state": {0: torch.ones(1)}},
    }
    torch.save({**beside, wrapper: OrderedDict(weights())}, tmp_path / "w.pth.tar")
    checkpoint = open_checkpoint(tmp_path / "w.pth.tar")
    assert list(checkpoint.stored) == list(weights())
    assert checkpoint.unwrapped == (wrapper,)


@pytest.mark.parametrize("averaged", ["state_dict_ema", "model_ema"])
def test_the_averaged_weights_are_preferred_which_is_said(tmp_path, caplog, averaged):
    torch.save({"state_dict": {"a": torch.zeros(1)}, averaged: {"a": torch.ones(1)}}, tmp_path / "w.pth")
    assert open_checkpoint(tmp_path / "w.pth").tensor("a").tolist() == [1]
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"holds {averaged} and state_dict: {averaged} is read" in line


def test_averaged_weights_that_are_none_are_passed_over(tmp_path, caplog):
    torch.save({"state_dict": weights(), "state_dict_ema": None}, tmp_path / "w.pth")
    assert open_checkpoint(tmp_path / "w.pth").unwrapped == ("state_dict",)
    assert not caplog.records


@pytest.mark.parametrize(
    ("prefix", "splits"),
    [
        ("module.", ("module.",)),
        ("_orig_mod.", ("_orig_mod.",)),
        ("_orig_mod.module.", ("_orig_mod.", "module.")),
        ("module._orig_mod.", ("module.", "_orig_mod.")),
    ],
)
@pytest.mark.parametrize("write", [as_safetensors, as_zipped_pickle])
def test_a_prefix_of_all_names_is_taken_off(tmp_path, write, prefix, splits):
    tensors = weights()
    write(tmp_path / "w", {prefix + name: tensor for name, tensor in tensors.items()})
    checkpoint = open_checkpoint(tmp_path / "w")
    assert checkpoint.stored.keys() == tensors.keys()
    assert torch.equal(checkpoint.tensor("stem.weight"), tensors["stem.weight"])
    assert checkpoint.unwrapped == splits


def test_a_prefix_of_some_names_stays(tmp_path):
    save_file({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "w.safetensors")
    assert set(open_checkpoint(tmp_path / "w.safetensors").stored) == {"module.a", "b"}


def test_a_training_checkpoint_of_timm_s_opens(tmp_path):
    utils = pytest.importorskip("timm.utils")
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.rand(4, 2)).sum().backward()
    optimizer.step()
    options = argparse.Namespace(model="mixer_b16_224", lr=0.1, betas=(0.9, 0.999), mean=np.float64(0.5))
    saver = utils.CheckpointSaver(
        model, optimizer, options, model_ema=utils.ModelEmaV2(model), checkpoint_dir=tmp_path, recovery_dir=tmp_path
    )
    saver.save_checkpoint(3, metric=np.float64(76.5))
    checkpoint = open_checkpoint(tmp_path / "last.pth.tar")
    assert checkpoint.stored.keys() == model.state_dict().keys()
    assert checkpoint.unwrapped == ("state_dict_ema",)
    assert all(torch.equal(checkpoint.tensor(name), tensor) for name, tensor in model.state_dict().items())


def test_numpy_1_s_spelling_of_a_number_beside_the_weights_is_read_over(tmp_path):
    torch.save({"model": weights(), "best": np.float32(1.5)}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    older = (tmp_path / "w.pth").read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (tmp_path / "w.pth").write_bytes(older)
    assert open_checkpoint(tmp_path / "w.pth").unwrapped == ("model",)


def test_parameters_are_as_good_as_tensors(tmp_path):
    torch.save({"a": nn.Parameter(torch.ones(2))}, tmp_path / "w.pth")
    assert not open_checkpoint(tmp_path / "w.pth").tensor("a").requires_grad


def sharded(folder: Path) -> dict[str, Tensor]:
    """model.safetensors.index.json and two files; the tensors, in the index's order."""
    tensors = weights()
    shard_of = dict(zip(tensors, ["model-2.safetensors", "model-1.safetensors", "model-2.safetensors"], strict=True))
    for shard in set(shard_of.values()):
        save_file({name: tensor for name, tensor in tensors.items() if shard_of[name] == shard}, folder / shard)
    index = {"metadata": {"total_size": 44}, "weight_map": shard_of}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return tensors


@pytest.mark.parametrize("given", [".", "model.safetensors.index.json"])
def test_a_model_in_several_files_is_one(tmp_path, given):
    tensors = sharded(tmp_path)
    checkpoint = open_checkpoint(tmp_path / given)
    assert checkpoint.path == tmp_path / "model.safetensors.index.json"
    assert list(checkpoint.stored) == list(tensors)
    assert all(torch.equal(checkpoint.tensor(name), tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["model.safetensors", "pytorch_model.bin", "other.safetensors"], "model.safetensors"),
        (["pytorch_model.bin", "training_args.bin"], "pytorch_model.bin"),
        (["Mixer-B_16.npz", "README.md"], "Mixer-B_16.npz"),
        (["model_best.pth.tar", "summary.csv"], "model_best.pth.tar"),
    ],
)
def test_a_folder_s_file_of_weights_is_found(tmp_path, names, taken):
    for name in names:
        as_safetensors(tmp_path / name, weights())
    assert open_checkpoint(tmp_path).path == tmp_path / taken


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["b.npz", "a.safetensors"], r"holds several files of weights, a\.safetensors, b\.npz, .*give the path"),
        (["README.md"], r"holds no file of weights: give the folder"),
    ],
)
def test_a_folder_with_several_or_none_says_which(tmp_path, names, words):
    for name in names:
        as_safetensors(tmp_path / name, weights())
    with pytest.raises(UserError, match=words):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("write", [as_safetensors, as_zipped_pickle])
def test_tensors_are_mapped_and_not_read(tmp_path, write):
    """What changes in the file after it is opened shows."""
    write(tmp_path / "w", {"a": torch.full((1000,), 1.5)})
    checkpoint = open_checkpoint(tmp_path / "w")
    content = (tmp_path / "w").read_bytes()
    with (tmp_path / "w").open("r+b") as file:
        file.write(
            content.replace(torch.full((1000,), 1.5).numpy().tobytes(), torch.full((1000,), 2.5).numpy().tobytes())
        )
    assert checkpoint.tensor("a").unique().tolist() == [2.5]


def test_an_npz_is_read_when_a_tensor_is_asked_for(tmp_path):
    """Damage to one array is met with that array."""
    damaged = np.full(5000, 2.5)
    np.savez(tmp_path / "w.npz", a=np.full(9, 1.5), b=damaged)
    content = (tmp_path / "w.npz").read_bytes()
    (tmp_path / "w.npz").write_bytes(content.replace(damaged.tobytes(), (damaged + 1).tobytes()))
    checkpoint = open_checkpoint(tmp_path / "w.npz")
    assert checkpoint.tensor("a").tolist() == [1.5] * 9
    with pytest.raises(UserError, match=r"no whole numpy archive \(Bad CRC-32 for file 'b\.npy'\)"):
        checkpoint.tensor("b")


def empty(path: Path):
    path.write_bytes(b"")


def absent(path: Path):
    pass


def error_page(path: Path):
    path.write_text("\n<!DOCTYPE html><html><body>404 Not Found</body></html>")


def error_in_xml(path: Path):
    path.write_text("<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>")


def lfs_pointer(path: Path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")


def text(path: Path):
    path.write_text("Repository not found, or you are not logged in.")


def single_array(path: Path):
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def tar(path: Path):
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("w.pth"))


def gzipped(path: Path):
    path.write_bytes(gzip.compress(save({"a": torch.ones(1)})))


def keras(path: Path):
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(500))


def noise(path: Path):
    path.write_bytes(bytes(range(200, 256)) * 9)


def zip_of_texts(path: Path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "weights")


@pytest.mark.parametrize(
    ("make", "file", "words"),
    [
        (empty, "w.pth", "w.pth is empty"),
        (absent, "w.pth", r"can't be read \(No such file or directory\)"),
        (error_page, "w.npz", "a web page, as a server sends instead"),
        (error_in_xml, "w.safetensors", "a web page, as a server sends instead"),
        (lfs_pointer, "w.bin", "git-LFS's pointer to the weights: run `git lfs pull`"),
        (text, "w.pth", "is text, not weights"),
        (single_array, "w.npz", "a single array of numpy's: give the .npz"),
        (tar, "w.pth.tar", "a tar archive: unpack it first"),
        (gzipped, "w.gz", "packed by gzip: unpack it first"),
        (keras, "w.h5", "HDF5, of Keras or TensorFlow"),
        (noise, "w.pth", "no file of weights that mixlab knows"),
        (zip_of_texts, "w.zip", "a zip of other things than weights"),
    ],
)
def test_what_is_no_file_of_weights_is_said_to_be_something_else(tmp_path, refused, make, file, words):
    make(tmp_path / file)
    refused(tmp_path / file, words)
