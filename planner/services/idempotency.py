"""Answers to requests that carry an idempotency key: kept for a day, given again to whoever repeats the request.

The answer is written in the transaction of what the request did, so there is no moment at which one exists without the other:
a service that is killed has either done and answered, or done nothing.
"""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import final

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from planner.errors import ConflictError, IdempotencyKeyReusedError
from planner.storage.database import Database
from planner.storage.tables import IdempotentAnswerRow

KEPT = timedelta(hours=24)
_QUICK = 1


class OvertakenError(ConflictError):
    """The same request was carried out by somebody else while this one was prepared; its answer can be found."""


@final
@dataclass(frozen=True, slots=True)
class RepeatableRequest:
    """What makes two requests the same one.

    Attributes:
        owner: id of the API key; empty without one.
        key: what the client sent as ``Idempotency-Key``.
        digest: SHA-256 of method, target and body.
    """

    owner: str
    key: str
    digest: bytes

    @classmethod
    def of(cls, owner: str, key: str, *content: bytes) -> "RepeatableRequest":
        """Digest the parts of a request, each with its length, so that no two splits are the same."""
        digest = hashlib.sha256()
        for part in content:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return cls(owner, key, digest.digest())


@final
@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An HTTP answer that can be given again."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def find_answer(session: Session, request: RepeatableRequest) -> KeptAnswer | None:
    """The answer that the request was given before; ``None`` for a new one, or one of more than a day ago.

    Raises:
        IdempotencyKeyReusedError: another request had this key.
    """
    row = session.get(IdempotentAnswerRow, (request.owner, request.key))
    if row is None or row.created_at <= _forgotten_at(session):
        return None
    if row.request_digest != request.digest:
        msg = (
            f"the Idempotency-Key {request.key!r} was sent with another request: send a fresh key with every new request, "
            f"and the old one only to repeat a request unchanged"
        )
        raise IdempotencyKeyReusedError(msg)
    return KeptAnswer(row.status, row.headers, zlib.decompress(row.body))


def reserve(session: Session, request: RepeatableRequest) -> None:
    """Be the one that carries the request out: whoever else tries waits for the end of this transaction.

    Raises:
        OvertakenError: somebody else carried it out in the meantime.
    """
    mine = (IdempotentAnswerRow.owner == request.owner, IdempotentAnswerRow.key == request.key)
    session.execute(delete(IdempotentAnswerRow).where(*mine, IdempotentAnswerRow.created_at <= _forgotten_at(session)))
    row = IdempotentAnswerRow(
        owner=request.owner,
        key=request.key,
        request_digest=request.digest,
        status=0,
        headers={},
        body=b"",
        created_at=Database.of(session).now(session),
    )
    session.add(row)
    try:
        session.flush()
    except IntegrityError as error:
        msg = f"another request with the Idempotency-Key {request.key!r} was carried out at the same time: repeat it"
        raise OvertakenError(msg) from error


def keep_answer(session: Session, request: RepeatableRequest, answer: KeptAnswer) -> None:
    """Write the answer of a request that was reserved in this transaction."""
    row = session.get_one(IdempotentAnswerRow, (request.owner, request.key))
    row.status, row.headers, row.body = answer.status, dict(answer.headers), zlib.compress(answer.body, _QUICK)


def forget_old_answers(session: Session) -> None:
    """Delete what is older than a day."""
    session.execute(delete(IdempotentAnswerRow).where(IdempotentAnswerRow.created_at <= _forgotten_at(session)))


def _forgotten_at(session: Session) -> datetime:
    return Database.of(session).now(session) - KEPT
