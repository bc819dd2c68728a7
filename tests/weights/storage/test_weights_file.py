"""Every type of weights file is opened completely and lazily, without the other content of training checkpoints."""

import argparse
import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mixlab.errors import UserError
from mixlab.weights.storage.weights_file import TensorInfo, open_weights_file


def weights() -> dict[str, Tensor]:
    return {"stem.weight": torch.rand(3, 2), "stem.bias": torch.rand(3), "norm.num_batches_tracked": torch.tensor(7)}


def as_safetensors(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, path)


def as_npz(path: Path, tensors: dict[str, Tensor]) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **{name: tensor.numpy() for name, tensor in tensors.items()})


def as_compressed_npz(path: Path, tensors: dict[str, Tensor]) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **{name: tensor.numpy() for name, tensor in tensors.items()})


def as_zipped_pickle(path: Path, tensors: dict[str, Tensor]) -> None:
    torch.save(tensors, path)


def as_legacy_pickle(path: Path, tensors: dict[str, Tensor]) -> None:
    torch.save(tensors, path, _use_new_zipfile_serialization=False)


WRITERS = [as_safetensors, as_npz, as_compressed_npz, as_zipped_pickle, as_legacy_pickle]


@pytest.mark.parametrize("write", WRITERS)
def test_tensors_are_read_bit_for_bit_without_a_suffix(tmp_path, write: Callable[[Path, dict[str, Tensor]], None]):
    tensors = weights()
    write(tmp_path / "download", tensors)
    opened = open_weights_file(tmp_path / "download")
    assert dict(opened.stored) == {name: TensorInfo(tuple(t.shape), t.dtype) for name, t in tensors.items()}
    assert all(torch.equal(opened.tensor(name), tensor) for name, tensor in tensors.items())
    assert opened.unwrapped == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("write", [as_safetensors, as_zipped_pickle, as_legacy_pickle])
def test_half_precision_is_preserved(tmp_path, write, dtype):
    tensor = torch.rand(3, 2).to(dtype)
    write(tmp_path / "w", {"a": tensor})
    opened = open_weights_file(tmp_path / "w")
    assert opened.stored["a"] == TensorInfo((3, 2), dtype)
    assert torch.equal(opened.tensor("a"), tensor)


def test_bfloat16_is_restored_from_the_numpy_dtype_v2(tmp_path):
    tensor = torch.rand(4, 3).bfloat16()
    np.savez(tmp_path / "w.npz", a=tensor.view(torch.int16).numpy().view("V2"))
    opened = open_weights_file(tmp_path / "w.npz")
    assert opened.stored["a"] == TensorInfo((4, 3), torch.bfloat16)
    assert torch.equal(opened.tensor("a"), tensor)


@pytest.mark.parametrize("array", [np.arange(6.0).reshape(2, 3).T, np.arange(6, dtype=">f4").reshape(3, 2)])
def test_fortran_order_and_big_endian_arrays_are_read(tmp_path, array):
    np.savez(tmp_path / "w.npz", a=array)
    assert np.array_equal(open_weights_file(tmp_path / "w.npz").tensor("a").numpy(), array)


def test_only_the_parameters_of_a_training_npz_are_read(tmp_path):
    arrays = {"params/head/bias": np.ones(2, np.float32), "opt/0/mu": np.array("text"), "chrono": np.zeros(1)}
    np.savez(tmp_path / "w.npz", allow_pickle=False, **arrays)
    opened = open_weights_file(tmp_path / "w.npz")
    assert list(opened.stored) == ["head/bias"]
    assert opened.tensor("head/bias").tolist() == [1, 1]
    assert opened.unwrapped == ("params/",)


@pytest.mark.parametrize(
    "wrapper", ["state_dict_ema", "model_ema", "state_dict", "model", "params", "model_state_dict", "net"]
)
def test_a_wrapper_is_removed_and_other_content_is_ignored(tmp_path, wrapper):
    other_content = {
        "epoch": 3,
        "loss": torch.tensor(0.5),
        "arch": "mixer",
        "args": argparse.Namespace(lr=0.1),
        "optimizer": {"state": {0: torch.ones(1)}},
    }
    torch.save({**other_content, wrapper: OrderedDict(weights())}, tmp_path / "w.pth.tar")
    opened = open_weights_file(tmp_path / "w.pth.tar")
    assert list(opened.stored) == list(weights())
    assert opened.unwrapped == (wrapper,)


def test_a_dictionary_beside_as_many_tensors_is_not_a_wrapper(tmp_path):
    torch.save({**weights(), "statistics": {"a": torch.ones(1)}}, tmp_path / "w.pth")
    assert list(open_weights_file(tmp_path / "w.pth").stored) == list(weights())


def test_one_of_several_dictionaries_of_tensors_is_not_guessed(tmp_path):
    torch.save({"student": weights(), "teacher": weights(), "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(
        UserError,
        match=r"w.pth contains several dictionaries of tensors \(student, teacher\), and none is under a known key "
        r"\(.*model_state_dict\): save only the one of the model, for example "
        r"torch.save\(checkpoint\['student'\], FILE\)",
    ):
        open_weights_file(tmp_path / "w.pth")


@pytest.mark.parametrize("averaged", ["state_dict_ema", "model_ema"])
def test_averaged_weights_are_preferred_with_a_warning(tmp_path, caplog, averaged):
    torch.save({"state_dict": {"a": torch.zeros(1)}, averaged: {"a": torch.ones(1)}}, tmp_path / "w.pth")
    assert open_weights_file(tmp_path / "w.pth").tensor("a").tolist() == [1]
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"contains {averaged} and state_dict: using {averaged}, the weights averaged" in line


def test_averaged_weights_of_none_are_ignored(tmp_path, caplog):
    torch.save({"state_dict": weights(), "state_dict_ema": None}, tmp_path / "w.pth")
    assert open_weights_file(tmp_path / "w.pth").unwrapped == ("state_dict",)
    assert not caplog.records


@pytest.mark.parametrize(
    ("prefix", "unwrapped"),
    [
        ("module.", ("module.",)),
        ("_orig_mod.", ("_orig_mod.",)),
        ("_orig_mod.module.", ("_orig_mod.", "module.")),
        ("module._orig_mod.", ("module.", "_orig_mod.")),
    ],
)
@pytest.mark.parametrize("write", [as_safetensors, as_zipped_pickle])
def test_a_prefix_of_all_names_is_removed(tmp_path, write, prefix, unwrapped):
    tensors = weights()
    write(tmp_path / "w", {prefix + name: tensor for name, tensor in tensors.items()})
    opened = open_weights_file(tmp_path / "w")
    assert opened.stored.keys() == tensors.keys()
    assert torch.equal(opened.tensor("stem.weight"), tensors["stem.weight"])
    assert opened.unwrapped == unwrapped


def test_a_prefix_of_some_names_is_kept(tmp_path):
    save_file({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "w.safetensors")
    assert set(open_weights_file(tmp_path / "w.safetensors").stored) == {"module.a", "b"}


def test_the_count_of_an_averaged_model_is_not_a_weight(tmp_path):
    model = nn.Linear(2, 1)
    torch.save(torch.optim.swa_utils.AveragedModel(model).state_dict(), tmp_path / "w.pth")
    opened = open_weights_file(tmp_path / "w.pth")
    assert opened.stored.keys() == {"weight", "bias"}
    assert torch.equal(opened.tensor("weight"), model.weight)


def test_a_tensor_named_n_averaged_in_another_model_is_kept(tmp_path):
    torch.save({"n_averaged": torch.tensor(1), "weight": torch.ones(1)}, tmp_path / "w.pth")
    assert set(open_weights_file(tmp_path / "w.pth").stored) == {"n_averaged", "weight"}


def test_a_training_checkpoint_of_timm_is_read(tmp_path):
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
    opened = open_weights_file(tmp_path / "last.pth.tar")
    assert opened.stored.keys() == model.state_dict().keys()
    assert opened.unwrapped == ("state_dict_ema",)
    assert all(torch.equal(opened.tensor(name), tensor) for name, tensor in model.state_dict().items())


def test_scalars_pickled_by_numpy_1_are_ignored(tmp_path):
    torch.save({"model": weights(), "best": np.float32(1.5)}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    older = (tmp_path / "w.pth").read_bytes().replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (tmp_path / "w.pth").write_bytes(older)
    assert open_weights_file(tmp_path / "w.pth").unwrapped == ("model",)


def test_parameters_are_read_as_tensors(tmp_path):
    torch.save({"a": nn.Parameter(torch.ones(2))}, tmp_path / "w.pth")
    assert not open_weights_file(tmp_path / "w.pth").tensor("a").requires_grad


def sharded(folder: Path) -> dict[str, Tensor]:
    """Writes model.safetensors.index.json and two files. Returns the tensors in the order of the index."""
    tensors = weights()
    shard_of = dict(zip(tensors, ["model-2.safetensors", "model-1.safetensors", "model-2.safetensors"], strict=True))
    for shard in set(shard_of.values()):
        save_file({name: tensor for name, tensor in tensors.items() if shard_of[name] == shard}, folder / shard)
    index = {"metadata": {"total_size": 44}, "weight_map": shard_of}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return tensors


@pytest.mark.parametrize("given", [".", "model.safetensors.index.json"])
def test_a_sharded_model_is_read(tmp_path, given):
    tensors = sharded(tmp_path)
    opened = open_weights_file(tmp_path / given)
    assert opened.path == tmp_path / "model.safetensors.index.json"
    assert list(opened.stored) == list(tensors)
    assert all(torch.equal(opened.tensor(name), tensor) for name, tensor in tensors.items())


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["model.safetensors", "pytorch_model.bin", "other.safetensors"], "model.safetensors"),
        (["pytorch_model.bin", "training_args.bin"], "pytorch_model.bin"),
        (["Mixer-B_16.npz", "README.md"], "Mixer-B_16.npz"),
        (["model_best.pth.tar", "summary.csv"], "model_best.pth.tar"),
    ],
)
def test_the_weights_file_of_a_folder_is_found(tmp_path, names, expected):
    for name in names:
        as_safetensors(tmp_path / name, weights())
    assert open_weights_file(tmp_path).path == tmp_path / expected


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (["b.npz", "a.safetensors"], r"contains several weights files \(a\.safetensors, b\.npz\), .*give the path"),
        (["README.md"], r"contains no weights file: give the folder"),
    ],
)
def test_a_folder_with_several_weights_files_or_none_is_refused(tmp_path, names, pattern):
    for name in names:
        as_safetensors(tmp_path / name, weights())
    with pytest.raises(UserError, match=pattern):
        open_weights_file(tmp_path)


@pytest.mark.parametrize("write", [as_safetensors, as_zipped_pickle])
def test_tensors_are_memory_mapped(tmp_path, write):
    """A change of the file after it is opened is visible."""
    write(tmp_path / "w", {"a": torch.full((1000,), 1.5)})
    opened = open_weights_file(tmp_path / "w")
    content = (tmp_path / "w").read_bytes()
    with (tmp_path / "w").open("r+b") as file:
        file.write(
            content.replace(torch.full((1000,), 1.5).numpy().tobytes(), torch.full((1000,), 2.5).numpy().tobytes())
        )
    assert opened.tensor("a").unique().tolist() == [2.5]


def test_npz_arrays_are_read_lazily(tmp_path):
    """Damage to one array raises only when that array is read."""
    damaged = np.full(5000, 2.5)
    np.savez(tmp_path / "w.npz", a=np.full(9, 1.5), b=damaged)
    content = (tmp_path / "w.npz").read_bytes()
    (tmp_path / "w.npz").write_bytes(content.replace(damaged.tobytes(), (damaged + 1).tobytes()))
    opened = open_weights_file(tmp_path / "w.npz")
    assert opened.tensor("a").tolist() == [1.5] * 9
    with pytest.raises(UserError, match=r"not a complete NumPy archive \(Bad CRC-32 for file 'b\.npy'\)"):
        opened.tensor("b")
