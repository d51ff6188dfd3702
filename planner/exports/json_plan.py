"""bitplan's own JSON: one entry a layer, in the field's words."""

from typing import ClassVar

from planner.exports.target import AbstractExporter, Assignment, ExportedModel, Json, require_loadable
from planner.exports.ties import check_runtime_ties
from planner.runtimes.profile import RuntimeProfile
from sensitivity.formats.candidate import CandidateFormat

FORMAT_VERSION = 1


class JsonExporter(AbstractExporter):
    """``{"layers": {name: {"format", "bits", "group_size", "sym", …}}}``; readable by any script."""

    name: ClassVar[str] = "json"
    description: ClassVar[str] = "bitplan's own: format, bits, group size and exact size of each layer"

    def export(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """Every planned layer in model order; ``ignore`` lists the layers that stay as they are."""
        require_loadable(assignment, model, runtime)
        check_runtime_ties(assignment, model.layers, runtime)
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
