"""The repository of score products: one compressed array for each measured format."""

import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from planner.storage.cells import layer_ids, measured_formats
from planner.storage.tables import ScoreProductsRow, utc_now
from sensitivity.cross_terms import Products

_LEVEL = 1  # most bits are noise; what compresses is layers that were not measured, and experts that saw no token
_STORED = np.dtype("<f4")


def store_products(
    session: Session,
    model_id: str,
    setting_id: str,
    layers: Sequence[str],
    products: Mapping[str, Products],
    *,
    job_id: str | None = None,
) -> None:
    """Put products beside the cells of their formats; those of other layers stay.

    Call it after ``store_cells`` of the same cells, in the same transaction: that makes the rows that these belong to, and locks
    them against another job's writes.

    Args:
        session: the caller's transaction.
        model_id: fingerprint of the model.
        setting_id: ``ProbeSetting.id``.
        layers: names of the layers, first axis of the products.
        products: by ``CandidateFormat.identity``: (layers, sequences, draws). A layer that is all NaN was not measured.
        job_id: the job that measured them.
    """
    position = {name: index for index, name in enumerate(layer_ids(session, model_id))}
    rows = np.array([position[layer] for layer in layers], dtype=np.intp)
    numbers = {row.format_identity: row.id for row in measured_formats(session, model_id, setting_id)}
    for identity, found in products.items():
        row = session.get(ScoreProductsRow, numbers[identity], options=[undefer(ScoreProductsRow.products)])
        if row is None:
            row = ScoreProductsRow(measured_format_id=numbers[identity], sequences=found.shape[1], draws=found.shape[2])
            whole = np.full((len(position), *found.shape[1:]), np.nan, dtype=_STORED)
            session.add(row)
        else:
            whole = _unpacked(row.products, (len(position), row.sequences, row.draws)).copy()
        given = ~np.isnan(found).all(axis=(1, 2))
        whole[rows[given]] = found[given]
        row.products, row.job_id, row.measured_at = zlib.compress(whole.tobytes(), _LEVEL), job_id, utc_now()
    session.flush()


def load_products(
    session: Session, model_id: str, setting_id: str, chosen: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, Products]]:
    """Products of some cells, one format in memory at a time; formats that have none are left out.

    Args:
        session: the caller's transaction.
        model_id: fingerprint of the model.
        setting_id: ``ProbeSetting.id``.
        chosen: names of the layers, by ``CandidateFormat.identity``.

    Yields:
        Identity of a format, and (layers, sequences, draws).
    """
    position = {name: index for index, name in enumerate(layer_ids(session, model_id))}
    for measured in measured_formats(session, model_id, setting_id):
        query = select(ScoreProductsRow.products, ScoreProductsRow.sequences, ScoreProductsRow.draws)
        query = query.where(ScoreProductsRow.measured_format_id == measured.id)
        if measured.format_identity in chosen:
            for packed, sequences, draws in session.execute(query):
                whole = _unpacked(packed, (len(position), sequences, draws))
                yield measured.format_identity, whole[[position[layer] for layer in chosen[measured.format_identity]]]


def _unpacked(packed: bytes, shape: tuple[int, int, int]) -> Products:
    return np.frombuffer(zlib.decompress(packed), dtype=_STORED).reshape(shape)
