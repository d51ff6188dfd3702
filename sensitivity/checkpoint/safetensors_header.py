"""Safetensors: names, dtypes, shapes and offsets of a directory's tensors, without reading a weight.

A file is an 8-byte little-endian header length, a JSON header, then the data. Everything a header claims is checked
against the file's real size, so that a truncated or patched shard is found here and not in the middle of a job.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeGuard

from sensitivity.checkpoint.tensors import StoredTensor, WeightFile
from sensitivity.errors import CorruptCheckpointError, NoWeightsError

HEADER_LIMIT: Final = 100_000_000
SINGLE: Final = "model.safetensors"
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
_ADVICE: Final = "download or copy it again"


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
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise _corrupt(path, f"its header should have {length} bytes but the file has {size}: it is truncated")
        if length > HEADER_LIMIT:
            raise _corrupt(path, f"its header has {length} bytes; at most {HEADER_LIMIT} are read")
        raw = file.read(length)
    header = load_json(raw, path)
    header.pop("__metadata__", None)
    tensors = tuple(_tensor(name, entry, path, 8 + length) for name, entry in header.items())
    _check_layout(tensors, path, start=8 + length, size=size)
    return WeightFile(path, size, hashlib.sha256(raw).hexdigest(), tensors)


def load_json(raw: bytes, path: Path) -> dict[str, object]:
    """A JSON object without repeated keys.

    Raises:
        CorruptCheckpointError: anything else.
    """
    try:
        value = json.loads(raw, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError) as error:
        raise _corrupt(path, f"its JSON cannot be read ({error})") from error
    if not isinstance(value, dict):
        raise _corrupt(path, "its JSON is no object")
    return value


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        msg = f"key {next(name for name in names if names.count(name) > 1)!r} appears twice"
        raise ValueError(msg)
    return value


def _tensor(name: str, entry: object, path: Path, start: int) -> StoredTensor:
    if not isinstance(entry, dict):
        raise _corrupt(path, f"the entry of tensor {name!r} is no object")
    shape, offsets, dtype = entry.get("shape"), entry.get("data_offsets"), entry.get("dtype")
    if not (_naturals(shape) and _naturals(offsets) and len(offsets) == 2):
        raise _corrupt(path, f"tensor {name!r} has no valid shape and data_offsets")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise _corrupt(path, f"tensor {name!r} has the unknown dtype {dtype!r}")
    named, width = DTYPES[dtype]
    first, end = offsets
    if end - first != math.prod(shape) * width:
        raise _corrupt(path, f"tensor {name!r} of shape {shape} and dtype {dtype} cannot have {end - first} bytes")
    return StoredTensor(name, named, tuple(shape), path, start + first, end - first)


def _naturals(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _check_layout(tensors: tuple[StoredTensor, ...], path: Path, *, start: int, size: int) -> None:
    at = start
    for tensor in sorted(tensors, key=lambda t: (t.offset, t.nbytes)):
        if tensor.offset != at:
            raise _corrupt(path, f"tensor {tensor.name!r} starts at byte {tensor.offset} instead of {at}")
        at += tensor.nbytes
    if at != size:
        what = "it is truncated" if size < at else "something was appended"
        raise _corrupt(path, f"its header describes {at} bytes but the file has {size}: {what}")


def _weight_map(index: Path) -> dict[str, str]:
    places = load_json(index.read_bytes(), index).get("weight_map")
    if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
        raise _corrupt(index, "it has no weight_map from tensors to files")
    return places


def _shard(directory: Path, name: str) -> Path:
    if Path(name).name != name or name in (".", ".."):
        raise _corrupt(directory / INDEX, f"it names the shard {name!r}, which is not a file name within the directory")
    if not (directory / name).is_file():
        raise _corrupt(directory / INDEX, f"it names the shard {name!r}, which is not there")
    return directory / name


def _compare(files: list[WeightFile], places: Mapping[str, str]) -> None:
    found: dict[str, Path] = {}
    for file in files:
        for tensor in file.tensors:
            if tensor.name in found:
                raise _corrupt(file.path, f"tensor {tensor.name!r} is in {found[tensor.name].name} too")
            found[tensor.name] = file.path
    for name, place in places.items():
        if name not in found or found[name].name != place:
            raise _corrupt(files[0].path.parent / place, f"the index places tensor {name!r} there, but it is not in the file")


def _without_weights(directory: Path) -> str:
    files = sorted(path.name for path in directory.iterdir())
    pickles = [name for name in files if name.endswith((".bin", ".pt", ".pth"))]
    ggufs = [name for name in files if name.endswith(".gguf")]
    others = [name for name in files if name.endswith(".safetensors")]
    missing = f"{directory} holds neither {SINGLE} nor {INDEX}"
    if ggufs:
        return f"{missing}; give the path of the GGUF file itself, such as {directory / ggufs[0]}"
    if others:
        return f"{missing}, only {', '.join(others[:3])}: merge an adapter into its base model, rename a lone file to {SINGLE}"
    if pickles:
        return f"{missing}, only pickles ({', '.join(pickles[:3])}), which are never opened: convert them to safetensors"
    return f"{missing}: point to the directory that holds the weights"


def _corrupt(path: Path, what: str) -> CorruptCheckpointError:
    return CorruptCheckpointError(f"{path} is corrupt: {what}; {_ADVICE}")
