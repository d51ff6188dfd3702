"""ExLlamaV3's overrides for ``util/recompile.py``: which uniform model each layer's tensors are taken from.

The tool quantizes whole models only, so a plan is put together from one model for each number of bits. Every layer of a block has
an override of its own: one without would have whatever the base model has. The base model also tells the tool the names of the
tensors, and those of an unquantized layer are others than those of a quantized one: so no layer of a block can stay unquantized.
The head has bits of its own in every conversion (``-hb``, 16 leaves it as it is), and is alike in all models. The lines are YAML
and JSON at once.
"""

import json
from typing import ClassVar, Final

from planner.errors import ExportError
from planner.exports.exllamav3_reader import read_assignment
from planner.exports.expressible import require_expressible
from planner.exports.target import AbstractExporter, ExportedModel, Json
from planner.exports.ties import Assignment
from planner.runtimes.exllamav3 import UNQUANTIZED_BLOCK, exllamav3_refusal
from planner.runtimes.profile import RuntimeProfile

FILE: Final = "overrides.yaml"
UNQUANTIZED_BITS: Final = 16


class ExLlamaV3Exporter(AbstractExporter):
    """One override for each layer of a block; the directories of the sources are those that the commands make."""

    name: ClassVar[str] = "exllamav3"
    description: ClassVar[str] = "overrides.yaml of ExLlamaV3's util/recompile.py, which puts uniform EXL3 models together"

    def write(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """``text`` is the file; ``commands`` make the sources and use it."""
        require_expressible(assignment, model, exllamav3_refusal)
        bits = _bits(assignment, model)
        head = next((bits[layer.name] for layer in model.layers if layer.block is None), UNQUANTIZED_BITS)
        blocks = {layer.name: bits[layer.name] for layer in model.layers if layer.block is not None}
        _require_quantized(blocks)
        widths = sorted(set(blocks.values()))
        sources = [{"id": f"k{one}", "model_dir": f"exl3-{one}.0bpw"} for one in widths]
        overrides = [{"key": f"{name}.*", "source": f"k{one}"} for name, one in blocks.items()]
        lines = ["sources:", *(f"  - {json.dumps(one)}" for one in sources)]
        lines += ["overrides:", *(f"  - {json.dumps(one)}" for one in overrides)]
        return {
            "file": FILE,
            "commands": [
                *(f"python convert.py -i original -o exl3-{one}.0bpw -w work-{one} -b {one} -hb {head}" for one in widths),
                f"python util/recompile.py -i exl3-{widths[0]}.0bpw -o exl3-mixed -or {FILE}",
            ],
            "text": "\n".join(lines) + "\n",
        }

    def read(self, document: Json, model: ExportedModel) -> Assignment:
        """As recompile resolves keys of tensors, in the models that the commands make."""
        commands = document.get("commands")
        return read_assignment(str(document.get("text", "")), commands if isinstance(commands, list) else [], model)


def _bits(assignment: Assignment, model: ExportedModel) -> dict[str, int]:
    return {
        layer.name: fmt.num_bits if (fmt := assignment.get(layer.name)) and fmt.is_quantized else UNQUANTIZED_BITS
        for layer in model.layers
    }


def _require_quantized(blocks: dict[str, int]) -> None:
    plain = [name for name, bits in blocks.items() if bits == UNQUANTIZED_BITS]
    if plain or not blocks:
        msg = f"{plain[0] if plain else 'the model'} cannot be exported: {UNQUANTIZED_BLOCK}. Plan it, ignore no layer of a block"
        raise ExportError(msg, layers=plain[:20], rule="format")


EXPORTER = ExLlamaV3Exporter()
