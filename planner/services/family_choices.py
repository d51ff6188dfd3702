"""What pages offer to choose from: models by name, those that one can be compared with, whether its experts can be tied."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from planner.storage.tables import EvaluationRow, LayerRow, ModelRow

MOST: Final = 50
MOST_NAMES: Final = 1000


@dataclass(frozen=True, slots=True)
class Relative:
    """A model whose frontier may stand beside another's.

    Attributes:
        id: of the model.
        name: what it is called.
        vocab_size: tokens of its vocabulary; models with vocabularies of different sizes are compared only on request.
    """

    id: str
    name: str
    vocab_size: int


def model_names(session: Session) -> dict[str, str]:
    """Id → name of the registered models, the newest first."""
    query = select(ModelRow.id, ModelRow.name).order_by(ModelRow.created_at.desc(), ModelRow.id)
    return {row.id: row.name for row in session.execute(query.limit(MOST_NAMES))}


def relatives(session: Session, model: str) -> Sequence[Relative]:
    """Other models that were evaluated, as comparing models needs; by name, at most ``MOST``.

    Args:
        session: a reader.
        model: id of the model that they are compared with.
    """
    evaluated = select(EvaluationRow.id).where(EvaluationRow.model_id == ModelRow.id).exists()
    query = (
        select(ModelRow.id, ModelRow.name, ModelRow.vocab_size)
        .where(ModelRow.id != model, evaluated)
        .order_by(ModelRow.name, ModelRow.id)
        .limit(MOST)
    )
    return [Relative(*row) for row in session.execute(query)]


def has_experts(session: Session, model: str) -> bool:
    """Whether a model has routed experts, which may share formats.

    Args:
        session: a reader.
        model: id of a model.
    """
    query = select(LayerRow.name).where(LayerRow.model_id == model, LayerRow.expert.is_not(None)).limit(1)
    return session.execute(query).first() is not None
