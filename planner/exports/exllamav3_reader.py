"""Reads ExLlamaV3's overrides back: globs that must match whole keys of tensors, of which ``*`` is the only wildcard.

Where several match, the one of the last source wins; a layer that none matches is what the base model has, whatever that is. Both
are refused: every layer of a block must have one override. What a source holds is what the command says that makes its directory.
The head is as all of these commands make it, and no override may touch it.
"""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from planner.errors import ExportError
from planner.exports.target import ExportedModel
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.foreign import EXL3_BITS, trellis
from sensitivity.formats.registry import get_format

PARTS = ("trellis", "suh", "svh", "weight")
"""Last parts of the names of a layer's tensors, quantized or not."""
_DEFAULT_HEAD = "6"
_UNQUANTIZED = "16"


def read_assignment(text: str, commands: Sequence[object], model: ExportedModel) -> dict[str, CandidateFormat]:
    """Format of every layer of the model.

    Args:
        text: of the file.
        commands: that make the sources.
        model: the model whose layers are resolved.

    Raises:
        ExportError: a layer that no override matches wholly, or several; an override that matches no layer, or the head; a source
            whose model no command makes; heads that differ; or a file of another form.
    """
    sections = dict(_sections(text))
    made = dict(_conversions(commands))
    formats = _formats(sections.get("sources", ()), made)
    globs = [(_glob(str(one.get("key"))), str(one.get("source"))) for one in sections.get("overrides", ())]
    layers = [layer for layer in model.layers if layer.block is not None]
    hits = {layer.name: [i for i, (glob, _) in enumerate(globs) if _matches(glob, layer.name)] for layer in layers}
    for name, found in hits.items():
        if len(found) != 1 or globs[found[0]][1] not in formats:
            msg = f"{name} is matched by {len(found)} overrides of known sources; each layer of a block needs exactly one"
            raise ExportError(msg, layers=[name], rule="one-rule-per-layer")
    idle = set(range(len(globs))) - {i for found in hits.values() for i in found}
    if idle:
        msg = f"override {globs[min(idle)][0].pattern!r} matches no layer of a block, which the tool passes over"
        raise ExportError(msg, rule="unmatched-target")
    head = _head([heads for _, heads in made.values()], model)
    return {layer.name: formats[globs[hits[layer.name][0]][1]] if layer.name in hits else head for layer in model.layers}


def _conversions(commands: Sequence[object]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Directory → bits of the layers and of the head, of each model that is converted."""
    for command in commands:
        words = shlex.split(str(command))
        options = dict(pairwise(words))
        if "convert.py" in words:
            yield options.get("-o", ""), (options.get("-b", ""), options.get("-hb", _DEFAULT_HEAD))


def _head(bits: Sequence[str], model: ExportedModel) -> CandidateFormat:
    """What the head is in all models."""
    if len(set(bits)) == 1 and bits[0] == _UNQUANTIZED:
        return get_format(model.unquantized_format)
    if len(set(bits)) == 1 and _is_width(bits[0]) and any(layer.block is None for layer in model.layers):
        return trellis(int(bits[0]))
    msg = f"the head has {', '.join(sorted(set(bits))) or 'no'} bits in the models: give all of them the -hb of the plan, or 16"
    raise ExportError(msg, rule="head")


def _is_width(bits: str) -> bool:
    return bits.isdecimal() and int(bits) in EXL3_BITS


def _sections(text: str) -> Iterator[tuple[str, list[Mapping[str, object]]]]:
    for part in re.split(r"^(?=\w+:$)", text, flags=re.MULTILINE):
        head, *lines = part.splitlines() or [""]
        if not head:
            continue
        try:
            items = [json.loads(line.removeprefix("  - ")) for line in lines]
        except json.JSONDecodeError as error:
            msg = f"the {head.rstrip(':')} are not a list of mappings ({error}); export the plan again"
            raise ExportError(msg, rule="schema") from error
        yield head.rstrip(":"), items


def _formats(sources: Iterable[Mapping[str, object]], made: Mapping[str, tuple[str, str]]) -> dict[str, CandidateFormat]:
    """What the model in the directory of each source holds, by the source's id."""
    found: dict[str, CandidateFormat] = {}
    for source in sources:
        name, directory = str(source.get("id")), str(source.get("model_dir"))
        bits = made.get(directory, ("", ""))[0]
        if name in found or not _is_width(bits):
            msg = f"the source {name!r} is {directory!r}, named twice or no model that the commands make: export the plan again"
            raise ExportError(msg, rule="unknown-source")
        found[name] = trellis(int(bits))
    return found


def _glob(key: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, key.split("*"))))


def _matches(glob: re.Pattern[str], layer: str) -> bool:
    """Whether a glob takes all tensors of a layer."""
    return all(glob.fullmatch(f"{layer}.{part}") is not None for part in PARTS)
