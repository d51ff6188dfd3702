"""Reads a tensor-type file as llama-quantize does, and refuses what the tool would do without an error.

Written independently of the exporter, from the tool's behaviour (study of exports, section 4): entries are separated by white
space, the part before the first ``=`` is a regular expression that is put in lower case and *searched* in the tensor's name, and
the first entry that matches wins. Types are ggml's names in any case; names of ftypes (``q4_K_M``) are none. A type whose block
does not divide the tensor's columns is replaced by another, a base ftype that is not quantized makes the tool pass over all
entries, and an entry that matches nothing is passed over: each is an error here.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from planner.errors import ExportError
from planner.exports.llama_cpp_names import EMBEDDING, tensor_names
from planner.exports.target import ExportedModel
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import all_formats, get_format

UNQUANTIZED: Final[Mapping[str, str]] = {"f16": "FP16", "bf16": "BF16"}
FLOATS: Final = frozenset({"f32", "f16", "bf16"})
NOT_QUANTIZED_FTYPES: Final = frozenset({*FLOATS, "copy"})
INTERNAL: Final = frozenset({"q8_1", "q8_k"})
DEMOTIONS: Final[Mapping[str, str]] = {
    "q2_k": "q4_0",
    "q3_k": "q4_0",
    "tq1_0": "q4_0",
    "tq2_0": "q4_0",
    "q4_k": "q5_0",
    "q5_k": "q5_1",
    "q6_k": "q8_0",
    "iq4_xs": "iq4_nl",
}
"""What the tool stores where a type's block does not divide the columns; f16 where this does not divide them either."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the file.

    Attributes:
        pattern: as the tool compiles it.
        type_name: ggml's, in lower case.
    """

    pattern: re.Pattern[str]
    type_name: str


def read_assignment(text: str, command: str, model: ExportedModel) -> dict[str, CandidateFormat]:
    """Format of every layer of the model, planned or not.

    Args:
        text: of the file.
        command: the tool's command line, which names the base ftype.
        model: the model whose tensors are resolved.

    Raises:
        ExportError: the tool would refuse the file, pass over a part of it, or store another type than it says.
    """
    _require_pure(command)
    names = tensor_names(model)
    columns = {names[layer.name]: layer.in_features for layer in model.layers}
    columns[EMBEDDING] = model.layers[0].in_features
    types = resolve(parse(text), columns)
    if types[EMBEDDING] not in FLOATS:
        msg = f"{EMBEDDING} would be quantized to {types[EMBEDDING]}, but plans leave the embedding alone; export the plan again"
        raise ExportError(msg, rule="embedding")
    formats = {**{fmt.name.lower(): fmt.name for fmt in all_formats()}, **UNQUANTIZED}
    return {layer: _format(types[tensor], formats, layer) for layer, tensor in names.items()}


def parse(text: str) -> list[Entry]:
    """Entries of a file.

    Raises:
        ExportError: what the tool refuses: no pattern or no type, a type that ggml does not have or only uses inside, a pattern
            that is no regular expression.
    """
    return [_entry(token) for token in text.split()]


def resolve(entries: Sequence[Entry], columns: Mapping[str, int]) -> dict[str, str]:
    """Type of each tensor.

    Args:
        entries: of the file, in its order.
        columns: elements of a row of each tensor.

    Raises:
        ExportError: an entry that decides nothing, a tensor that no entry matches, or a type that does not fit a tensor.
    """
    types: dict[str, str] = {}
    used: set[int] = set()
    for tensor, width in columns.items():
        found = next((index for index, entry in enumerate(entries) if entry.pattern.search(tensor)), None)
        if found is None:
            msg = f"{tensor} is matched by no pattern, so it would get the base type; each tensor needs a pattern"
            raise ExportError(msg, layers=[tensor], rule="unmatched-tensor")
        used.add(found)
        types[tensor] = entries[found].type_name
        _require_fit(tensor, types[tensor], width)
    for index, entry in enumerate(entries):
        if index not in used:
            msg = f"pattern {entry.pattern.pattern!r} decides no tensor; llama-quantize passes over it without a word"
            raise ExportError(msg, rule="unmatched-pattern")
    return types


def _entry(token: str) -> Entry:
    pattern, equals, type_name = token.partition("=")
    if not (pattern and equals and type_name):
        msg = f"{token!r} is a malformed tensor type: write PATTERN=TYPE, and no comments"
        raise ExportError(msg, rule="malformed")
    name = type_name.lower()
    if name in INTERNAL:
        msg = f"{type_name} in {token!r} is used inside ggml only: llama-quantize aborts with it"
        raise ExportError(msg, rule="internal-type")
    if name not in _sizes():
        msg = f"{type_name!r} in {token!r} is no type of ggml: names of ftypes like q4_K_M are none"
        raise ExportError(msg, rule="unknown-type")
    try:
        return Entry(re.compile(pattern.lower()), name)
    except re.error as error:
        msg = f"{pattern!r} is no regular expression: {error}"
        raise ExportError(msg, rule="pattern") from error


@cache
def _sizes() -> dict[str, tuple[int, int]]:
    return {GGMLQuantizationType(kind).name.lower(): size for kind, size in GGML_QUANT_SIZES.items()}


def _require_fit(tensor: str, type_name: str, width: int) -> None:
    block = _sizes()[type_name][0]
    if width % block:
        other = DEMOTIONS.get(type_name, "f16")
        other = other if width % _sizes()[other][0] == 0 else "f16"
        msg = f"{tensor} has rows of {width}, no multiple of {type_name}'s {block}: llama-quantize would store {other} instead"
        raise ExportError(msg, layers=[tensor], rule="demoted-type")


def _require_pure(command: str) -> None:
    words = shlex.split(command)
    base = words[-1].lower() if words else ""
    if "--pure" not in words:
        msg = "without --pure llama-quantize mixes types of its own choice; export the plan again"
        raise ExportError(msg, rule="pure")
    if base in NOT_QUANTIZED_FTYPES:
        msg = f"with the base type {base} llama-quantize passes over all tensor types; name a quantized one"
        raise ExportError(msg, rule="base-type")


def _format(type_name: str, formats: Mapping[str, str], layer: str) -> CandidateFormat:
    if type_name not in formats:
        msg = (
            f"{layer} would be stored as {type_name}, which is no candidate format; `bitplan formats` and `GET /v1/formats` list "
            f"them"
        )
        raise ExportError(msg, layers=[layer], rule="unknown-format")
    return get_format(formats[type_name])
