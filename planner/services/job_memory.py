"""What a job says of memory: how the model is to be loaded, and the forecast of either way."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from planner.errors import InvalidRequestError
from planner.schemas.jobs import Streaming
from planner.services.planning_inputs import load_layers
from planner.storage.tables import CalibrationSetRow, ModelRow
from sensitivity.checkpoint.description import Layer, SourceKind
from sensitivity.memory_forecast import (
    EVALUATED_SEQUENCES,
    EVALUATION,
    STREAMED_SEQUENCES,
    MemoryForecast,
    Work,
    forecast,
    stored_bytes,
)
from sensitivity.probe_facts import get_facts


def memory_of(session: Session, model: ModelRow, payload: Mapping[str, Any], streaming: Streaming) -> dict[str, Any]:
    """The part of a sensitivity job's payload that is about memory: no part of what its cells are.

    Returns:
        ``streaming`` as asked, and ``memory`` with ``whole_bytes`` and ``streamed_bytes``: the forecasts. The worker that ends
        the job adds ``streamed`` and ``peak_bytes``, the truth.

    Raises:
        InvalidRequestError: streaming is asked for and the probe or the model cannot.
    """
    facts = get_facts(payload["probe"])
    if streaming == "always" and not facts.streams:
        msg = f"the probe {facts.name} needs the whole model in memory: use fisher or kl, or set streaming to never"
        raise InvalidRequestError(msg)
    if streaming == "always" and model.kind != SourceKind.SAFETENSORS:
        msg = f"{model.name} is a GGUF file, which is decoded as a whole: register its safetensors, or set streaming to never"
        raise InvalidRequestError(msg)
    layers = load_layers(session, model.id)
    work = _work(session, model, payload, layers)
    found = forecast(layers, parameters=model.parameters, vocab_size=model.vocab_size, work=work)
    return {"streaming": streaming, "memory": {"whole_bytes": found.whole_bytes, "streamed_bytes": found.streamed_bytes}}


def least_memory(model: ModelRow, payload: Mapping[str, Any]) -> int:
    """Bytes that a worker must have to run a sensitivity job, in the thriftiest way that is left to it.

    Args:
        model: what is measured.
        payload: of the job, with what ``memory_of`` found.
    """
    memory, streaming = payload["memory"], payload["streaming"]
    may_stream = streaming != "never" and get_facts(payload["probe"]).streams and model.kind == SourceKind.SAFETENSORS
    may_hold = streaming != "always"
    ways: list[int] = [memory["whole_bytes"]] * may_hold + [memory["streamed_bytes"]] * may_stream
    return min(ways)


def evaluation_memory(session: Session, model: ModelRow, payload: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an evaluation's payload that is about memory: ``memory`` as in that of a sensitivity job."""
    text = session.get_one(CalibrationSetRow, payload["calibration_id"])
    planned = {name for assignment in payload["assignments"].values() for name in assignment["layers"]}
    layers = [layer for layer in load_layers(session, model.id) if layer.name in planned]

    def found(sequences: int) -> MemoryForecast:
        work = Work(
            probe=EVALUATION,
            rounding=payload["rounding"],
            formats=len(payload["assignments"]),
            sequences=min(sequences, text.held_out_sequences),
            sequence_length=text.held_out_length,
            element_bytes=4,
            characters=text.characters,
            stored_bytes=stored_bytes(SourceKind(model.kind), model.dtype),
        )
        return forecast(layers, parameters=model.parameters, vocab_size=model.vocab_size, work=work)

    whole, streamed = found(EVALUATED_SEQUENCES).whole_bytes, found(STREAMED_SEQUENCES).streamed_bytes
    return {"memory": {"whole_bytes": whole, "streamed_bytes": streamed}}


def least_evaluation_memory(model: ModelRow, payload: Mapping[str, Any]) -> int:
    """Bytes that a worker must have to run an evaluation: block by block where the model's files allow it.

    Args:
        model: what is evaluated.
        payload: of the job, with what ``evaluation_memory`` found.
    """
    memory = payload["memory"]
    ways: list[int] = [memory["whole_bytes"]] + [memory["streamed_bytes"]] * (model.kind == SourceKind.SAFETENSORS)
    return min(ways)


def _work(session: Session, model: ModelRow, payload: Mapping[str, Any], layers: Sequence[Layer]) -> Work:
    cells: Mapping[str, Sequence[str]] | None = payload.get("cells")
    named = cells or {}
    parameters = get_facts(payload["probe"]).parameters_with(payload["probe_parameters"])
    text = session.get(CalibrationSetRow, payload["calibration_id"]) if payload["calibration_id"] else None
    return Work(
        probe=payload["probe"],
        rounding=payload["rounding"],
        formats=len(payload["formats"]),
        sequences=text.sequences if text else 0,
        sequence_length=text.sequence_length if text else 0,
        draws=int(parameters.get("draws", parameters.get("levels", 1))),
        element_bytes=2 if parameters.get("arithmetic") == "bfloat16" else 4,
        characters=text.characters if text else 0,
        stored_bytes=stored_bytes(SourceKind(model.kind), model.dtype),
        cells=None if cells is None else sum(map(len, named.values())),
        changed=sum(layer.parameters * len(named.get(layer.name, ())) for layer in layers),
    )
