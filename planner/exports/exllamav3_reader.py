"""Reads ExLlamaV3's overrides back: globs that must match whole keys of tensors, of which ``*`` is the only wildcard.

Where several match, the one of the last source wins; a layer that none matches is what the base model has, whatever that is. Both
are refused: every layer must have one override.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from planner.errors import ExportError
from planner.exports.target import ExportedModel
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.foreign import EXL3_BITS, trellis
from sensitivity.formats.registry import get_format

_MODEL_OF_BITS = re.compile(r"exl3-(\d)\.0bpw")
_ORIGINAL = "original"
PARTS = ("trellis", "suh", "svh", "weight")
"""Last parts of the names of a layer's tensors, quantized or not."""


def read_assignment(text: str, model: ExportedModel) -> dict[str, CandidateFormat]:
    """Format of every layer of the model.

    Raises:
        ExportError: a layer that no override matches wholly, or several; an override that matches no layer; an unknown source, or
            one of a model that is not known; or a file of another form.
    """
    sections = dict(_sections(text))
    formats = _formats(sections.get("sources", ()), model)
    globs = [(_glob(str(one.get("key"))), str(one.get("source"))) for one in sections.get("overrides", ())]
    hits = {layer.name: [i for i, (glob, _) in enumerate(globs) if _matches(glob, layer.name)] for layer in model.layers}
    for name, found in hits.items():
        if len(found) != 1 or globs[found[0]][1] not in formats:
            msg = f"{name} is matched by {len(found)} overrides of known sources; each layer needs exactly one"
            raise ExportError(msg, layers=[name], rule="one-rule-per-layer")
    idle = set(range(len(globs))) - {i for found in hits.values() for i in found}
    if idle:
        msg = f"override {globs[min(idle)][0].pattern!r} matches no layer of the model, which the tool passes over"
        raise ExportError(msg, rule="unmatched-target")
    return {name: formats[globs[found[0]][1]] for name, found in hits.items()}


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


def _formats(sources: Iterable[Mapping[str, object]], model: ExportedModel) -> dict[str, CandidateFormat]:
    """What the model in the directory of each source holds, by the source's id."""
    found: dict[str, CandidateFormat] = {}
    for source in sources:
        name, directory = str(source.get("id")), str(source.get("model_dir"))
        match = _MODEL_OF_BITS.fullmatch(directory)
        if name in found or not (directory == _ORIGINAL or (match is not None and int(match[1]) in EXL3_BITS)):
            msg = f"the source {name!r} is {directory!r}, named twice or no model that the commands make: export the plan again"
            raise ExportError(msg, rule="unknown-source")
        found[name] = get_format(model.unquantized_format) if match is None else trellis(int(match[1]))
    return found


def _glob(key: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, key.split("*"))))


def _matches(glob: re.Pattern[str], layer: str) -> bool:
    """Whether a glob takes all tensors of a layer."""
    return all(glob.fullmatch(f"{layer}.{part}") is not None for part in PARTS)
