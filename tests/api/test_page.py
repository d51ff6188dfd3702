"""The page: what it shows is what the services say; its empty states say what to do next; nothing is loaded from elsewhere."""

import json
import re

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from planner.measuring import setting_of
from planner.services import models
from planner.storage.database import Database
from planner.storage.tables import EvaluationRow, JobRow, utc_now
from tests import synthetic
from tests.api.conftest import Measured


def page(client: TestClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


def text_of(html: str) -> str:
    """What is read: without tags, white space joined."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def page_status(client: TestClient, path: str) -> int:
    answer = client.get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.status_code


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_empty_service_says_how_to_begin(client: TestClient) -> None:
    html = page(client, "/")
    assert "bitplan models add" in html
    assert "bitplan demo" in html
    assert "No job was submitted yet" in page(client, "/jobs")
    assert 'href="/#register"' in page(client, "/jobs")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_model_without_curves_says_how_to_measure(client: TestClient, database: Database) -> None:
    with database.session() as session:
        model = synthetic.add_model(session)
    for path in ("/models/toy", "/models/toy/sensitivity"):
        html = page(client, path)
        assert "bitplan measure toy" in html
        assert f'href="/jobs?model={model}#measure"' in html
    assert "measure first" in page(client, "/models/toy")
    assert ">measure it</a>" in page(client, "/")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_measured_model_without_plans_leads_to_the_studio(client: TestClient, measured: Measured) -> None:
    html = page(client, "/models/toy")
    assert "bitplan plan toy" in html
    assert f'class="button" href="/models/{measured.model}/studio"' in html


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_bar_of_a_model_is_drawn_to_one_scale(client: TestClient, database: Database) -> None:
    with database.session() as session:
        synthetic.add_model(session)
        synthetic.add_model(session, synthetic.description(blocks=6, name="larger"))
    html = page(client, "/")
    bars = [
        [float(rect) for rect in re.findall(r'<rect class="of-\w+"[^>]* width="([\d.]+)"', bar)]
        for bar in re.findall(r'<svg class="sizes".*?</svg>', html, re.DOTALL)
    ]
    (larger, smaller) = sorted(bars, key=sum, reverse=True)
    assert sum(larger) == pytest.approx(1000, abs=0.1)
    assert larger[0] / smaller[0] == pytest.approx(3, rel=0.2)
    assert larger[1] == smaller[1]  # embeddings of the same shape


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_list_says_what_was_measured_and_planned(client: TestClient, measured: Measured) -> None:
    client.post("/v1/plans", json={"model": "toy", "budget": {"effective_bits": 4.25}})
    text = text_of(page(client, "/"))
    assert "fisher 8 formats, " in text
    assert f'href="/plans?model={measured.model}">1</a>' in page(client, "/")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_measuring_cost_stands_beside_the_probe(client: TestClient, database: Database) -> None:
    with database.session() as session:
        synthetic.add_model(session)
    job = client.post("/v1/jobs", json={"model": "toy", "probe": "weight_error", "formats": ["INT4_G64"]}).json()
    setting = setting_of(job["request"])
    facts = {"state": "succeeded", "unit_seconds": 90.0, "finished_at": utc_now()}
    with database.session() as session:
        synthetic.add_cells(session, synthetic.description(), setting, formats=("INT4_G64",))
        row = session.get_one(JobRow, job["id"])
        row.payload = row.payload | {"memory": {"peak_bytes": 2_000_000_000}}
        session.execute(update(JobRow).where(JobRow.id == job["id"]).values(facts))
    assert "2 min, 2 GB at most" in text_of(page(client, "/models/toy"))


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_format_that_nobody_measured_falls_back_to_one_of_about_four_bits(client: TestClient, measured: Measured) -> None:
    html = page(client, "/models/toy/sensitivity?format=INT9&setting=00")
    assert "<option selected>INT4_G64</option>" in html
    assert f'<option value="{measured.setting}" selected>' in html


def test_plans_stand_with_what_was_predicted_and_measured(client: TestClient, measured: Measured, database: Database) -> None:
    plan = client.post("/v1/plans", json={"model": "toy", "budget": {"effective_bits": 4.25}}).json()
    assert "bitplan evaluate" in page(client, "/models/toy")
    assert page(client, "/jobs").count(f'<option value="{plan["id"]}">') == 1
    job = client.post(f"/v1/plans/{plan['id']}/evaluate", json={}).json()["id"]
    with database.session() as session:
        for label, kl in (("plan", 0.3456), ("uniform INT4_G64", 0.5678)):
            session.add(_evaluation(measured, plan["id"], job, label, kl))
        session.execute(update(JobRow).where(JobRow.id == job).values(state="succeeded", total=2, done=2, finished_at=utc_now()))
    text = text_of(page(client, "/models/toy"))
    assert "4.25 bits generic" in text
    assert f"{plan['predicted']['loss']:.3g} fisher" in text
    assert "0.346 ± 0.02 0.568 ± 0.02" in text
    assert "bitplan evaluate" not in text


def _evaluation(measured: Measured, plan: str, job: str, label: str, kl: float) -> EvaluationRow:
    return EvaluationRow(
        job_id=job,
        model_id=measured.model,
        plan_id=plan,
        calibration_id=measured.calibration,
        label=label,
        size_bits=1,
        effective_bits=4.25,
        kl=kl,
        kl_error=0.02,
        perplexity=20.0,
        perplexity_error=0.5,
        reference_perplexity=18.0,
        reference_perplexity_error=0.5,
        top1_agreement=0.9,
        top1_error=0.01,
        sequences=4,
    )


def test_a_list_asks_for_itself_again_while_a_job_runs(client: TestClient, measured: Measured, database: Database) -> None:
    job = client.post("/v1/jobs", json={"model": "toy", "probe": "weight_error", "formats": ["INT4_G64"]}).json()["id"]
    with database.session() as session:
        session.execute(update(JobRow).where(JobRow.id == job).values(state="running", total=8, done=3, started_at=utc_now()))
    for path in ("/jobs", "/models/toy", f"/parts/jobs?model={measured.model}", "/jobs?state=running"):
        html = page(client, path)
        assert 'max="8" value="3"' in html
        assert "3/8 units" in html
        assert 'hx-get="/parts/jobs?' in html
    assert "No job is in this state" in page(client, "/jobs?state=paused")
    with database.session() as session:
        session.execute(update(JobRow).where(JobRow.id == job).values(state="failed", reason="<b>the shard & more</b>"))
    html = page(client, "/jobs")
    assert "&lt;b&gt;the shard &amp; more&lt;/b&gt;" in html
    assert 'hx-get="/parts/jobs?' not in html


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_job_says_what_it_does_and_where_its_result_is(client: TestClient, measured: Measured) -> None:
    asked = {"model": "toy", "probe": "weight_error", "formats": ["INT4_G64"], "include": ["*q_proj"]}
    job = client.post("/v1/jobs", json=asked).json()
    html = page(client, f"/jobs/{job['id']}")
    text = text_of(html)
    assert "Measure weight_error" in text
    assert "formats INT4_G64 layers 2" in text
    assert f'href="/models/{measured.model}/sensitivity"' in html
    first = re.search(r'id="first">(.*?)</script>', html, re.DOTALL)
    assert first is not None
    assert json.loads(first[1])["id"] == job["id"]
    plan = client.post("/v1/plans", json={"model": "toy", "budget": {"effective_bits": 4.25}}).json()["id"]
    evaluation = client.post(f"/v1/plans/{plan}/evaluate", json={}).json()["id"]
    html = page(client, f"/jobs/{evaluation}")
    assert f'href="/plans/{plan}"' in html
    assert "measured plan, uniform" in text_of(html)
    assert page_status(client, "/jobs/0") == page_status(client, "/jobs?model=nobody") == 404


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_name_is_text_and_never_markup(client: TestClient, database: Database) -> None:
    with database.session() as session:
        model = models.register(session, synthetic.description(), name="<script>alert(1)</script>")[0].id
    for path in ("/", f"/models/{model}"):
        html = page(client, path)
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
        assert "<script>alert" not in html


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_unknown_model_is_a_page_of_its_own(client: TestClient) -> None:
    answer = client.get("/models/nobody")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "nobody" in answer.text


@pytest.mark.parametrize("path", ["/", "/models/toy", "/models/toy/sensitivity", "/jobs", "/docs"])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_every_link_leads_somewhere_here_and_no_style_or_script_is_inline(
    client: TestClient, measured: Measured, path: str
) -> None:
    client.post("/v1/plans", json={"model": "toy", "budget": {"effective_bits": 4.25}})
    html = page(client, path)
    links = set(re.findall(r'(?:href|src)="([^"]+)"', html))
    for link in links:
        assert link.startswith(("/", "#")), link
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in html
        else:
            assert client.get(link.replace("&amp;", "&")).status_code == 200, link
    assert not re.search(r'<script(?![^>]*(?: src="| type="application/json"))|<style|\sstyle=|\son[a-z]+=', html)
    policy = client.get(path).headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_documentation_names_every_operation(client: TestClient) -> None:
    text = text_of(page(client, "/docs"))
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}" in text
