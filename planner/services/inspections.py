"""What registering a checkpoint would give, without registering it."""

from sqlalchemy.orm import Session

from planner.budget import DTYPE_BITS
from planner.schemas.inspections import Inspection
from planner.services.models import default_name
from planner.storage.tables import ModelRow
from sensitivity.checkpoint.description import ModelDescription


def inspection_of(session: Session, description: ModelDescription) -> Inspection:
    """The facts of a described checkpoint (``planner.services.models.inspect``), and whether it is registered already."""
    known = session.get(ModelRow, description.fingerprint)
    layer_parameters = sum(layer.parameters for layer in description.layers)
    return Inspection(
        id=description.fingerprint,
        name=default_name(description),
        registered=None if known is None else known.name,
        kind=description.kind,
        architecture=description.architecture,
        dtype=description.dtype,
        blocks=description.blocks,
        layers=len(description.layers),
        parameters=description.parameters,
        layer_parameters=layer_parameters,
        unquantized_bytes=description.unquantized_bytes,
        bytes=layer_parameters * DTYPE_BITS.get(description.dtype, 16) // 8 + description.unquantized_bytes,
    )
