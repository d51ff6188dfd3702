"""bitplan's own JSON: one entry a layer, in the field's words."""

from collections.abc import Mapping
from typing import ClassVar

from planner.errors import ExportError
from planner.exports.target import AbstractExporter, ExportedModel, Json
from planner.exports.ties import Assignment
from planner.runtimes.profile import RuntimeProfile
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.registry import get_format, resolve_format

FORMAT_VERSION = 1


class JsonExporter(AbstractExporter):
    """``{"layers": {name: {"format", "bits", "group_size", "sym", …}}}``; readable by any script."""

    name: ClassVar[str] = "json"
    description: ClassVar[str] = "bitplan's own: format, bits, group size and exact size of each layer"

    def write(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """Every planned layer in model order; ``ignore`` lists the layers that stay as they are."""
        planned = [layer for layer in model.layers if layer.name in assignment]
        return {
            "format_version": FORMAT_VERSION,
            "model": {
                "source": model.source,
                "fingerprint": model.fingerprint,
                "architecture": model.architecture,
                "dtype": model.dtype,
            },
            "runtime": runtime.name,
            "layers": {
                layer.name: {
                    **_entry(fmt := assignment[layer.name]),
                    "shape": list(layer.shape),
                    "size_bits": runtime.size_bits(fmt, layer.shape),
                }
                for layer in planned
            },
            "ignore": [layer.name for layer in model.layers if layer.name not in assignment],
        }

    def read(self, document: Json, model: ExportedModel) -> Assignment:
        """By the names of the formats. Every layer of the model must be in ``layers`` or in ``ignore``, and nothing else."""
        layers, ignore = document.get("layers"), document.get("ignore")
        if not isinstance(layers, Mapping) or not isinstance(ignore, list):
            msg = "the document has no layers or no ignore; export the plan again"
            raise ExportError(msg, rule="schema")
        names = [layer.name for layer in model.layers]
        if sorted([*layers, *ignore]) != sorted(names):
            wrong = sorted(set(names).symmetric_difference([*layers, *ignore])) or sorted(set(layers).intersection(ignore))
            msg = f"layers and ignore must name every layer of the model once; {wrong[0]} is missing, unknown or named twice"
            raise ExportError(msg, layers=wrong[:20], rule="one-rule-per-layer")
        rest = get_format(model.unquantized_format)
        return {name: resolve_format(str(layers[name]["format"])) if name in layers else rest for name in names}


def _entry(fmt: CandidateFormat) -> Json:
    return {
        "format": fmt.name,
        "bits": fmt.num_bits,
        "group_size": fmt.group_size or -1,
        "sym": fmt.symmetric,
        "type": fmt.type.value,
        "strategy": fmt.strategy.value,
        "scale_dtype": fmt.scale_dtype,
    }


EXPORTER = JsonExporter()
