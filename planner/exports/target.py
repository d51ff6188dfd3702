"""The port of every export target: pure functions of an assignment, free of torch."""

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

from planner.errors import ExportError
from planner.exports.ties import Assignment, check_runtime_ties
from planner.runtimes.profile import RuntimeProfile
from sensitivity.checkpoint.description import Layer

Json = dict[str, object]

UNQUANTIZED_OF_DTYPE = {"bfloat16": "BF16", "float16": "FP16"}


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """What an export says of the model.

    Attributes:
        fingerprint: SHA-256 of the registered checkpoint.
        source: where it came from, as registered.
        architecture: ``model_type`` of its configuration.
        dtype: dtype in which unquantized tensors are kept (``bfloat16``, …).
        layers: all quantizable layers in model order, planned or not.
    """

    fingerprint: str
    source: str
    architecture: str
    dtype: str
    layers: tuple[Layer, ...]

    @property
    def unquantized_format(self) -> str:
        """Name of the format that leaves a layer as the checkpoint has it; BF16 for dtypes wider than 16 bits."""
        return UNQUANTIZED_OF_DTYPE.get(self.dtype, "BF16")


class AbstractExporter(ABC):
    """One export target. Concrete exporters are final and without state."""

    name: ClassVar[str]
    description: ClassVar[str]

    @final
    def export(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """The plan in the target's words, ready for ``json.dumps``, after it was read back and found to be the plan.

        Args:
            assignment: format of each planned layer by name; layers of the model that are missing stay unquantized.
            model: the model that the plan is for.
            runtime: the engine that will load it: its ties are checked, its packing gives the sizes.

        Raises:
            ExportError: the target cannot express the assignment, or would read it differently; names the layer and the rule.
        """
        require_loadable(assignment, model, runtime)
        check_runtime_ties(assignment, model.layers, runtime)
        document = self.write(assignment, model, runtime)
        _require_same(self.read(json.loads(json.dumps(document)), model), assignment, model, target=self.name)
        return document

    @abstractmethod
    def write(self, assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> Json:
        """The document of an assignment that the runtime can load and whose ties are kept.

        Raises:
            ExportError: the target cannot express it; the message names the layer and the rule.
        """

    @abstractmethod
    def read(self, document: Json, model: ExportedModel) -> Assignment:
        """Format of every layer of the model by the target's own rules of matching, from the document alone.

        Written independently of ``write``: as the engine reads, not as we write. A layer that the document leaves alone has
        the model's unquantized format.

        Raises:
            ExportError: what the target would refuse, ignore silently, or read in two ways.
        """


def file_text(document: Json) -> str:
    """What goes into the file that the target reads: ``text`` of the document where it has a format of its own, else JSON."""
    text = document.get("text")
    return text if isinstance(text, str) else json.dumps(document, indent=2) + "\n"


def require_loadable(assignment: Assignment, model: ExportedModel, runtime: RuntimeProfile) -> None:
    """Check that every assigned layer is one of the model's and that the runtime can load its format.

    Raises:
        ExportError: a name that the model does not have, or a format that the runtime refuses for a layer.
    """
    unknown = sorted(set(assignment) - {layer.name for layer in model.layers})
    if unknown:
        msg = f"the plan names {len(unknown)} layers that {model.source} does not have, first {unknown[0]!r}; plan it anew"
        raise ExportError(msg, layers=unknown[:20])
    for layer in model.layers:
        reason = runtime.refusal(assignment[layer.name], layer) if layer.name in assignment else None
        if reason is not None:
            msg = f"{layer.name} cannot be loaded by {runtime.name}: {reason}. Pin the layer to another format"
            raise ExportError(msg, layers=[layer.name], rule="runtime")


def _require_same(found: Assignment, assignment: Assignment, model: ExportedModel, *, target: str) -> None:
    for layer in model.layers:
        wanted = assignment.get(layer.name)
        expected = model.unquantized_format if wanted is None else wanted.name
        name = found[layer.name].name
        if name != expected:
            msg = f"{layer.name} was planned as {expected} but its {target} export reads {name}; report this"
            raise ExportError(msg, layers=[layer.name], rule="round-trip")
