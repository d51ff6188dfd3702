"""Imports of other tools' measurements as cells, and of their decisions as plans: all of a file, or nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from sqlalchemy.orm import Session

from planner.budget import BudgetKind
from planner.cells import Cell, ProbeSetting
from planner.errors import InvalidImportError
from planner.grouping import MEASURED_TOGETHER, Tying
from planner.importers import AbstractImporter, ImportedAssignment, ImportedCells, ImportedMoments, SourceFile, choose_importer
from planner.importers.names import ModelNames
from planner.importers.port import OptionValue
from planner.importers.source import fingerprint
from planner.schemas.imports import ImportDocument, ImportRequest
from planner.schemas.plans import BudgetSpec, PlanRequest
from planner.services.planning_inputs import find_model, load_layers, select_layers
from planner.services.plans import make_plan, store_plan
from planner.storage.cells import store_cells
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.rounding_facts import get_rounding_facts
from sensitivity.statistics import CellStatus

PREFIX = "imported_"
"""What the probe of imported cells begins with; the importer's name follows."""


@final
@dataclass(frozen=True, slots=True)
class Read:
    """Files that were read, not stored yet.

    Attributes:
        model: id of the model.
        names: its layers.
        importer: whose files they are.
        files: the files.
        found: what they say.
    """

    model: str
    names: ModelNames
    importer: AbstractImporter
    files: Sequence[SourceFile]
    found: ImportedCells | ImportedAssignment | ImportedMoments

    @property
    def provenance(self) -> dict[str, float | int | str]:
        """What every setting of imported cells says of where they come from."""
        return {"tool": self.importer.tool, "file_sha256": fingerprint(self.files)}

    def setting(
        self, parameters: Mapping[str, float | int | str], *, rounding: str | None = None, additive: bool = False
    ) -> ProbeSetting:
        """The setting of cells that come of these files."""
        facts = get_rounding_facts(rounding or self.importer.rounding)
        return ProbeSetting(
            probe=PREFIX + self.importer.name,
            code_version=self.importer.version,
            rounding=facts.name,
            rounding_version=facts.version,
            calibration_id=None,
            parameters={**parameters, **self.provenance},
            in_nats=False,
            additive=additive,
        )


def read_files(
    session: Session,
    model: str,
    files: Sequence[SourceFile],
    *,
    tool: str | None = None,
    options: Mapping[str, OptionValue] | None = None,
) -> Read:
    """Read files of another tool about a registered model; needs a reader only.

    Args:
        session: where the model is looked up.
        model: model id, or its name.
        files: one file, or several where the tool writes several.
        tool: name of the importer; by default the one that the files look like.
        options: what the files do not say; the importer's defaults for the others.

    Raises:
        NotFoundError: no such model.
        InvalidImportError: an unknown importer or option, or files that it cannot read; names file, key and advice.
    """
    row = find_model(session, model)
    importer = choose_importer(files, tool)
    names = ModelNames(row.architecture, load_layers(session, row.id))
    return Read(row.id, names, importer, files, importer.read(files, names, _options(importer, options or {})))


def from_request(session: Session, model: str, request: ImportRequest) -> Read:
    """Read the files of a request; raises as ``read_files``, and ``InvalidImportError`` for an importance matrix."""
    files = [SourceFile(file.name, file.text.encode("utf-8", errors="replace")) for file in request.files]
    return read_files(session, model, files, tool=request.tool, options=request.options)


def store(session: Session, read: Read) -> ImportDocument:
    """Store what was read, as cells or as a plan, in one write transaction. The same files give the same cells.

    Raises:
        InvalidImportError: moments of inputs, of which losses can only be made with the weights.
        UnmeasuredError: an imported plan whose formats were not measured here, so that its loss cannot be predicted.
        NotFoundError: the model was deleted meanwhile.
    """
    if isinstance(read.found, ImportedMoments):
        msg = (
            f"{read.files[0].name} holds second moments of inputs, no losses: import it with `bitplan import` on a machine that "
            f"has the model's weights, which makes output errors of them"
        )
        raise InvalidImportError(msg, file=read.files[0].name)
    if isinstance(read.found, ImportedAssignment):
        return _store_plan(session, read, read.found)
    return _store_losses(session, read, read.found)


def store_imported_cells(
    session: Session, read: Read, setting: ProbeSetting, cells: Sequence[Cell], *, notes: Sequence[str] = ()
) -> ImportDocument:
    """Store cells that were made of imported files.

    Raises:
        NotFoundError: the model was deleted meanwhile.
    """
    find_model(session, read.model)
    count = store_cells(session, read.model, setting, cells)
    layers = {cell.layer for cell in cells}
    missing = len(list(read.names.missing(layers)))
    skipped = () if isinstance(read.found, ImportedAssignment) else read.found.skipped
    return ImportDocument(
        model=read.model,
        tool=read.importer.tool,
        sha256=fingerprint(read.files),
        setting=setting.id,
        probe=setting.probe,
        layers=len(layers),
        missing=missing,
        formats=list(dict.fromkeys(cell.format for cell in cells)),
        cells=count,
        skipped=list(skipped),
        notes=[*notes, *([f"{missing} layers of the blocks are not in it: ignore or measure them"] if missing else [])],
    )


def _options(importer: AbstractImporter, given: Mapping[str, OptionValue]) -> dict[str, OptionValue]:
    chosen = dict(importer.options)
    for name, value in given.items():
        if type(value) is not type(chosen.get(name)):
            known = ", ".join(f"{key} ({type(default).__name__}, by default {default})" for key, default in chosen.items())
            msg = f"{importer.name} has no option {name} of type {type(value).__name__}; it has: {known or 'none'}"
            raise InvalidImportError(msg, option=name)
        chosen[name] = value
    return chosen


def _store_losses(session: Session, read: Read, found: ImportedCells) -> ImportDocument:
    parameters = dict(found.parameters)
    if found.measured_together is not Tying.FREE:
        parameters[MEASURED_TOGETHER] = found.measured_together.value
    setting = read.setting(parameters, additive=found.additive)
    return store_imported_cells(session, read, setting, list(_cells(found)), notes=found.notes)


def _cells(found: ImportedCells) -> Iterator[Cell]:
    """A cell for each loss; where modules were measured whole, an option of one module is none of another's."""
    formats = list(dict.fromkeys(fmt for losses in found.losses.values() for fmt in losses))
    for layer, losses in found.losses.items():
        for fmt in formats if found.measured_together is Tying.MODULE else losses:
            yield _cell(layer, fmt, losses.get(fmt))


def _cell(layer: str, fmt: CandidateFormat, loss: float | None) -> Cell:
    measured = loss is not None
    return Cell(
        layer=layer,
        format=fmt.name,
        format_identity=fmt.identity,
        status=CellStatus.MEASURED if measured else CellStatus.UNSUPPORTED_SHAPE,
        loss=loss,
        standard_error=None,
        samples=float(measured),
        total=loss,
        total_squares=loss * loss if loss is not None and abs(loss) < 1e150 else None,
    )


def _store_plan(session: Session, read: Read, found: ImportedAssignment) -> ImportDocument:
    """A plan whose every layer is pinned, at its own size; beside it what the same bits buy by the same curves."""
    request = _request(session, read, found)
    plan = make_plan(session, request)
    best = make_plan(session, request.model_copy(update={"pins": {}}))
    notes = [
        f"imported from {read.files[0].name} of {read.importer.tool} (SHA-256 {fingerprint(read.files)}): its proof is of the "
        f"pinned layers alone",
        f"the best plan of these formats and bits loses {best.predicted.loss:.6g} {best.predicted.unit} by the same curves",
        *found.notes,
    ]
    plan = plan.model_copy(update={"notes": [*plan.notes, *notes]})
    store_plan(session, plan)
    return ImportDocument(
        model=read.model,
        tool=read.importer.tool,
        sha256=fingerprint(read.files),
        plan=plan.id,
        layers=len(plan.choices),
        missing=len(list(read.names.missing(choice.layer for choice in plan.choices))),
        formats=plan.formats,
        cells=0,
        skipped=[],
        notes=notes,
    )


def _request(session: Session, read: Read, found: ImportedAssignment) -> PlanRequest:
    """Every layer pinned, under a budget of exactly its size."""
    formats = list(dict.fromkeys(fmt.name for fmt in found.formats.values()))
    loose = BudgetSpec(effective_bits=64)
    request = PlanRequest(model=read.model, budget=loose, formats=formats, allow_slack=True)
    selected = select_layers(session, read.model, request)
    planned = [layer for layer in selected.layers if layer.name in found.formats]
    bits = sum(found.formats[layer.name].size_bits(layer.shape) for layer in planned)
    exact = loose.budget().of_layer_bits(bits, selected.footprint)
    return request.model_copy(
        update={
            "budget": BudgetSpec.model_validate({BudgetKind.EFFECTIVE_BITS.value: exact}),
            "pins": {layer.name: found.formats[layer.name].name for layer in planned},
        }
    )
