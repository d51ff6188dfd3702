"""Rows that many database tests need."""

from planner.storage.database import Database
from planner.storage.tables import LayerRow, ModelRow


def add_model(database: Database, *, model_id: str = "m" * 64, layers: int = 3, reverse: bool = False) -> str:
    """A registered model with layers ``l0 l1 …``; ``reverse`` inserts them against model order."""
    row = ModelRow(
        id=model_id,
        name="tiny",
        source="tiny",
        path="tiny",
        kind="safetensors",
        architecture="llama",
        dtype="bfloat16",
        blocks=layers,
        parameters=layers,
        unquantized_bytes=0,
        kv_elements_per_token=0,
        vocab_size=1,
    )
    order = range(layers)[::-1] if reverse else range(layers)
    with database.session() as session:
        session.add(row)
        for position in order:
            session.add(
                LayerRow(
                    model_id=model_id,
                    position=position,
                    name=f"l{position}",
                    kind="q_proj",
                    block=position,
                    out_features=64,
                    in_features=64,
                    active_fraction=1.0,
                )
            )
            session.flush()
    return model_id
