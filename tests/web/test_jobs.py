"""Jobs in the browser: forecasts before they start, progress as it comes, what failed, and who works."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import delete, update

from planner.storage.database import Database
from planner.storage.tables import JobRow, UnitRow, WorkerRow, utc_now
from tests.api.serving import Served
from tests.web.chromium import Watched


@pytest.fixture(scope="module")
def database(served: Served) -> Iterator[Database]:
    """The service's database, as its workers have it."""
    opened = Database(served.url)
    yield opened
    opened.close()


@pytest.fixture
def worker(database: Database) -> Iterator[str]:
    """A worker that is there."""
    now = utc_now()
    row = WorkerRow(
        id="web-worker",
        host="there",
        pid=4711,
        kinds=["sensitivity", "evaluation"],
        labels=["gpu"],
        memory_bytes=2**36,
        lease_seconds=60.0,
        started_at=now,
        last_seen=now,
    )
    with database.session() as session:
        session.add(row)
    yield "web-worker"
    with database.session() as session:
        session.execute(delete(WorkerRow).where(WorkerRow.id == "web-worker"))


def submit(served: Served, **asked: Any) -> str:
    answer = served.client.post("/v1/jobs", json={"model": "toy", "probe": "weight_error", **asked})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def change(database: Database, job: str, **facts: Any) -> None:
    with database.session() as session:
        session.execute(update(JobRow).where(JobRow.id == job).values(facts))


def shown(page: Page, name: str) -> str:
    return page.locator(f'#job [data-show="{name}"]').text_content() or ""


def test_a_job_is_followed_as_it_goes_without_loading_the_page_again(
    watched: Watched, served: Served, database: Database
) -> None:
    page = watched.page
    job = submit(served, formats=["INT2_G64"])
    page.goto(f"/jobs/{job}")
    expect(page.locator("#job")).to_contain_text("queued")
    expect(page.locator("#job")).to_contain_text("no worker is there")
    page.evaluate("document.body.dataset.same = 'yes'")
    change(database, job, state="running", total=40, done=10, started_at=utc_now() - timedelta(seconds=20))
    page.wait_for_selector("body[data-done='10']")
    expect(page.locator("progress").first).to_have_js_property("value", 10)
    assert shown(page, "units") == "10 of 40 units"
    assert shown(page, "waits") == ""
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    with database.session() as session:
        reason = "ValueError: <b>NaN</b> in block 3"
        session.add(UnitRow(job_id=job, key="000003", payload={}, state="failed", attempts=3, reason=reason))
    change(database, job, state="succeeded", done=39, failed=1, finished_at=utc_now(), reason="1 unit of 40 failed")
    page.wait_for_selector("body[data-state='succeeded']")
    expect(page.get_by_role("row", name="000003")).to_contain_text("ValueError: <b>NaN</b> in block 3")
    assert shown(page, "units") == "39 of 40 units, 1 failed"
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    expect(page.get_by_role("link", name="See what it found")).to_be_visible()
    assert page.locator("body[data-same]").count() == 1


def test_a_job_is_paused_resumed_cancelled_and_tried_again(watched: Watched, served: Served) -> None:
    page = watched.page
    page.goto(f"/jobs/{submit(served, formats=['INT3_G64'])}")
    for button, state in (
        ("Pause", "paused"),
        ("Resume", "queued"),
        ("Cancel", "cancelled"),
        ("Retry what is missing", "queued"),
    ):
        page.get_by_role("button", name=button).click()
        page.wait_for_selector(f"body[data-state='{state}']")
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_selector("body[data-state='cancelled']")


def test_what_another_did_meanwhile_is_told_in_words(watched: Watched, served: Served, database: Database) -> None:
    page = watched.page
    watched.refusals = (409,)
    job = submit(served, formats=["INT4_G64"])
    page.route("**/events", lambda route: route.abort())
    page.goto(f"/jobs/{job}")
    change(database, job, state="succeeded", total=1, done=1, finished_at=utc_now())
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("alert")).to_contain_text("succeeded")
    watched.faults[:] = [fault for fault in watched.faults if "/events" not in fault]


def test_only_a_change_of_the_state_is_spoken_and_the_focus_goes_to_the_next_button(
    watched: Watched, served: Served, database: Database
) -> None:
    page = watched.page
    job = submit(served, formats=["INT5_G64"])
    page.goto(f"/jobs/{job}")
    page.evaluate(
        """() => {
          window.spoken = [];
          const state = document.querySelector('[data-show="state"]');
          const note = () => window.spoken.push(state.textContent);
          new MutationObserver(note).observe(state, { childList: true, characterData: true });
        }"""
    )
    change(database, job, state="running", total=40, done=1, started_at=utc_now())
    page.wait_for_selector("body[data-done='1']")
    for done in (2, 3):
        change(database, job, done=done)
        page.wait_for_selector(f"body[data-done='{done}']")
    page.get_by_role("button", name="Pause").press("Enter")
    page.wait_for_selector("body[data-state='paused']")
    expect(page.get_by_role("button", name="Resume")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-state='running']")
    page.get_by_role("button", name="Cancel").press("Enter")
    page.wait_for_selector("body[data-state='cancelled']")
    expect(page.get_by_role("button", name="Retry what is missing")).to_be_focused()
    assert page.evaluate("window.spoken") == ["running", "paused", "running", "cancelled"]


def test_a_page_without_connection_says_so_and_goes_on_by_itself(watched: Watched, served: Served, database: Database) -> None:
    page = watched.page
    job = submit(served, formats=["INT6_G64"])
    page.route("**/events", lambda route: route.abort())
    page.goto(f"/jobs/{job}")
    expect(page.get_by_role("alert")).to_contain_text("No connection to the service")
    change(database, job, state="running", total=40, done=5, started_at=utc_now())
    page.unroute("**/events")
    page.wait_for_selector("body[data-done='5']")
    expect(page.get_by_role("alert")).to_be_hidden()
    change(database, job, state="cancelled", finished_at=utc_now())


def test_who_stands_in_a_list_stays_there_when_it_comes_again(
    watched: Watched, served: Served, database: Database, worker: str
) -> None:
    page = watched.page
    job = submit(served, formats=["INT8_G64"])
    now = utc_now()
    held = {"lease_owner": worker, "lease_token": "held"}
    change(database, job, state="running", total=16, done=1, started_at=now, **held)
    page.goto("/jobs?state=running")
    link = page.locator(f'#job-list a[href="/jobs/{job}"]')
    link.focus()
    change(database, job, done=9)
    expect(page.locator("#job-list")).to_contain_text("9/16 units")
    expect(link).to_be_focused()
    works_on = page.locator(f'#worker-list a[href="/jobs/{job}"]')
    works_on.focus()
    with database.session() as session:
        session.execute(update(WorkerRow).where(WorkerRow.id == worker).values(draining=True))
    expect(page.locator("#worker-list")).to_contain_text("draining")
    expect(works_on).to_be_focused()
    change(database, job, state="cancelled", finished_at=utc_now(), lease_token=None)
    expect(link).to_have_count(0)
    expect(page.locator("#job-list [hx-get]")).to_have_count(0)  # nothing goes on in it, so no more is asked


def test_a_measurement_says_what_it_would_be_before_it_starts(watched: Watched, served: Served, worker: str) -> None:
    page = watched.page
    page.goto("/jobs")
    page.get_by_text("Start a measurement").click()
    expect(page.locator("#worker-list")).to_contain_text(worker)
    form = page.locator("#measure-form")
    form.get_by_label("Model").select_option(label="toy")
    form.get_by_label("Probe").select_option("weight_error")
    forecast = form.locator("[data-forecast]")
    expect(form.get_by_label("Text", exact=True)).to_be_hidden()
    expect(forecast).to_contain_text("1,344 cells in 6 formats.")
    expect(forecast).to_contain_text("with the whole model")
    for name in ("INT2_G64", "INT3_G64", "INT4_G64", "INT5_G64", "INT6_G64", "INT8_G64"):
        form.get_by_role("checkbox", name=f"{name} ").uncheck()
    expect(forecast).to_contain_text("Choose at least one format.")
    expect(form.get_by_role("button", name="Start measuring")).to_be_disabled()
    form.locator("summary").click()
    form.get_by_role("checkbox", name="NVFP4").check()
    expect(forecast).to_contain_text("224 cells in 1 format.")
    form.get_by_label("measure again").check()
    form.get_by_role("button", name="Start measuring").click()
    expect(page.get_by_role("heading", name="Measure weight_error")).to_be_visible()
    asked = served.client.get(f"/v1/jobs/{page.url.rpartition('/')[2]}").json()["request"]
    assert asked["formats"] == ["NVFP4"]
    page.goto("/jobs#measure")
    form.get_by_label("Model").select_option(label="toy")
    form.get_by_label("Probe").select_option("weight_error")
    for name in ("INT2_G64", "INT3_G64", "INT4_G64", "INT5_G64", "INT6_G64", "INT8_G64"):
        form.get_by_role("checkbox", name=f"{name} ").uncheck()
    form.locator("summary").click()
    form.get_by_role("checkbox", name="NVFP4").check()
    form.get_by_label("measure again").check()
    expect(forecast).to_contain_text("The same job is queued already; starting leads to it.")


def test_a_start_under_way_is_not_offered_again(watched: Watched) -> None:
    page = watched.page
    page.goto("/jobs#measure")
    form = page.locator("#measure-form")
    form.get_by_label("Model").select_option(label="toy")
    button = form.get_by_role("button", name="Start measuring")
    starts: list[Route] = []
    page.route("**/v1/jobs", lambda route: starts.append(route))  # noqa: PLW0108  (playwright marks its handlers)
    form.get_by_label("Probe").select_option("weight_error")
    page.wait_for_selector("#measure-form[data-forecast=told]")
    form.get_by_label("measure again").check()  # a forecast is due
    with page.expect_request("**/v1/jobs"):
        button.click()
    form.get_by_label("measure again").uncheck()
    page.wait_for_timeout(400)
    expect(button).to_be_disabled()
    page.evaluate("document.querySelector('#measure-form').requestSubmit()")
    watched.refusals = (409,)
    starts[0].fulfill(status=409, json={"detail": "not now"})
    expect(form.locator("[data-forecast]")).to_have_text("not now")
    expect(button).to_be_enabled()
    assert len(starts) == 1
    page.evaluate("document.querySelectorAll('#formats input:checked').forEach((box) => { box.checked = false; })")
    page.evaluate("document.querySelector('#measure-form').requestSubmit()")
    expect(form.locator("[data-forecast]")).to_have_text("Choose at least one format.")
    assert len(starts) == 1


def test_a_text_of_ones_own_is_measured_on(watched: Watched, served: Served, worker: str) -> None:
    page = watched.page
    page.goto("/jobs#measure")
    form = page.locator("#measure-form")
    form.get_by_label("Model").select_option(label="toy")
    form.get_by_label("Text", exact=True).select_option("file")
    expect(form.locator("[data-forecast]")).to_contain_text("Choose a text file.")
    text = b"A text of one's own has its own words. " * 2000
    form.get_by_label("Text file").set_input_files({"name": "own.txt", "mimeType": "text/plain", "buffer": text})
    expect(form.locator("[data-forecast]")).to_contain_text("cells in 6 formats on 48 sequences")
    form.get_by_role("button", name="Start measuring").click()
    expect(page.get_by_role("heading", name="Measure fisher")).to_be_visible()
    asked = served.client.get(f"/v1/jobs/{page.url.rpartition('/')[2]}").json()["request"]
    assert served.client.get(f"/v1/calibrations/{asked['calibration_id']}").json()["name"] == "own.txt"


def test_an_evaluation_says_what_it_would_be_before_it_starts(watched: Watched, served: Served) -> None:
    page = watched.page
    plan = served.client.post("/v1/plans", json={"model": "toy", "budget": {"effective_bits": 4.25}}).json()["id"]
    page.goto("/jobs?model=toy#evaluate")
    form = page.locator("#evaluate-form")
    form.get_by_label("Plan").select_option(plan)
    expect(form.locator("[data-forecast]")).to_contain_text("224 layers in")
    expect(form.locator("[data-forecast]")).to_contain_text("on 2 sequences, 64 tokens")
    form.get_by_role("button", name="Start evaluating").click()
    expect(page.get_by_role("heading", name=f"Evaluate {plan[:8]}")).to_be_visible()


def test_a_list_comes_again_while_a_job_runs(watched: Watched, served: Served, database: Database) -> None:
    page = watched.page
    job = submit(served, formats=["FP8"])
    change(database, job, state="running", total=16, done=1, started_at=utc_now())
    page.goto("/jobs?state=running")
    row = page.locator("#job-list tr", has=page.locator(f'a[href="/jobs/{job}"]'))
    expect(row).to_contain_text("1/16 units")
    change(database, job, done=9)
    expect(row).to_contain_text("9/16 units")
    watched.refusals = (503,)
    problem = '{"title": "Too busy", "status": 503, "detail": "the service is too busy; ask again"}'
    busy: dict[str, Any] = {"status": 503, "content_type": "application/problem+json", "body": problem}
    page.route("**/parts/jobs?*", lambda route: route.fulfill(**busy))
    expect(page.get_by_role("alert")).to_have_text("the service is too busy; ask again")
    expect(row).to_contain_text("9/16 units")
    page.unroute("**/parts/jobs?*")
    expect(page.get_by_role("alert")).to_be_hidden()
    page.route("**/parts/jobs?*", lambda route: route.abort())
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.unroute("**/parts/jobs?*")
    expect(page.get_by_role("alert")).to_be_hidden()
    watched.faults[:] = [fault for fault in watched.faults if "Failed to fetch" not in fault]
    change(database, job, state="cancelled", finished_at=utc_now())
    expect(row).to_have_count(0)
