"""Secrets are taken out of texts; what is none stays as it is."""

import json
import time
from urllib.parse import quote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from planner.redaction import HIDDEN, Redactor

CANARY = "c4nary-5ecret"


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql+psycopg://someone:{CANARY}@db.internal:5432/bitplan",
        f"cannot connect to postgresql://someone:{CANARY}@host/name?sslmode=require",
        f"host=db user=someone password={CANARY} dbname=bitplan",
        f"https://host/path?api_key={CANARY}&x=1",
        f"Authorization: Bearer {CANARY}",
        f"{{'authorization': 'Basic {CANARY}'}}",
        f"headers=[(b'x-api-key', b'{CANARY}')]",
        f'[["authorization", "Bearer {CANARY}"]]',
        f'{{"BITPLAN_PASSWORD": "{CANARY}"}}',
        f"--db-password={CANARY}",
        f"curl -H 'X-API-Key: {CANARY}' http://host/",
        f"Cookie: {CANARY}",
        f"no key bitplan_0123456789ab_{CANARY}-more-of-it is known",
        f"sent token={CANARY}, got 403",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    hide = Redactor()
    assert CANARY not in hide(text)
    assert HIDDEN in hide(text)
    as_json = json.dumps({"event": text, "more": 1})
    assert CANARY not in hide(as_json)
    assert json.loads(hide(as_json))["more"] == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "solved in 3 ms: gap 0.0",
        "http://127.0.0.1:8000/docs and sqlite:////var/lib/bitplan.db",
        "Correct the user and password in BITPLAN_DATABASE_URL.",
        "a token, or none",
        "2,048 tokens of 16 sequences",
        '{"route": "/v1/plans/{plan}", "status": 201, "duration_ms": 3.1}',
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert Redactor()(text) == text


@given(secret=st.text(min_size=6, max_size=40), before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_known_secret_is_hidden_however_it_is_written(secret: str, before: str, after: str) -> None:
    assume(not any("\ud800" <= letter <= "\udfff" for letter in secret))  # no URL or terminal can write these
    hide = Redactor([secret])
    for written in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1]):
        assert written not in hide(f"{before}{written}{after}").replace(HIDDEN, "") or written in HIDDEN


def test_a_long_text_takes_no_longer_than_its_length_says() -> None:
    hide = Redactor(["not-in-there"])
    for text in ("a-" * 20_000, "token" * 20_000, "://" * 20_000, 'token"' * 20_000, "bitplan_0" * 20_000):
        begun = time.process_time()
        hide(text)
        assert time.process_time() - begun < 1  # many where each word is a new beginning


def test_short_secrets_hide_no_words() -> None:
    assert Redactor(["", "a"])("a plan") == "a plan"
