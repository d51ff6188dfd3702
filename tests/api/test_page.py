"""The page: what it shows is what the services say; its empty states say what to do next; nothing is loaded from elsewhere."""

import re
from xml.etree import ElementTree

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from planner.cells import Cell
from planner.storage.cells import store_cells
from planner.storage.database import Database
from planner.storage.tables import EvaluationRow, JobRow, utc_now
from sensitivity.formats.families import get_cell_format
from sensitivity.statistics import CellStatus
from tests import synthetic
from tests.api.conftest import Measured

SVG = "{http://www.w3.org/2000/svg}"


def page(client: TestClient, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


def text_of(html: str) -> str:
    """What is read: without tags, white space joined."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


def heat_map(html: str) -> ElementTree.Element:
    (drawing,) = re.findall(r'<svg class="heat".*?</svg>', html, re.DOTALL)
    return ElementTree.fromstring(drawing.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))  # noqa: S314  (our own)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_empty_service_says_how_to_begin(client: TestClient) -> None:
    html = page(client, "/")
    assert "bitplan models add" in html
    assert "bitplan demo" in html
    assert "bitplan measure" in html


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_model_without_curves_says_how_to_measure(client: TestClient, database: Database) -> None:
    with database.session() as session:
        synthetic.add_model(session)
    html = page(client, "/models/toy")
    assert "bitplan measure toy" in html
    assert "measure first" in html
    assert "<svg class" not in html


@pytest.mark.parametrize(("probe", "name", "unit"), [("kurtosis", "ANY", "ranking"), ("kv_cache", "K_INT4", "nats/token")])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_numbers_of_no_weight_format_are_drawn_too(
    client: TestClient, database: Database, probe: str, name: str, unit: str
) -> None:
    layer, fmt = "model.layers.1.self_attn.k_proj", get_cell_format(name)
    cell = Cell(layer, name, fmt.identity, CellStatus.MEASURED, 4.5, None, 1.0, 4.5, 20.25)
    with database.session() as session:
        store_cells(session, synthetic.add_model(session), synthetic.setting(probe=probe), [cell])
    (tile,) = heat_map(page(client, "/models/toy")).findall(f"{SVG}rect")
    assert tile.findtext(f"{SVG}title") == f"{layer}: 4.5 {unit}"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_measured_model_without_plans_says_how_to_plan(client: TestClient, measured: Measured) -> None:
    assert "bitplan plan toy" in page(client, "/models/toy")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_heat_map_has_a_tile_for_every_layer_with_its_loss(client: TestClient, measured: Measured) -> None:
    tiles = heat_map(page(client, "/models/toy?format=INT3_G64")).findall(f"{SVG}rect")
    cells = client.get("/v1/models/toy/curves", params={"formats": "INT3_G64"}).json()["items"]
    titles = [tile.findtext(f"{SVG}title") or "" for tile in tiles]
    assert len(tiles) == len(cells) == 14
    assert {title.split(":")[0]: title.split()[1] for title in titles} == {c["layer"]: f"{c['loss']:.3g}" for c in cells}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_format_that_nobody_measured_falls_back_to_one_of_about_four_bits(client: TestClient, measured: Measured) -> None:
    assert 'aria-label="Loss of each layer in INT4_G64' in page(client, "/models/toy?format=INT9&setting=00")


def test_plans_stand_with_what_was_predicted_and_measured(client: TestClient, measured: Measured, database: Database) -> None:
    plan = client.post("/v1/plans", json={"model": "toy", "budget": {"effective_bits": 4.25}}).json()
    assert "bitplan evaluate" in page(client, "/models/toy")
    job = client.post(f"/v1/plans/{plan['id']}/evaluate", json={}).json()["id"]
    with database.session() as session:
        for label, kl in (("plan", 0.3456), ("uniform INT4_G64", 0.5678)):
            session.add(_evaluation(measured, plan["id"], job, label, kl))
        session.execute(update(JobRow).where(JobRow.id == job).values(state="succeeded", total=2, done=2, finished_at=utc_now()))
    text = text_of(page(client, "/models/toy"))
    assert "4.25 effective bits generic" in text
    assert f"{plan['predicted']['loss']:.3g} fisher" in text
    assert "0.3456 ± 0.02 0.5678 ± 0.02 20 ± 0.5" in text
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


def test_a_running_job_shows_its_progress_and_the_page_comes_again(
    client: TestClient, measured: Measured, database: Database
) -> None:
    job = client.post("/v1/jobs", json={"model": "toy", "probe": "weight_error", "formats": ["INT4_G64"]}).json()["id"]
    with database.session() as session:
        session.execute(update(JobRow).where(JobRow.id == job).values(state="running", total=8, done=3, started_at=utc_now()))
    for path in ("/", "/models/toy"):
        html = page(client, path)
        assert '<progress max="8" value="3">' in html
        assert "3/8 units" in html
        assert 'http-equiv="refresh"' in html
    with database.session() as session:
        session.execute(update(JobRow).where(JobRow.id == job).values(state="failed", reason="<b>the shard & more</b>"))
    html = page(client, "/")
    assert "&lt;b&gt;the shard &amp; more&lt;/b&gt;" in html
    assert 'http-equiv="refresh"' not in html


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_name_is_text_and_never_markup(client: TestClient, database: Database) -> None:
    with database.session() as session:
        model = synthetic.add_model(session, synthetic.description(name="<script>alert(1)</script>"))
    for path in ("/", f"/models/{model}"):
        assert "<script" not in page(client, path)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_unknown_model_is_a_page_of_its_own(client: TestClient) -> None:
    answer = client.get("/models/nobody")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "nobody" in answer.text


@pytest.mark.parametrize("path", ["/", "/models/toy", "/docs"])
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
    assert not re.search(r"<script|<style|\sstyle=|\son[a-z]+=", html)
    assert "default-src 'none'" in client.get(path).headers["content-security-policy"]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_the_documentation_names_every_operation(client: TestClient) -> None:
    text = text_of(page(client, "/docs"))
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}" in text
