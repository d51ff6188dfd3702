"""How many bytes a checkpoint of safetensors takes beside its tensors, and the texts that take them. No torch here.

A file is eight bytes of length, a JSON header, and the data. A header may end in spaces, which every reader skips: so a file can
be given a size that was promised before its weights were rounded (unless that takes megabytes: then it stays smaller). Entries
are counted here with offsets of the greatest length that they can have; what they come to less is filled with spaces.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final

_PLAIN: Final = re.compile(r"[\w.-]*", re.ASCII)
SHARD_BYTES: Final = 5_000_000_000
"""Bytes of tensors that a file has at most; a greater tensor has a file of its own."""
LENGTH_BYTES: Final = 8
ALIGNMENT: Final = 8
"""Tensors begin at a multiple of it, whatever their dtype."""
FILL_LIMIT: Final = 2**24
"""Bytes of spaces that a file is filled up with at most: readers read them, and refuse headers of more than 100,000,000."""
SHARD_NAME: Final = "model-{:05}-of-{:05}.safetensors"

Entry = tuple[str, tuple[int, ...], tuple[int, int]]
"""Dtype in safetensors' words, shape, first byte and end."""


def header_text(entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> bytes:
    """The header of a file, without what fills it up."""
    found: dict[str, object] = {"__metadata__": dict(metadata)}
    for name, (dtype, shape, offsets) in entries.items():
        found[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False).encode()


def index_text(places: Mapping[str, str], total_bytes: int) -> bytes:
    """The index of several files: which of them holds which tensor."""
    return json.dumps(
        {"metadata": {"total_size": total_bytes}, "weight_map": dict(places)}, indent=2, ensure_ascii=False
    ).encode()


def aligned(size: int) -> int:
    """The next multiple of ``ALIGNMENT``."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def quoted_bytes(text: str) -> int:
    """Bytes of a text in JSON, with its quotes."""
    if _PLAIN.fullmatch(text):
        return len(text) + 2
    return len(json.dumps(text, ensure_ascii=False).encode())


def entry_bytes(dtype: str, shape: Iterable[int], *, digits: int) -> int:
    """Most bytes of a tensor's entry in a header, without its name and with a comma.

    Args:
        dtype: in safetensors' words.
        shape: outermost dimension first.
        digits: of the greatest offset.
    """
    dimensions = ",".join(map(str, shape))
    return len(f':{{"dtype":"{dtype}","shape":[{dimensions}],"data_offsets":[,]}},') + 2 * digits


INDEX_LINE_BYTES: Final = len(f'    : "{SHARD_NAME.format(1, 1)}",\n')
"""Bytes of a tensor's line in an index, without its name."""


def empty_header_bytes(metadata: Mapping[str, str]) -> int:
    """Bytes of a file without tensors: the length, and a header that is filled up to a multiple of ``ALIGNMENT``."""
    return LENGTH_BYTES + len(header_text({}, metadata)) + ALIGNMENT


def empty_index_bytes(total_bytes: int) -> int:
    """Bytes of an index that names nothing."""
    return len(index_text({}, total_bytes)) + len("\n" * 4)


def most_shards(total_bytes: int, shard_bytes: int) -> int:
    """How many files tensors of so many bytes can come to: two that follow each other have more than ``shard_bytes``."""
    return 1 if total_bytes <= shard_bytes else 2 * total_bytes // shard_bytes + 1
