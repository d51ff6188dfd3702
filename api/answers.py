"""Answers with large documents."""

from pydantic import BaseModel
from starlette.responses import Response


def json_answer(document: BaseModel | str | bytes, *, status: int = 200, location: str | None = None) -> Response:
    """A document as JSON, written by the thread that has it.

    FastAPI would queue a document for a second turn in its threads, to validate what is valid already: under load that
    doubles the wait, and every document that waits keeps its memory.

    Args:
        document: what the endpoint's ``response_model`` describes, or its JSON where that is written already.
        status: of the answer.
        location: where a resource that was created is found.
    """
    headers = {"location": location} if location is not None else None
    written = document.model_dump_json() if isinstance(document, BaseModel) else document
    return Response(written, status, headers, media_type="application/json")
