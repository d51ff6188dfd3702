"""API keys: what is stored cannot be used, what was revoked or has expired is refused, and nothing opens by itself."""

import hashlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import select, update

from planner.errors import InvalidRequestError, NotFoundError, UnauthenticatedError
from planner.schemas.keys import AccessScope, NewApiKey
from planner.services import keys
from planner.storage.database import Database
from planner.storage.tables import ApiKeyRow, utc_now

EVERYWHERE = "0.0.0.0"  # noqa: S104  (what is refused)


def _create(database: Database, *scopes: AccessScope, valid_for: timedelta | None = None) -> NewApiKey:
    with database.session() as session:
        return keys.create_key(session, "somebody", scopes or (AccessScope.READ,), valid_for=valid_for)


def test_a_key_is_its_owners_and_only_its_digest_is_stored(database: Database) -> None:
    created = _create(database, AccessScope.PLAN, AccessScope.MEASURE)
    with database.read_session() as session:
        found = keys.authenticate(session, created.key)
        row = session.scalars(select(ApiKeyRow)).one()
    assert (found.id, found.scopes) == (created.id, [AccessScope.PLAN, AccessScope.MEASURE])
    assert row.digest == hashlib.sha256(created.key.encode()).digest()
    assert created.key not in repr(vars(row))
    assert created.key.startswith(f"{created.prefix}_")
    assert "key" not in found.model_dump()


def test_what_is_nearly_a_key_is_none(database: Database) -> None:
    key = _create(database).key
    other = _create(database).key
    mixed = key[:21] + other[21:]
    for wrong in (
        "",
        "x",
        key[:-1],
        key + "A",
        key.upper(),
        mixed,
        key.replace("bitplan_", "bitplan_0", 1),
        "bitplan_é",
        " " + key,
    ):
        with database.read_session() as session, pytest.raises(UnauthenticatedError, match="no key of this service"):
            keys.authenticate(session, wrong)


def test_a_revoked_key_is_refused_and_stays_in_the_list(database: Database) -> None:
    created = _create(database)
    with database.session() as session:
        revoked = keys.revoke_key(session, created.prefix)
    with database.session() as session:
        assert keys.revoke_key(session, created.id).revoked_at == revoked.revoked_at
    with database.read_session() as session:
        with pytest.raises(UnauthenticatedError, match=f"{created.prefix} was revoked on 20"):
            keys.authenticate(session, created.key)
        assert [key.id for key in keys.list_keys(session).items] == [created.id]
        assert keys.exists_any(session)
        with pytest.raises(NotFoundError, match="keys list"):
            keys.revoke_key(session, created.key)


def test_a_key_ends_when_it_was_said_to(database: Database) -> None:
    created = _create(database, valid_for=timedelta(hours=1))
    with database.session() as session:
        keys.authenticate(session, created.key)
        session.execute(update(ApiKeyRow).values(expires_at=utc_now() - timedelta(seconds=1)))
    with database.read_session() as session, pytest.raises(UnauthenticatedError, match="expired on 20"):
        keys.authenticate(session, created.key)


@pytest.mark.parametrize("valid_for", [timedelta(0), timedelta(days=-1), timedelta.max])
def test_a_key_that_would_never_be_valid_is_not_made(database: Database, valid_for: timedelta) -> None:
    with pytest.raises(InvalidRequestError, match="positive number of days"):
        _create(database, valid_for=valid_for)


@pytest.mark.parametrize(("name", "scopes"), [("", (AccessScope.READ,)), ("a\nb", (AccessScope.READ,)), ("a", ())])
def test_a_key_has_a_name_and_a_scope(database: Database, name: str, scopes: tuple[AccessScope, ...]) -> None:
    with pytest.raises(ValidationError), database.session() as session:
        keys.create_key(session, name, scopes)
    with database.read_session() as session:
        assert keys.list_keys(session).items == []


def test_uses_are_noted_and_never_go_back(database: Database) -> None:
    created = _create(database)
    now = utc_now()
    for time in (now, now - timedelta(hours=1)):
        with database.session() as session:
            keys.record_uses(session, {created.id: time, "gone": time})
    with database.read_session() as session:
        assert keys.authenticate(session, created.key).last_used_at == now


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("localhost", True),
        ("LOCALHOST.", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        (EVERYWHERE, False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("", False),
    ],
)
def test_loopback_is_what_no_other_machine_can_reach(host: str, expected: bool) -> None:
    assert keys.is_loopback(host) is expected


def test_listening_where_nobody_could_be_let_in_is_refused(database: Database) -> None:
    with database.read_session() as session:
        keys.check_listening(session, "127.0.0.1", require_key=None)
        with pytest.raises(InvalidRequestError, match=r"0\.0\.0\.0 can be reached .* `bitplan keys create NAME"):
            keys.check_listening(session, EVERYWHERE, require_key=False)
        with pytest.raises(InvalidRequestError, match="BITPLAN_REQUIRE_KEY is set"):
            keys.check_listening(session, "::1", require_key=True)
    _create(database)
    with database.read_session() as session:
        keys.check_listening(session, EVERYWHERE, require_key=None)


@given(st.sampled_from(AccessScope))
def test_every_scope_includes_itself_and_reading(scope: AccessScope) -> None:
    assert {scope, AccessScope.READ} <= scope.includes <= AccessScope.ADMIN.includes == set(AccessScope)
