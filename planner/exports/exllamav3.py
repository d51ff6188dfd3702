"""ExLlamaV3's overrides for ``util/recompile.py``: which uniform model each layer's tensors are taken from.

The tool quantizes whole models only, so a plan is put together from one model for each number of bits. Every layer has an
override of its own, unquantized ones that of the original model: a layer without would have whatever the base model has.
The lines are YAML and JSON at once.
"""

import json
from typing import ClassVar, Final

from planner.exports.exllamav3_reader import read_assignment
from planner.exports.expressible import require_expressible
from planner.exports.target import AbstractExporter, ExportedModel, Json
from planner.exports.ties import Assignment
from planner.runtimes.exllamav3 import exllamav3_refusal
from planner.runtimes.profile import RuntimeProfile

FILE: Final = "overrides.yaml"
ORIGINAL: Final = "original"


class ExLlamaV3Exporter(AbstractExporter):
    """One override a layer; the directories of the sources are placeholders for the user's own."""

    name: ClassVar[str] = "exllamav3"
    description: ClassVar[str] = "overrides.yaml of ExLlamaV3's util/recompile.py, which puts uniform EXL3 models together"

    def write(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """``text`` is the file; ``commands`` make the sources and use it."""
        require_expressible(assignment, model, exllamav3_refusal)
        bits = {
            layer.name: fmt.num_bits if (fmt := assignment.get(layer.name)) and fmt.is_quantized else None
            for layer in model.layers
        }
        widths = sorted({one for one in bits.values() if one is not None})
        sources = [{"id": f"k{one}", "model_dir": f"exl3-{one}.0bpw"} for one in widths]
        sources += [{"id": ORIGINAL, "model_dir": ORIGINAL}] if None in bits.values() else []
        overrides = [{"key": f"{name}.*", "source": ORIGINAL if one is None else f"k{one}"} for name, one in bits.items()]
        lines = ["sources:", *(f"  - {json.dumps(one)}" for one in sources)]
        lines += ["overrides:", *(f"  - {json.dumps(one)}" for one in overrides)]
        return {
            "file": FILE,
            "commands": [
                *(f"python convert.py -i {ORIGINAL} -o exl3-{one}.0bpw -w work-{one} -b {one}" for one in widths),
                f"python util/recompile.py -i exl3-{widths[0]}.0bpw -o exl3-mixed -or {FILE}",
            ],
            "text": "\n".join(lines) + "\n",
        }

    def read(self, document: Json, model: ExportedModel) -> Assignment:
        """As recompile resolves keys of tensors."""
        return read_assignment(str(document.get("text", "")), model)


EXPORTER = ExLlamaV3Exporter()
