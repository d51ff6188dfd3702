"""API keys: 256 random bits for their owner, a SHA-256 for the database.

A key reads ``bitplan_<id>_<secret>``. The id finds the row; the digest of the whole key, compared in constant time, decides.
A plain hash is enough: nobody guesses 256 random bits, so nothing is gained by a slow one.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from ipaddress import ip_address

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from planner.errors import InvalidRequestError, NotFoundError, UnauthenticatedError
from planner.schemas.keys import AccessScope, ApiKey, ApiKeyPage, NewApiKey
from planner.services.pagination import page
from planner.storage.database import Database
from planner.storage.tables import ApiKeyRow

_MARK = "bitplan_"
_KEY = re.compile(_MARK + r"([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_CREATE = "`bitplan keys create NAME --scope plan` makes one"


def create_key(session: Session, name: str, scopes: Collection[AccessScope], *, valid_for: timedelta | None = None) -> NewApiKey:
    """Make a key.

    Args:
        session: a write transaction.
        name: whose key it is, or what it is for.
        scopes: what it allows, at least one.
        valid_for: how long from now on it is accepted; ``None`` for ever.

    Raises:
        InvalidRequestError: a time that has passed already, or is too far away to be written as a date.
        ValidationError: an empty name or one with control characters, or no scope.
    """
    identity = secrets.token_hex(6)
    key = f"{_MARK}{identity}_{secrets.token_urlsafe(32)}"
    now = Database.of(session).now(session)
    row = ApiKeyRow(
        id=identity,
        name=name,
        digest=_digest(key),
        scopes=[scope.value for scope in AccessScope if scope in scopes],
        created_at=now,
        expires_at=None if valid_for is None else _end(now, valid_for),
    )
    created = NewApiKey(**_document(row).model_dump(), key=key)
    session.add(row)
    return created


def list_keys(session: Session, *, cursor: str | None = None, limit: int = 50) -> ApiKeyPage:
    """Every key that was ever created, newest first; revoked and expired ones too.

    Raises:
        InvalidRequestError: a cursor that no page gave.
    """
    key = (ApiKeyRow.created_at, ApiKeyRow.id)
    rows, following = page(session, select(ApiKeyRow), key=key, cursor=cursor, limit=limit)
    return ApiKeyPage(items=[_document(row[0]) for row in rows], next=following)


def revoke_key(session: Session, identity: str) -> ApiKey:
    """Refuse a key from now on. Revoking twice changes nothing.

    Args:
        session: a write transaction.
        identity: the key's id or prefix, as lists show them.

    Raises:
        NotFoundError: no such key.
    """
    row = session.get(ApiKeyRow, identity.removeprefix(_MARK))
    if row is None:
        msg = f"no key {identity!r}: `bitplan keys list` shows the ids"
        raise NotFoundError(msg)
    row.revoked_at = row.revoked_at or Database.of(session).now(session)
    return _document(row)


def authenticate(session: Session, key: str) -> ApiKey:
    """Whose key this is.

    Raises:
        UnauthenticatedError: nobody's, or one that has expired or was revoked.
    """
    match = _KEY.fullmatch(key)
    row = session.get(ApiKeyRow, match.group(1)) if match else None
    if row is None or not hmac.compare_digest(row.digest, _digest(key)):
        msg = "this is no key of this service; `bitplan keys list` shows how its keys begin"
        raise UnauthenticatedError(msg)
    if row.revoked_at is not None:
        msg = f"the key {_MARK}{row.id} was revoked on {row.revoked_at:%Y-%m-%d}; {_CREATE}"
        raise UnauthenticatedError(msg)
    if row.expires_at is not None and row.expires_at <= Database.of(session).now(session):
        msg = f"the key {_MARK}{row.id} expired on {row.expires_at:%Y-%m-%d}; {_CREATE}"
        raise UnauthenticatedError(msg)
    return _document(row)


def exists_any(session: Session) -> bool:
    """Whether a key was ever created; an expired or revoked one counts, so that a service never opens by itself."""
    return session.scalar(select(ApiKeyRow.id).limit(1)) is not None


def record_uses(session: Session, uses: Mapping[str, datetime]) -> None:
    """Note when keys were last used.

    Args:
        session: a write transaction.
        uses: id of a key to the time of its use; what is noted already and later stays.
    """
    for identity, time in uses.items():
        earlier = or_(ApiKeyRow.last_used_at.is_(None), ApiKeyRow.last_used_at < time)
        session.execute(update(ApiKeyRow).where(ApiKeyRow.id == identity, earlier).values(last_used_at=time))


@lru_cache(maxsize=128)
def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own, which no other machine can reach."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def check_listening(session: Session, host: str, *, require_key: bool | None) -> None:
    """Refuse to listen where other machines, or those who need a key, could never be let in.

    Args:
        session: where to read.
        host: address to listen on.
        require_key: the setting.

    Raises:
        InvalidRequestError: a key is needed there, and none exists.
    """
    if (require_key is not True and is_loopback(host)) or exists_any(session):
        return
    why = f"{host} can be reached from other machines" if not is_loopback(host) else "BITPLAN_REQUIRE_KEY is set"
    msg = f"no API key exists, and {why}: {_CREATE} (or listen on 127.0.0.1, where none is needed until one exists)"
    raise InvalidRequestError(msg)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _end(now: datetime, valid_for: timedelta) -> datetime:
    try:
        end = now + valid_for
    except OverflowError:
        end = now
    if end <= now:
        msg = "a key is valid for some time from now on: give a positive number of days below a million, or none"
        raise InvalidRequestError(msg)
    return end


def _document(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        id=row.id,
        prefix=f"{_MARK}{row.id}",
        name=row.name,
        scopes=[AccessScope(scope) for scope in row.scopes],
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )
