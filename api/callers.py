"""Who calls: the owner of an API key, or somebody on this machine."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import cast, final

from starlette.datastructures import Headers
from starlette.types import Scope

from planner.schemas.keys import AccessScope, ApiKey
from planner.services import keys
from planner.services.keys import is_loopback
from planner.services.plan_trail import LOCAL as LOCAL_NAME
from planner.storage.database import Database
from planner.storage.tables import utc_now

REMEMBERED_SECONDS = 10.0
_REMEMBERED_KEYS = 10_000
_CALLER = "bitplan.caller"
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip", "via")


@final
@dataclass(frozen=True, slots=True)
class Caller:
    """Who a request comes from.

    Attributes:
        owner: id of the API key; empty without one.
        name: what logs and audit trails call the caller.
        scopes: what the caller may do.
    """

    owner: str
    name: str
    scopes: frozenset[AccessScope]

    @classmethod
    def of_key(cls, key: ApiKey) -> "Caller":
        """The owner of a key."""
        return cls(
            key.id, f"{key.name} ({key.prefix})", frozenset[AccessScope]().union(*(scope.includes for scope in key.scopes))
        )


LOCAL = Caller("", LOCAL_NAME, frozenset(AccessScope))
"""Somebody on this machine, without a key: whoever is here could read the database as well."""
NOBODY = Caller("", "anonymous", frozenset())
"""Whoever asks for what is open to everybody."""


def caller_of(scope: Scope) -> Caller:
    """Who the request comes from, as ``Access`` found out."""
    return cast(Caller, scope[_CALLER])


def set_caller(scope: Scope, caller: Caller) -> None:
    """Note who the request comes from; ``request.state.actor`` is the caller's name."""
    scope[_CALLER] = caller
    scope.setdefault("state", {})["actor"] = caller.name


def client_address(scope: Scope) -> str:
    """The client's address; empty where the server has none.

    Of IPv6, the 64 bits that one client has for itself are cut off; an IPv4 address that came over IPv6 is what it was.
    """
    client = scope.get("client")
    return _network(str(client[0])) if client else ""


@lru_cache(maxsize=128)
def _network(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return host
    return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))


def is_local(scope: Scope) -> bool:
    """Whether the request was made on this machine, for this machine's name, and was passed on by no proxy.

    The Host must be a loopback name: a page of another site can point its own name to 127.0.0.1, but not lie about it.
    """
    client = scope.get("client")
    if not client or not is_loopback(str(client[0])):
        return False
    headers = Headers(scope=scope)
    host = headers.get("host", "")
    name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return is_loopback(name) and not any(header in headers for header in _FORWARDED)


@final
class Keyring:
    """Keys as the database has them, remembered for some seconds, and the times of their use, kept until they are written.

    A revoked key is refused after ``REMEMBERED_SECONDS`` at the latest. Only good keys are remembered. For one event loop.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet.

        Args:
            database: where the keys are.
            clock: seconds that never go back.
        """
        self._database = database
        self._clock = clock
        self._known: dict[str, tuple[Caller, float]] = {}
        self._uses: dict[str, datetime] = {}
        self._exists_until = 0.0
        self._exists: bool | None = None

    def remembered(self, key: str) -> Caller | None:
        """The owner of a key that was looked up a moment ago."""
        caller, until = self._known.get(key, (None, 0.0))
        if caller is None or until <= self._clock():
            return None
        self._uses[caller.owner] = utc_now()
        return caller

    def look_up(self, key: str) -> Caller:
        """The owner of a key, by the database. Blocks.

        Raises:
            UnauthenticatedError: no valid key.
            StorageError: the database does not answer.
        """
        with self._database.read_session() as session:
            found = keys.authenticate(session, key)
            now = self._database.now(session)
        left = REMEMBERED_SECONDS if found.expires_at is None else (found.expires_at - now).total_seconds()
        if len(self._known) >= _REMEMBERED_KEYS:
            self._known.clear()
        caller = Caller.of_key(found)
        self._known[key] = (caller, self._clock() + min(left, REMEMBERED_SECONDS))
        self._uses[caller.owner] = utc_now()
        return caller

    def known_to_exist(self) -> bool | None:
        """Whether a key was ever created; ``None`` if the database has to be asked (again)."""
        return self._exists if self._exists or self._clock() < self._exists_until else None

    def look_whether_any_exists(self) -> bool:
        """Ask the database whether a key was ever created. Blocks.

        Raises:
            StorageError: the database does not answer.
        """
        with self._database.read_session() as session:
            exists = keys.exists_any(session)
        self._exists, self._exists_until = exists, self._clock() + REMEMBERED_SECONDS
        return exists

    def write_uses(self) -> None:
        """Write when keys were last used. Blocks; what could not be written is tried again the next time.

        Raises:
            StorageError: the database cannot be written.
        """
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            with self._database.session() as session:
                keys.record_uses(session, uses)
        except BaseException:
            self._uses = uses | self._uses
            raise
