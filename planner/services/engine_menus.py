"""Which of the measured formats each engine takes for a model at all: what a menu of formats offers for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from planner.runtimes import RUNTIMES, RuntimeProfile
from planner.storage.tables import LayerRow
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.kv_cache import KVCacheFormat


@dataclass(frozen=True, slots=True)
class EngineMenu:
    """What one engine refuses.

    Attributes:
        runtime: its name.
        refused: formats that no planned layer may have, and why.
        kv_refused: formats that no cache may have, and why.
    """

    runtime: str
    refused: Mapping[str, str]
    kv_refused: Mapping[str, str]


def engine_menus(
    session: Session, model: str, formats: Sequence[CandidateFormat], caches: Sequence[KVCacheFormat]
) -> list[EngineMenu]:
    """What every engine refuses of these formats.

    Args:
        session: where the shapes of the layers are read.
        model: id of a model.
        formats: of weights.
        caches: of keys and of values.
    """
    columns = (LayerRow.kind, LayerRow.out_features, LayerRow.in_features)
    shapes = session.execute(select(*columns).where(LayerRow.model_id == model).distinct())
    layers = [Layer(kind, kind, None, None, rows, width) for kind, rows, width in shapes]
    return [
        EngineMenu(
            runtime.name,
            {fmt.name: why for fmt in formats if (why := _refusal(runtime, fmt, layers)) is not None},
            {fmt.name: why for fmt in caches if (why := _kv_refusal(runtime, fmt)) is not None},
        )
        for runtime in RUNTIMES.values()
    ]


def _refusal(runtime: RuntimeProfile, fmt: CandidateFormat, layers: Sequence[Layer]) -> str | None:
    """Why no layer that is planned may take the format, or ``None`` if one may."""
    reasons = [runtime.refusal(fmt, layer) for layer in layers if layer.kind not in runtime.ignore_kinds]
    return next(iter(reasons), None) if None not in reasons else None


def _kv_refusal(runtime: RuntimeProfile, fmt: KVCacheFormat) -> str | None:
    return runtime.kv.refusal(fmt.name.removeprefix(f"{fmt.tensor}_"), runtime.name)
