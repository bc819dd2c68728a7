"""Safetensors files: one file, or several files with an index. Tensors are memory-mapped and read one at a time."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from mixlab.errors import UserError
from mixlab.weights.storage.contents import FileContents, TensorInfo

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


def open_safetensors(path: Path) -> FileContents:
    """Opens one safetensors file.

    Raises UserError if the file is damaged or has a dtype that is not supported. The safetensors library checks the
    header: wrong offsets, overlaps and gaps are errors.
    """
    try:
        file = safe_open(path, framework="pt")
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a complete safetensors file ({error}): it is truncated or damaged. Download it again."
        ) from error
    stored = {}
    for name in file.offset_keys():
        tensor = file.get_slice(name)
        if (dtype := tensor.get_dtype()) not in _DTYPES:
            raise UserError(
                f"{path} stores {name} as {dtype}: mixlab reads floating-point, integer and boolean tensors. "
                "Save it as one of these."
            )
        stored[name] = TensorInfo(tuple(tensor.get_shape()), _DTYPES[dtype])
    return FileContents(stored, file.get_tensor)


def open_index(path: Path) -> FileContents:
    """Opens all files that an index (*.safetensors.index.json) lists; the tensors are in the order of the index.

    Raises UserError if the index is damaged, if a file is missing, or if the index and the files disagree.
    """
    shard_of = _shard_of(path)
    shards = {}
    for shard in dict.fromkeys(shard_of.values()):
        if not (path.parent / shard).is_file():
            raise UserError(
                f"{path} lists {shard}, which does not exist: all files of the model are needed. "
                f"Download {shard} into {path.parent}."
            )
        shards[shard] = open_safetensors(path.parent / shard)
    stored_pairs = {(name, shard) for shard, contents in shards.items() for name in contents.stored}
    if differing := sorted(stored_pairs ^ set(shard_of.items())):
        name, shard = differing[0]
        problem = "is missing from that file" if (name, shard) not in stored_pairs else "is missing from the index"
        raise UserError(
            f"{path} and its files disagree: {name} of {shard} {problem}. They come from different downloads: download "
            "all of them again."
        )
    stored = {name: shards[shard].stored[name] for name, shard in shard_of.items()}
    return FileContents(stored, lambda name: shards[shard_of[name]].tensor(name))


def _shard_of(path: Path) -> dict[str, str]:
    """File name by tensor name. Only plain file names are accepted, so an index can't open files of other folders."""
    try:
        index = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}): it is truncated. Download it again.") from error
    shard_of = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shard_of, dict) or not shard_of:
        raise UserError(
            f'{path} has no "weight_map", which maps each tensor to its file. Download it again, or give the weights '
            "file itself."
        )
    for name, shard in shard_of.items():
        if not isinstance(shard, str) or Path(shard).name != shard or shard == "..":
            raise UserError(
                f"{path} maps {name} to {shard!r}: an index may only name files of its own folder. "
                "Do not trust this file, and download the model from its original source."
            )
    return shard_of
