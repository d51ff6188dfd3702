"""Safetensors: names, dtypes, shapes and offsets of a directory's tensors, without reading a weight.

A file is an 8-byte little-endian header length, a JSON header, then the data. Everything a header claims is checked
against the file's real size, so that a truncated or patched shard is found here and not in the middle of a job.
"""

import hashlib
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeGuard

from sensitivity.checkpoint.tensors import StoredTensor, WeightFile
from sensitivity.checkpoint.untrusted import INDEX_LIMIT, corrupt, load_json, read_json, shown
from sensitivity.errors import NoWeightsError

HEADER_LIMIT: Final = 100_000_000
NAME_LIMIT: Final = 500
DIMENSION_LIMIT: Final = 8
SINGLE: Final = "model.safetensors"
SUFFIX: Final = ".safetensors"
INDEX: Final = "model.safetensors.index.json"
DTYPES: Final[Mapping[str, tuple[str, int]]] = {
    "BOOL": ("bool", 1),
    "U8": ("uint8", 1),
    "I8": ("int8", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E8M0": ("float8_e8m0fnu", 1),
    "I16": ("int16", 2),
    "U16": ("uint16", 2),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "I32": ("int32", 4),
    "U32": ("uint32", 4),
    "F32": ("float32", 4),
    "F64": ("float64", 8),
    "I64": ("int64", 8),
    "U64": ("uint64", 8),
}


def read_directory(directory: Path) -> list[WeightFile]:
    """Headers of the model's safetensors, sorted by file name: ``model.safetensors``, or the shards of its index.

    Raises:
        NoWeightsError: neither exists.
        CorruptCheckpointError: a shard is missing, cannot be read, or disagrees with the index.
    """
    if (directory / SINGLE).is_file():
        return [read_header(directory / SINGLE)]
    if not (directory / INDEX).is_file():
        raise NoWeightsError(_without_weights(directory))
    places = _weight_map(directory / INDEX)
    files = [read_header(_shard(directory, name)) for name in sorted(set(places.values()))]
    _compare(files, places)
    return files


def read_header(path: Path) -> WeightFile:
    """Header of one file.

    Raises:
        CorruptCheckpointError: the header cannot be read, or its offsets do not fit the file.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise corrupt(path, f"its header should have {length} bytes but the file has {size}: it is truncated")
        if length > HEADER_LIMIT:
            raise corrupt(path, f"its header has {length} bytes; at most {HEADER_LIMIT} are read")
        raw = file.read(length)
    header = load_json(raw, path)
    header.pop("__metadata__", None)
    tensors = tuple(_tensor(name, entry, path, 8 + length) for name, entry in header.items())
    _check_layout(tensors, path, start=8 + length, size=size)
    return WeightFile(path, size, hashlib.sha256(raw).hexdigest(), tensors)


def _tensor(name: str, entry: object, path: Path, start: int) -> StoredTensor:
    if len(name) > NAME_LIMIT or not name.isprintable():
        raise corrupt(path, f"{shown(name)} is no name of a tensor")
    if not isinstance(entry, dict):
        raise corrupt(path, f"the entry of tensor {name!r} is no object")
    shape, offsets, dtype = entry.get("shape"), entry.get("data_offsets"), entry.get("dtype")
    if not (_naturals(shape) and _naturals(offsets) and len(offsets) == 2):
        raise corrupt(path, f"tensor {name!r} has no valid shape and data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise corrupt(path, f"tensor {name!r} has the unknown dtype {shown(dtype)}")
    named, width = DTYPES[dtype]
    first, end = offsets
    if end - first != math.prod(shape) * width:
        raise corrupt(path, f"tensor {name!r} of shape {shape} and dtype {dtype} cannot have {end - first} bytes")
    return StoredTensor(name, named, tuple(shape), path, start + first, end - first)


def _naturals(value: object) -> TypeGuard[list[int]]:
    return (
        isinstance(value, list)
        and len(value) <= DIMENSION_LIMIT
        and all(type(item) is int and 0 <= item < 2**63 for item in value)
    )


def _check_layout(tensors: tuple[StoredTensor, ...], path: Path, *, start: int, size: int) -> None:
    at = start
    for tensor in sorted(tensors, key=lambda t: (t.offset, t.nbytes)):
        if tensor.offset != at:
            raise corrupt(path, f"tensor {tensor.name!r} starts at byte {tensor.offset} instead of {at}")
        at += tensor.nbytes
    if at != size:
        what = "it is truncated" if size < at else "something was appended"
        raise corrupt(path, f"its header describes {at} bytes but the file has {size}: {what}")


def _weight_map(index: Path) -> dict[str, str]:
    places = read_json(index, limit=INDEX_LIMIT).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise corrupt(index, "it has no weight_map from tensors to files")
    return places


def _shard(directory: Path, name: str) -> Path:
    if Path(name).name != name or not name.endswith(SUFFIX):
        raise corrupt(directory / INDEX, f"it names the shard {shown(name)}, which is not the name of a {SUFFIX} file")
    if not (directory / name).is_file():
        raise corrupt(directory / INDEX, f"it names the shard {shown(name)}, which is not there")
    return directory / name


def _compare(files: list[WeightFile], places: Mapping[str, str]) -> None:
    found: dict[str, Path] = {}
    for file in files:
        for tensor in file.tensors:
            if tensor.name in found:
                raise corrupt(file.path, f"tensor {tensor.name!r} is in {found[tensor.name].name} too")
            found[tensor.name] = file.path
    for name, place in places.items():
        if name not in found or found[name].name != place:
            raise corrupt(files[0].path.parent / place, f"the index places tensor {shown(name)} there, but it is not in the file")


def _without_weights(directory: Path) -> str:
    files = sorted(path.name for path in directory.iterdir())
    pickles = [name for name in files if name.endswith((".bin", ".pt", ".pth"))]
    ggufs = [name for name in files if name.endswith(".gguf")]
    others = [name for name in files if name.endswith(SUFFIX)]
    missing = f"{directory} holds neither {SINGLE} nor {INDEX}"
    if ggufs:
        return f"{missing}; give the path of the GGUF file itself, such as {directory / ggufs[0]}"
    if others:
        return f"{missing}, only {', '.join(others[:3])}: merge an adapter into its base model, rename a lone file to {SINGLE}"
    if pickles:
        return f"{missing}, only pickles ({', '.join(pickles[:3])}), which are never opened: convert them to safetensors"
    return f"{missing}: point to the directory that holds the weights"
