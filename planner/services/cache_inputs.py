"""What planning reads of K and V caches: their cells of the probe ``kv_cache``, beside the curves of the weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from planner.build import Classes, GroupCurves
from planner.curves import Curves
from planner.errors import InvalidRequestError, NotFoundError, PinConflictError, UnmeasuredError
from planner.runtimes import get_runtime
from planner.runtimes.kv_rules import KVRules
from planner.schemas.plans import Question
from planner.services.planning_inputs import Selected
from planner.solving.caches import CacheColumn, CacheLayer, CacheMenu, cache_classes, cache_menu
from planner.storage.cells import load_curves, measured_formats
from planner.storage.tables import ModelRow, ProbeSettingRow
from sensitivity.formats.kv_cache import KVCacheFormat
from sensitivity.probe_facts import KV_CACHE
from sensitivity.statistics import CellStatus

MEASURED: Final = "measured"
"""Asks for every format that has cells."""

UNQUANTIZED_OF_DTYPE: Final = {"float16": "FP16"}
ADDED: Final = (
    "losses of caches were measured one at a time, with the weights as they are, and are added to those of the weights: what "
    "they do together is not in the sum. Evaluations quantize the weights alone"
)


@dataclass(frozen=True, eq=False)
class CacheInputs:
    """The caches of one planning question.

    Attributes:
        caches: keys and values of each attention layer, in model order.
        formats: what was asked for, by name, with what was measured in place of ``measured``.
        menu: what each may be kept in; formats that could not be measured are not offered.
        rules: what the engine accepts.
        loss: float64 (caches, columns): nats per token; ``inf`` where not legal.
        standard_error: float64 (caches, columns); 0 where unknown.
        setting: id of the probe setting that they were measured in; ``None`` where no cell was needed.
    """

    caches: tuple[CacheLayer, ...]
    formats: tuple[str, ...]
    menu: CacheMenu
    rules: KVRules
    loss: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    setting: str | None

    @property
    def bytes(self) -> int:
        """Memory of the arrays."""
        return self.loss.nbytes + self.standard_error.nbytes + self.menu.legal.nbytes

    def at(self, *, context: int, batch: int) -> tuple[Classes[CacheColumn], GroupCurves]:
        """Groups of caches with their exact bits, and what each format costs each group.

        Raises:
            InvalidRequestError: no context.
            PinConflictError: tied caches without a common format.
        """
        if context < 1:
            msg = "kv_formats (--kv) need the context of the budget (--context): how many tokens of a sequence are in the caches"
            raise InvalidRequestError(msg)
        classes = cache_classes(self.caches, self.menu, self.rules, context=context, batch=batch)
        loss, variance = np.zeros(classes.legal.shape), np.zeros(classes.legal.shape)
        np.add.at(loss, classes.group_of_layer, self.loss)
        np.add.at(variance, classes.group_of_layer, np.square(self.standard_error))
        loss[~classes.legal] = np.inf
        return classes, GroupCurves(loss, np.sqrt(variance), (ADDED,))


def load_cache_inputs(session: Session, selected: Selected, question: Question, setting: ProbeSettingRow) -> CacheInputs:
    """The caches of a question that plans them.

    Args:
        session: where to read.
        selected: the layers and caches.
        question: what was asked.
        setting: of the weights' curves.

    Raises:
        NotFoundError: a ``kv_setting`` that no caches of this model were measured in.
        InvalidRequestError: curves of weights that are not in nats, an unknown format of caches, a rule that matches nothing.
        UnmeasuredError: legal cells of caches that nobody measured.
        PinConflictError: a cache that is left without a format.
    """
    if not setting.in_nats:
        msg = f"losses of {setting.probe} are relative, those of caches are nats: plan both with curves of fisher or kl"
        raise InvalidRequestError(msg, probe=setting.probe)
    unquantized = UNQUANTIZED_OF_DTYPE.get(selected.model.dtype, "BF16")
    found = _find_setting(session, selected.model, setting, question.kv_setting)
    names = _asked(session, selected.model.id, question, found, unquantized)
    runtime = get_runtime(question.runtime)
    menu = cache_menu(selected.caches, names, selected.cache_rules, runtime.kv, runtime=runtime.name, unquantized=unquantized)
    curves = _curves(session, selected, menu, found)
    loss, error, status = _aligned(selected.caches, menu, curves, unquantized)
    _refuse_unmeasured(selected.caches, menu, status, question.kv_setting)
    legal = menu.legal & (status == CellStatus.MEASURED)
    if not legal.any(axis=1).all():
        cache = selected.caches[int(np.flatnonzero(~legal.any(axis=1))[0])].layer.name
        msg = f"no legal format of {cache} could be measured: look at the cells' status, or ask for other kv_formats"
        raise PinConflictError(msg, layers=[cache])
    return CacheInputs(
        selected.caches,
        tuple(dict.fromkeys(name.upper() for name in names)),
        CacheMenu(menu.columns, legal),
        runtime.kv,
        np.where(legal, loss, np.inf),
        np.where(legal & np.isfinite(error), error, 0.0),
        None if found is None else found.id,
    )


def _find_setting(session: Session, model: ModelRow, weights: ProbeSettingRow, asked: str | None) -> ProbeSettingRow | None:
    """The setting asked for; else the freshest that caches of the model were measured in, those of the weights' text first."""
    newest = {
        row.setting_id: row.measured_at for row in sorted(measured_formats(session, model.id), key=lambda row: row.measured_at)
    }
    query = select(ProbeSettingRow).where(ProbeSettingRow.id.in_(list(newest)), ProbeSettingRow.probe == KV_CACHE.name)
    rows = sorted(session.scalars(query), key=lambda row: newest[row.id], reverse=True)
    if asked is not None:
        return _the_one(model, rows, asked)
    own = [row for row in rows if row.calibration_id == weights.calibration_id]
    return next(iter([*own, *rows]), None)


def _the_one(model: ModelRow, rows: Sequence[ProbeSettingRow], asked: str) -> ProbeSettingRow:
    found = next((row for row in rows if row.id == asked), None)
    if found is None:
        msg = (
            f"model {model.name!r} has no cells of caches in probe setting {asked!r}: see bitplan curves list "
            f"{model.name}, or GET /v1/models/{model.id}/settings, for those of {KV_CACHE.name}, or leave kv_setting out for the "
            f"freshest"
        )
        raise NotFoundError(msg, setting=asked)
    return found


def _asked(session: Session, model: str, question: Question, setting: ProbeSettingRow | None, unquantized: str) -> list[str]:
    names = question.kv_formats or []
    if MEASURED not in {name.lower() for name in names}:
        return names
    cells = [] if setting is None else [row.format for row in measured_formats(session, model, setting.id)]
    return [*(name for name in names if name.lower() != MEASURED), *cells, unquantized]


def _curves(
    session: Session, selected: Selected, menu: CacheMenu, setting: ProbeSettingRow | None
) -> Curves[KVCacheFormat] | None:
    if setting is None:
        return None
    formats = [fmt for column in menu.columns for fmt in column.of_tensor.values()]
    projections = list(dict.fromkeys(cache.projection for cache in selected.caches))
    return load_curves(session, selected.model.id, setting.id, formats, projections)


def _aligned(
    caches: Sequence[CacheLayer], menu: CacheMenu, curves: Curves[KVCacheFormat] | None, unquantized: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.str_]]:
    """Loss, standard error and status (caches, columns); what keeps the elements costs nothing unless it was measured."""
    shape = (len(caches), len(menu.columns))
    loss, error, status = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, "", dtype="<U17")
    if curves is not None:
        rows = {name: row for row, name in enumerate(curves.layers)}
        columns = {fmt.name: column for column, fmt in enumerate(curves.formats)}
        for i, cache in enumerate(caches):
            for k, column in enumerate(menu.columns):
                if cache.tensor in column.of_tensor:
                    place = rows[cache.projection], columns[column.of_tensor[cache.tensor].name]
                    loss[i, k], error[i, k] = curves.loss[place], curves.standard_error[place]
                    status[i, k] = curves.status[place]
    exact = np.zeros(shape, dtype=bool)
    exact[:, [k for k, column in enumerate(menu.columns) if column.name == unquantized]] = True
    exact &= status == ""
    loss[exact], error[exact], status[exact] = 0.0, 0.0, CellStatus.MEASURED.value
    return loss, error, status


def _refuse_unmeasured(caches: Sequence[CacheLayer], menu: CacheMenu, status: NDArray[np.str_], setting: str | None) -> None:
    missing = menu.legal & (status == "")
    if not missing.any():
        return
    rows, columns = np.nonzero(missing)
    found = {menu.columns[k].of_tensor[caches[i].tensor].name for i, k in zip(rows.tolist(), columns.tolist(), strict=True)}
    names = sorted(found)
    where = "" if setting is None else f" in probe setting {setting!r}, which kv_setting fixes"
    other = "" if setting is None else ", or leave kv_setting out"
    msg = (
        f"{rows.size} cells of caches are not measured{where}: {', '.join(names)}, first layer "
        f"{caches[int(rows[0])].layer.name!r}. Measure them (bitplan measure MODEL --probe {KV_CACHE.name} --formats "
        f"{','.join(names)}) or ask for others{other}"
    )
    raise UnmeasuredError(msg, cells=int(rows.size), formats=names)
