"""What a job would be: it is submitted, looked at, and taken back in one transaction, so the forecast is of that very job."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from planner.schemas.calibrations import CreateCalibration
from planner.schemas.jobs import Job, JobForecast, SubmitSensitivity
from planner.schemas.plans import EvaluateRequest
from planner.services import calibrations, jobs
from planner.services.evaluations import submit_evaluation
from planner.services.planning_inputs import load_layers
from planner.storage.tables import CalibrationSetRow, JobRow, ModelRow
from sensitivity.checkpoint.description import SourceKind
from sensitivity.memory_forecast import EVALUATED_SEQUENCES, STREAMED_SEQUENCES, MemoryForecast, Work, forecast, stored_bytes
from sensitivity.probe_facts import get_facts
from sensitivity.rounding_facts import get_rounding_facts


def forecast_sensitivity(session: Session, request: SubmitSensitivity) -> JobForecast:
    """What a sensitivity job would be. Without a calibration set where one is needed, the built-in text is assumed.

    Raises:
        NotFoundError, UnmeasuredError, InvalidRequestError, UnknownFormatError, UnknownProbeError, UnsupportedShapeError,
            TooManyProductsError: what submitting it would raise.
    """

    def submit() -> JobForecast:
        asked = request
        if request.calibration is None and _needs_text(request):
            usual, _ = calibrations.create(session, calibrations.prepare(CreateCalibration()))
            asked = request.model_copy(update={"calibration": usual.id})
        return _of_sensitivity(session, jobs.submit_sensitivity(session, asked))

    return _taken_back(session, submit)


def forecast_evaluation(session: Session, plan: str, request: EvaluateRequest) -> JobForecast:
    """What the evaluation of a plan would be.

    Raises:
        NotFoundError, InvalidRequestError, ConflictError: what submitting it would raise.
    """
    return _taken_back(session, lambda: _of_evaluation(session, submit_evaluation(session, plan, request)))


def _taken_back(session: Session, submit: Callable[[], JobForecast]) -> JobForecast:
    """The forecast, and everything as it was."""
    nested = session.begin_nested()
    try:
        found = submit()
    finally:
        nested.rollback()
    known = found.unfinished is not None and session.get(JobRow, found.unfinished) is not None
    return found if known else found.model_copy(update={"unfinished": None})


def _needs_text(request: SubmitSensitivity) -> bool:
    return get_facts(request.probe).needs_calibration or get_rounding_facts(request.rounding).needs_inputs


def _of_sensitivity(session: Session, job: Job) -> JobForecast:
    asked = job.request
    cells = asked.get("cells")
    text = _text(session, asked["calibration_id"])
    memory = asked.get("memory")
    streams = get_facts(asked["probe"]).streams and session.get_one(ModelRow, job.model).kind == SourceKind.SAFETENSORS
    return JobForecast(
        kind=job.kind,
        layers=len(asked["layers"]),
        formats=asked["formats"],
        cells=len(asked["layers"]) * len(asked["formats"]) if cells is None else sum(map(len, cells.values())),
        sequences=text.sequences if text else 0,
        tokens=text.sequences * text.sequence_length if text else 0,
        seconds=job.forecast_seconds,
        memory_bytes=job.memory_bytes,
        whole_bytes=memory["whole_bytes"] if memory else None,
        streamed_bytes=memory["streamed_bytes"] if memory and streams else None,
        waits_for=job.waits_for,
        unfinished=None if job.state.is_final else job.id,
        note=job.reason,
    )


def _of_evaluation(session: Session, job: Job) -> JobForecast:
    model = session.get_one(ModelRow, job.model)
    text = session.get_one(CalibrationSetRow, job.request["calibration_id"])
    layers = job.request["assignments"]["plan"]["layers"]
    known = load_layers(session, model.id)
    streams = model.kind == SourceKind.SAFETENSORS

    def memory(sequences: int) -> MemoryForecast:
        work = Work(
            probe="weight_error",  # which keeps nothing beside the model either
            rounding=job.request["rounding"],
            formats=1,
            sequences=min(sequences, text.held_out_sequences),
            sequence_length=text.held_out_length,
            element_bytes=4,
            characters=text.characters,
            stored_bytes=stored_bytes(SourceKind(model.kind), model.dtype),
        )
        return forecast(known, parameters=model.parameters, vocab_size=model.vocab_size, work=work)

    whole, streamed = memory(EVALUATED_SEQUENCES).whole_bytes, memory(STREAMED_SEQUENCES).streamed_bytes
    return JobForecast(
        kind=job.kind,
        layers=len(layers),
        formats=sorted(set(layers.values())),
        cells=None,
        sequences=text.held_out_sequences,
        tokens=text.held_out_sequences * text.held_out_length,
        seconds=job.forecast_seconds,
        memory_bytes=streamed if streams else whole,
        whole_bytes=whole,
        streamed_bytes=streamed if streams else None,
        waits_for=job.waits_for,
        unfinished=job.id,
        note=job.reason,
    )


def _text(session: Session, calibration: str | None) -> CalibrationSetRow | None:
    return None if calibration is None else session.get(CalibrationSetRow, calibration)
