"""A JSON body as a document, where it is a good one."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

Document = TypeVar("Document", bound=BaseModel)


async def read_json(request: Request, kind: type[Document]) -> Document | None:
    """What the body says; ``None`` if it is no such document, which FastAPI tells better.

    Args:
        request: whose body is read; whoever asks for it later gets the same bytes.
        kind: what the body should be.

    Raises:
        HTTPException: the body is too large, or its sender is gone.
    """
    if request.headers.get("content-type") != "application/json":
        return None
    try:
        return kind.model_validate(from_json(await request.body()))
    except ClientDisconnect as error:
        raise HTTPException(400, "the sender was gone before the body had arrived") from error
    except (ValidationError, ValueError):
        return None
