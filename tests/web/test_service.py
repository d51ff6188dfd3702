"""Scripts of the page ask a busy service again where that is harmless, and else say when it can be asked again."""

from collections.abc import Sequence
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.web.chromium import Watched

_ASK = """async ([path, options, patience]) => {
  const { ask } = await import("/static/js/service.js");
  const giving = new AbortController();
  if (patience !== null) setTimeout(() => giving.abort(), patience);
  try {
    return { found: await ask(path, { ...options, signal: giving.signal }) };
  } catch (error) {
    return { error: error.name === "AbortError" ? "given up" : error.message, again: error.again ?? null };
  }
}"""
POST = {"method": "POST", "body": {}}


@pytest.mark.parametrize(
    ("options", "answers", "expected", "asked"),
    [
        ({}, [(503, "0"), (429, "0"), (200, None)], {"found": {"ok": True}}, 3),
        ({}, [(503, "0")] * 4, {"error": "busy (it can be asked again in 0 s)", "again": 0}, 3),
        ({}, [(429, "3600")], {"error": "busy (it can be asked again in 1 h)", "again": 3600}, 1),
        ({}, [(503, None)], {"error": "busy", "again": None}, 1),
        ({}, [(503, "soon")], {"error": "busy", "again": None}, 1),
        ({}, [(503, "Thu, 01 Jan 1970 00:00:00 GMT"), (200, None)], {"found": {"ok": True}}, 2),
        ({}, [(422, "0")], {"error": "busy", "again": 0}, 1),
        (POST, [(503, "5")], {"error": "busy (it can be asked again in 5 s)", "again": 5}, 1),
        (POST | {"harmless": True}, [(503, "0"), (200, None)], {"found": {"ok": True}}, 2),
    ],
    ids=["again", "twice-at-most", "too-long", "unsaid", "unreadable", "a-date", "refused", "a-post", "a-harmless-post"],
)
def test_a_busy_service_is_asked_again(
    watched: Watched,
    options: dict[str, Any],
    answers: Sequence[tuple[int, str | None]],
    expected: dict[str, Any],
    asked: int,
) -> None:
    watched.refusals = (422, 429, 503)
    came: list[Route] = []

    def answer(route: Route) -> None:
        status, again = answers[len(came)]
        came.append(route)
        headers = {} if again is None else {"retry-after": again}
        route.fulfill(status=status, headers=headers, json={"ok": True} if status == 200 else {"detail": "busy"})

    page = watched.page
    page.goto("/sign-in")
    page.route("**/v1/nothing", answer)
    assert page.evaluate(_ASK, ["/v1/nothing", options, None]) == expected
    assert len(came) == asked


def test_a_question_that_is_given_up_waits_no_longer(watched: Watched) -> None:
    watched.refusals = (503,)
    page = watched.page
    page.goto("/sign-in")
    page.route("**/v1/nothing", lambda route: route.fulfill(status=503, headers={"retry-after": "9"}, json={}))
    assert page.evaluate(_ASK, ["/v1/nothing", {}, 20]) == {"error": "given up", "again": None}


def test_a_part_of_a_page_that_is_refused_says_when_to_ask_again(watched: Watched) -> None:
    watched.refusals = (429,)
    page = watched.page
    page.goto("/plans")
    refusal = {"detail": "too many requests"}
    page.route("**/plans?*", lambda route: route.fulfill(status=429, headers={"retry-after": "90"}, json=refusal))
    page.select_option("#filters select[name=runtime]", "vllm")
    expect(page.locator("#notice")).to_have_text("too many requests (it can be asked again in 2 min)")
    page.unroute("**/plans?*")
    page.select_option("#filters select[name=runtime]", "mlx")
    expect(page.locator("#notice")).to_be_hidden()
