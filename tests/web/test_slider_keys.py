"""The studio's slider by the keyboard: a key that is held queues nothing up, and where it is let go is what is shown at last."""

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, Request, Route

from tests.api.serving import Served, serve
from tests.web.chromium import Watched, watched_page

REPEATS = 40
PREVIEW = "**/v1/plans/preview*"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("keys"), blocks=2) as running:
        yield running


@pytest.fixture
def watched(browser: Browser, served: Served) -> Iterator[Watched]:
    with watched_page(browser, str(served.client.base_url).rstrip("/")) as opened:
        yield opened
        assert opened.faults == []


class Questions:
    """What a studio asks, and how much of it at once."""

    def __init__(self, page: Page) -> None:
        self.budgets: list[int] = []
        self.under_way = 0
        self.most = 0
        page.on("request", self._begun)
        for end in ("requestfinished", "requestfailed"):
            page.on(end, self._ended)

    def _begun(self, request: Request) -> None:
        if "/plans/preview" in request.url:
            self.budgets.append(json.loads(request.post_data or "")["budget"]["file_bytes"])
            self.under_way += 1
            self.most = max(self.most, self.under_way)

    def _ended(self, request: Request) -> None:
        self.under_way -= "/plans/preview" in request.url


def opened(page: Page) -> None:
    page.goto("/models/toy/studio?file_bytes=900000")
    page.wait_for_selector("body[data-frontier]")
    page.evaluate(
        """() => {
          window.written = 0;
          const replace = history.replaceState;
          history.replaceState = function (...given) { window.written += 1; replace.apply(this, given); };
        }"""
    )
    page.focus("#slider")


def shown(page: Page, value: int) -> None:
    page.wait_for_selector(f'body[data-shown="{value}"]')
    assert f"file_bytes={value}" in page.url


def budget(page: Page) -> int:
    return round(1e6 * float(page.input_value("#amount")))


@pytest.mark.parametrize("milliseconds", [0, 300], ids=["fast", "slow"])
def test_a_held_key_queues_nothing_up_and_its_last_position_wins(watched: Watched, milliseconds: int) -> None:
    page = watched.page
    opened(page)

    def later(route: Route) -> None:
        page.wait_for_timeout(milliseconds)
        route.continue_()

    if milliseconds:
        page.route(PREVIEW, later)
        page.keyboard.press("ArrowRight")  # from now on the page knows that plans take long
        shown(page, budget(page))
    asked, written = Questions(page), page.evaluate("window.written")
    for _ in range(REPEATS):
        page.keyboard.down("ArrowRight")
    page.keyboard.up("ArrowRight")
    last = budget(page)
    shown(page, last)
    assert asked.budgets[-1] == last
    assert asked.most <= 2  # the one that is given up, and the one that follows
    assert len(asked.budgets) <= (REPEATS if not milliseconds else 2)
    assert page.evaluate("window.written") == written + 1  # browsers refuse an address that is written too often
    assert page.get_attribute("#slider", "aria-valuetext") is not None


def test_the_ends_of_the_range_are_keys_too(watched: Watched, served: Served) -> None:
    asked = {"model": "toy", "budget": {"file_bytes": 900_000}}
    (limit,) = served.client.post("/v1/plans/preview", json=asked).json()["limits"]
    page = watched.page
    opened(page)
    for key, end in (("Home", "least"), ("End", "most"), ("Home", "least")):
        page.keyboard.press(key)
        shown(page, int(limit[end]))


def test_a_question_that_was_given_up_may_be_asked_again(watched: Watched) -> None:
    page = watched.page
    page.goto("/sign-in")
    asked = page.evaluate(
        """async () => {
          const { askLatest } = await import("/static/js/latest.js");
          const asked = [];
          const answer = (question, signal) => {
            asked.push(question);
            return new Promise((done, given) => {
              signal.addEventListener("abort", () => given(new DOMException("", "AbortError")));
              setTimeout(done, 20, question);
            });
          };
          return new Promise((done) => {
            setTimeout(done, 1000, asked);
            const ask = askLatest(answer, (found) => done([...asked, `answered ${found}`]), done);
            ask("first");
            ask("second", { urgent: true });
            ask("first", { once: true });
          });
        }"""
    )
    assert asked == ["first", "first", "answered first"]
