"""Safetensors: memory-mapped, tensor by tensor; one file, or several and the index that names them."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from mixlab.errors import UserError
from mixlab.weights.storage.stored import Contents, Stored

_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "U16": torch.uint16,
    "U32": torch.uint32,
    "U64": torch.uint64,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
}


def open_safetensors(path: Path) -> Contents:
    """Its library holds the header against the file: offsets that lie, overlap or leave a gap are refused."""
    try:
        file = safe_open(path, framework="pt")
    except SafetensorError as error:
        raise UserError(
            f"{path} is no whole safetensors file ({error}): it was cut off or damaged on its way. Fetch it anew."
        ) from error
    stored = {}
    for name in file.offset_keys():
        tensor = file.get_slice(name)
        if (dtype := tensor.get_dtype()) not in _DTYPES:
            raise UserError(
                f"{path} holds {name} as {dtype}: mixlab reads floating-point, whole and true-or-false numbers. "
                "Save it as one of these."
            )
        stored[name] = Stored(tuple(tensor.get_shape()), _DTYPES[dtype])
    return Contents(stored, file.get_tensor)


def open_index(path: Path) -> Contents:
    """The tensors of all the files that `path`, *.safetensors.index.json, names, in its order."""
    shard_of = _shard_of(path)
    shards = {}
    for shard in dict.fromkeys(shard_of.values()):
        if not (path.parent / shard).is_file():
            raise UserError(
                f"{path} names {shard}, which is not beside it: the weights are whole only with all their files. "
                f"Fetch {shard} into {path.parent}."
            )
        shards[shard] = open_safetensors(path.parent / shard)
    held = {(name, shard) for shard, contents in shards.items() for name in contents.stored}
    if differing := sorted(held ^ set(shard_of.items())):
        name, shard = differing[0]
        side = "is missing there" if (name, shard) not in held else "is in that file alone"
        raise UserError(
            f"{path} and its files do not agree: {name} of {shard} {side}. They are of different downloads; fetch all "
            "of them anew."
        )
    stored = {name: shards[shard].stored[name] for name, shard in shard_of.items()}
    return Contents(stored, lambda name: shards[shard_of[name]].tensor(name))


def _shard_of(path: Path) -> dict[str, str]:
    """The name of the file of each tensor: a plain name, so that an index opens nothing outside its folder."""
    try:
        index = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON ({error}): it was cut off on its way. Fetch it anew.") from error
    shard_of = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shard_of, dict) or not shard_of:
        raise UserError(
            f'{path} has no "weight_map": the index of a model in several files says there which file holds each '
            "tensor. Fetch it anew, or give the file of weights itself."
        )
    for name, shard in shard_of.items():
        if not isinstance(shard, str) or Path(shard).name != shard or shard == "..":
            raise UserError(
                f"{path} says that {name} is in {shard!r}: an index names files of its own folder alone. "
                "Do not trust it, and fetch the model from where it was published."
            )
    return shard_of
