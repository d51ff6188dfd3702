"""Reads EvoPress' layer configuration back: each line is split at its colon, and the name is part of a path as it stands."""

from planner.errors import ExportError
from planner.exports.target import ExportedModel
from planner.runtimes.evopress import LEVELS
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format


def read_assignment(text: str, model: ExportedModel) -> dict[str, CandidateFormat]:
    """Format of every layer of the model.

    Raises:
        ExportError: a line that is no ``name: level``, a name that is no layer or comes twice, or a level that is not offered.
    """
    found = {layer.name: get_format(model.unquantized_format) for layer in model.layers}
    seen: set[str] = set()
    for line in text.splitlines():
        name, colon, level = line.partition(":")
        if not colon or not level.strip().isdecimal() or int(level) not in LEVELS:
            msg = f"the line {line!r} is no name and level, one of {', '.join(map(str, LEVELS))}"
            raise ExportError(msg, rule="schema")
        if name not in found or name in seen:
            msg = f"the line {line!r} names no layer of the model, or one that was named before"
            raise ExportError(msg, layers=[name], rule="one-rule-per-layer")
        seen.add(name)
        found[name] = get_format(LEVELS[int(level)])
    return found
