"""Who is let in: this machine until the first key exists, then keys with the scope of what they ask for; nobody else, ever."""

import itertools
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.testclient import TestClient

from api.app import create_app
from api.callers import REMEMBERED_SECONDS, Keyring, client_address
from api.endpoint import Endpoint
from planner.schemas.keys import AccessScope, NewApiKey
from planner.services import keys
from planner.settings import Settings
from planner.storage.database import Database
from tests.api.conftest import Clock, local_client

PROBLEM = "application/problem+json"
HOME = "http://127.0.0.1"
CLOSED = ("/v1/models", "/v1/nowhere", "/metrics", "/models/x", "/nowhere")
OPEN = ("/healthz", "/readyz", "/openapi.json", "/docs", "/sign-in", "/static/css/base.css")


@pytest.fixture
def opened(sqlite_template: Path, tmp_path: Path) -> Iterator[Database]:
    """An empty SQLite database: what differs between databases is tested with the keys themselves."""
    path = tmp_path / "bitplan.db"
    path.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{path}")
    yield database
    database.close()


@pytest.fixture
def app(opened: Database, tmp_path: Path) -> FastAPI:
    return create_app(Settings(data_dir=tmp_path, model_roots=(tmp_path,)), opened)


@pytest.fixture
def here(app: FastAPI) -> Iterator[TestClient]:
    with local_client(app) as client:
        yield client


def elsewhere(app: FastAPI) -> TestClient:
    return TestClient(app, "http://planner.example", client=("10.1.2.3", 50_000), raise_server_exceptions=False)


def make_key(database: Database, *scopes: AccessScope, valid_for: timedelta | None = None) -> NewApiKey:
    with database.session() as session:
        return keys.create_key(session, "somebody", scopes, valid_for=valid_for)


def bearer(key: NewApiKey | str) -> dict[str, str]:
    return {"authorization": f"Bearer {key if isinstance(key, str) else key.key}"}


def test_whoever_comes_from_elsewhere_needs_a_key(app: FastAPI) -> None:
    for path in CLOSED:
        answer = elsewhere(app).get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (401, PROBLEM)
        assert answer.headers["www-authenticate"] == 'Bearer realm="bitplan"'
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert "bitplan keys create" in answer.json()["detail"]


def test_health_the_document_and_the_sign_in_form_are_open_to_all(app: FastAPI, opened: Database) -> None:
    make_key(opened, AccessScope.READ)
    for path in OPEN:
        assert elsewhere(app).get(path, headers=bearer("nonsense")).status_code == 200, path


def test_this_machine_needs_no_key_until_one_exists(here: TestClient, app: FastAPI, opened: Database) -> None:
    assert here.get("/v1/models").status_code == 200
    key = make_key(opened, AccessScope.READ)
    app.state.keyring.look_whether_any_exists()
    assert here.get("/v1/models").status_code == 401
    assert here.get("/v1/models", headers=bearer(key)).status_code == 200
    with opened.session() as session:
        keys.revoke_key(session, key.id)
    assert here.get("/v1/models").status_code == 401, "revoking the last key opens nothing"


@pytest.mark.parametrize(("require", "expected"), [(True, 401), (False, 200)])
def test_the_operator_decides_whether_this_machine_needs_a_key(
    opened: Database, tmp_path: Path, require: bool, expected: int
) -> None:
    if not require:
        make_key(opened, AccessScope.READ)
    app = create_app(Settings(data_dir=tmp_path, require_key=require), opened)
    assert local_client(app).get("/v1/models").status_code == expected
    assert elsewhere(app).get("/v1/models").status_code == 401


def test_a_proxy_or_a_name_of_somebody_else_is_not_this_machine(here: TestClient) -> None:
    for headers in (
        {"x-forwarded-for": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"},
        {"x-real-ip": "127.0.0.1"},
        {"via": "1.1 proxy"},
        {"host": "attacker.example"},
        {"host": "127.0.0.1.attacker.example"},
        {"host": ""},
    ):
        assert here.get("/v1/models", headers=headers).status_code == 401, headers


def test_this_machine_has_several_names(here: TestClient) -> None:
    for host in ("localhost", "localhost:8000", "[::1]:8000", "127.0.0.1:1"):
        assert here.get("/v1/models", headers={"host": host}).status_code == 200, host


def test_a_key_that_is_none_is_refused_even_here(here: TestClient) -> None:
    values = ("Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "Bearer nonsense", "bitplan_0_x", "Bearer \xff", "Bearer " + "x" * 5000)
    for value in values:
        answer = here.get("/v1/models", headers=[(b"authorization", value.encode("latin-1"))])
        assert (answer.status_code, answer.headers["content-type"]) == (401, PROBLEM)
        assert "www-authenticate" in answer.headers


def test_a_key_does_what_its_scope_says(app: FastAPI, opened: Database) -> None:
    own = {"read": {"read"}, "plan": {"read", "plan"}, "measure": {"read", "measure"}}
    allowed = own | {"admin": {"read", "plan", "measure", "admin"}}
    asked = {
        "read": ("GET", "/v1/models"),
        "plan": ("POST", "/v1/frontiers"),
        "measure": ("POST", "/v1/jobs"),
        "admin": ("DELETE", "/v1/models/x"),
    }
    owners = {scope: make_key(opened, scope) for scope in AccessScope}
    for scope, (needed, (method, path)) in itertools.product(AccessScope, asked.items()):
        answer = elsewhere(app).request(method, path, headers=bearer(owners[scope]))
        if needed in allowed[scope]:
            assert answer.status_code in (200, 404, 422)
        else:
            assert (answer.status_code, answer.headers["content-type"]) == (403, PROBLEM)
            assert answer.json()["scope"] == needed
            assert f'error="insufficient_scope", scope="{needed}"' in answer.headers["www-authenticate"]


def test_a_key_is_refused_before_its_body_is_read(app: FastAPI, opened: Database) -> None:
    read = []

    def body() -> Iterator[bytes]:
        read.append(True)
        yield b"{}"

    key = bearer(make_key(opened, AccessScope.READ))
    assert elsewhere(app).post("/v1/jobs", content=body(), headers=key).status_code == 403
    assert read == []


def test_every_operation_that_changes_something_says_who_may(app: FastAPI) -> None:
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute) and route.include_in_schema and context.methods != {"GET"}:
            assert hasattr(route.endpoint, "bitplan_scope"), f"{context.methods} {context.path}: declare @needs(…)"
            if "POST" in (context.methods or ()):
                assert isinstance(route, Endpoint), f"{context.path}: its router needs route_class=Endpoint"


def test_no_operation_but_health_answers_without_a_key(app: FastAPI) -> None:
    nobody = elsewhere(app)
    document = nobody.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"key", "cookie"}
    assert document["paths"]["/v1/frontiers"]["post"]["security"] == [{"key": ["plan"]}, {"cookie": ["plan"]}]
    operations = [
        (method, path, operation["security"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert {path for _, path, security in operations if not security} == {"/healthz", "/readyz"}
    for method, path, security in operations:
        answer = nobody.request(method, re.sub(r"{\w+}", "x", path))
        assert answer.status_code == (401 if security else 200), path


def test_a_keyring_asks_again_after_ten_seconds_or_when_a_key_ends(opened: Database) -> None:
    clock = Clock()
    keyring = Keyring(opened, clock=clock)
    lasting, ending = make_key(opened, AccessScope.READ), make_key(opened, AccessScope.READ, valid_for=timedelta(seconds=5))
    assert keyring.remembered(lasting.key) is None
    for key in (lasting, ending):
        assert keyring.look_up(key.key) == keyring.remembered(key.key)
    clock.now = 6.0
    assert keyring.remembered(lasting.key) is not None
    assert keyring.remembered(ending.key) is None
    clock.now = REMEMBERED_SECONDS
    assert keyring.remembered(lasting.key) is None


def test_the_last_use_of_a_key_is_written_when_the_service_stops(app: FastAPI, opened: Database) -> None:
    key = make_key(opened, AccessScope.READ)
    with local_client(app) as client:
        client.get("/v1/models", headers=bearer(key))
    with opened.read_session() as session:
        assert keys.list_keys(session).items[0].last_used_at is not None


def test_who_asks_too_often_waits(opened: Database, tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path, requests_per_second=1.0), opened)
    first, second = make_key(opened, AccessScope.READ), make_key(opened, AccessScope.READ)
    with elsewhere(app) as client:
        for key in (first, second):
            app.state.keyring.look_up(key.key)
        statuses = [client.get("/v1/models", headers=bearer(first)).status_code for _ in range(8)]
        assert statuses[:2] == [200, 200]
        assert 429 in statuses
        assert client.get("/v1/models", headers=bearer(second)).status_code == 200, "each key has a bucket of its own"
        refused = [client.get("/v1/models", headers=bearer("nonsense")) for _ in range(8)][-1]
    assert (refused.status_code, refused.headers["content-type"]) == (429, PROBLEM)
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.json()["type"] == "urn:bitplan:problem:too-many-requests"


def sign_in(client: TestClient, key: str, following: str = "/", **headers: str) -> str:
    """Where the browser is sent to; empty if it is not."""
    sent = {"origin": str(client.base_url).rstrip("/")} | headers
    answer = client.post("/sign-in", data={"key": key, "next": following}, headers=sent, follow_redirects=False)
    return answer.headers.get("location", "")


def test_a_browser_signs_in_by_the_form_and_out_again(app: FastAPI, opened: Database) -> None:
    key = make_key(opened, AccessScope.PLAN)
    browser = elsewhere(app)
    asked = browser.get("/models/x", headers={"accept": "text/html"}, follow_redirects=False)
    assert (asked.status_code, asked.headers["location"]) == (303, "/sign-in?next=/models/x")
    assert 'name="key"' in browser.get(asked.headers["location"]).text
    assert sign_in(browser, "nonsense") == ""
    assert sign_in(browser, f" {key.key} ", "/models/x") == "/models/x"
    cookie = next(iter(browser.cookies.jar))
    assert (cookie.name, cookie.value, cookie.path) == ("bitplan_key", key.key, "/")
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "strict"
    assert "Sign out" in browser.get("/").text
    assert browser.post("/v1/frontiers", headers={"origin": "http://planner.example"}).status_code == 422
    out = browser.post("/sign-out", headers={"sec-fetch-site": "same-origin"}, follow_redirects=False)
    assert out.headers["location"] == "/sign-in"
    assert browser.get("/v1/models").status_code == 401


def test_signing_in_leads_to_no_other_site(app: FastAPI, opened: Database) -> None:
    key = make_key(opened, AccessScope.READ).key
    for following in ("//evil.example", "https://evil.example", "/\\evil.example", "", "/a\nb"):
        assert sign_in(elsewhere(app), key, following) == "/", following


def test_a_form_that_is_too_long_is_refused(app: FastAPI) -> None:
    answer = elsewhere(app).post("/sign-in", content=b"key=" + b"x" * 9000, headers={"origin": "http://planner.example"})
    assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)


def test_a_cookie_counts_only_for_what_a_page_of_this_service_sends(app: FastAPI, opened: Database) -> None:
    browser = elsewhere(app)
    browser.cookies.set("bitplan_key", make_key(opened, AccessScope.ADMIN).key)
    sent: list[tuple[dict[str, str], int]] = [
        ({"origin": "http://planner.example"}, 422),
        ({"sec-fetch-site": "same-origin", "origin": "http://planner.example"}, 422),
        ({}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://planner.example:8080"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://[evil"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": "http://planner.example"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
    ]
    for headers, status in sent:
        assert browser.get("/v1/models", headers=headers).status_code == 200
        assert browser.post("/v1/frontiers", headers=headers).status_code == status, headers


def test_another_site_cannot_use_that_this_machine_needs_no_key(here: TestClient) -> None:
    assert here.post("/v1/frontiers").status_code == 422
    assert here.post("/v1/frontiers", headers={"origin": HOME}).status_code == 422
    assert here.post("/v1/frontiers", headers={"origin": "http://evil.example"}).status_code == 403


def test_cookies_of_others_on_this_host_hide_no_key(app: FastAPI, opened: Database) -> None:
    key = make_key(opened, AccessScope.READ).key
    for others in ('theme={"dark":true}; ', "a b; ", "=x;;", "\xff=1; ", 'q="; '):
        cookies = f"{others}bitplan_key={key}; last=[1]".encode("latin-1")
        assert elsewhere(app).get("/v1/models", headers=[(b"cookie", cookies)]).status_code == 200, others


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1:2:3:4", "2001:db8::"),
        ("2001:db8:0:1::5", "2001:db8:0:1::"),
        ("testclient", "testclient"),
    ],
)
def test_one_address_is_one_client(client: str, expected: str) -> None:
    assert client_address({"type": "http", "client": (client, 1)}) == expected


def test_a_header_names_the_caller_before_a_cookie_does(app: FastAPI, opened: Database) -> None:
    browser = elsewhere(app)
    browser.cookies.set("bitplan_key", "nonsense")
    assert browser.get("/v1/models").status_code == 401
    assert browser.get("/v1/models", headers=bearer(make_key(opened, AccessScope.READ))).status_code == 200


def test_a_part_of_a_page_takes_the_whole_page_to_the_form_and_back(app: FastAPI) -> None:
    headers = {"accept": "text/html", "hx-request": "true"}
    for current, following in (
        ("http://planner.example/jobs?state=queued&model=x", "/jobs%3Fstate%3Dqueued%26model%3Dx"),
        ("http://planner.example/jobs", "/jobs"),
        ("http://evil.example//elsewhere", "//elsewhere"),  # which the form takes for no path of this service
        ("http://[", "/"),
    ):
        answer = elsewhere(app).get("/parts/workers", headers=headers | {"hx-current-url": current})
        assert (answer.status_code, answer.headers["hx-redirect"]) == (401, f"/sign-in?next={following}")


def test_the_form_leads_back_to_the_whole_address(app: FastAPI, opened: Database) -> None:
    asked = elsewhere(app).get("/models/x?format=INT4&layer=a.b", headers={"accept": "text/html"}, follow_redirects=False)
    assert asked.headers["location"] == "/sign-in?next=/models/x%3Fformat%3DINT4%26layer%3Da.b"
    key = make_key(opened, AccessScope.READ).key
    assert sign_in(elsewhere(app), key, "/models/x?format=INT4&layer=a.b") == "/models/x?format=INT4&layer=a.b"
    endless = elsewhere(app).get(f"/models/x?layer={'y' * 3000}", headers={"accept": "text/html"}, follow_redirects=False)
    assert endless.headers["location"] == "/sign-in?next=/models/x"
