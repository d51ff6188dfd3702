"""Pages of plans and frontiers: they show what the services say, in words, and nothing that is asked wrongly breaks them."""

import json
import re
from html import unescape
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api.web.formatting import budget
from planner.schemas.plans import PlanDocument
from planner.services import plans
from planner.services.export_choices import export_choices
from planner.storage.database import Database
from tests import synthetic
from tests.api.conftest import Measured
from tests.planner.services.evaluated_plans import evaluated, made

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


def page(client: TestClient, path: str, *, status: int = 200) -> str:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "style=" not in answer.text
    return answer.text


def words(html: str) -> str:
    """What a reader sees, white space joined."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL))).split())


def embedded(html: str, name: str) -> Any:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def rows(html: str) -> list[str]:
    """Ids of the plans that a list shows."""
    return re.findall(r'class="pick" value="(\w+)"', html)


@pytest.fixture
def stored(measured: Measured, database: Database) -> list[PlanDocument]:
    """Three plans, the oldest first."""
    with database.session() as session:
        return [
            made(session),
            made(session, budget={"effective_bits": 5.25}, runtime="vllm"),
            made(session, budget={"file_bytes": 260_000}, counts=[{"above_bits": 6, "at_most": 3}], alternatives=1),
        ]


def test_empty_pages_say_what_to_do(client: TestClient, database: Database) -> None:
    assert "Register a model" in page(client, "/plans")
    with database.session() as session:
        model = synthetic.add_model(session)
    assert f'href="/models/{model}/studio"' in page(client, "/plans")
    assert f"/jobs?model={model}" in page(client, "/models/toy/frontier")
    assert "bitplan measure toy" in page(client, "/models/toy/frontier")


def test_the_list_is_what_its_filters_ask_for(client: TestClient, stored: list[PlanDocument]) -> None:
    first, second, third = (plan.id for plan in stored)
    client.put("/v1/models/toy/plan-names/production", json={"plan": first}).raise_for_status()
    client.put(f"/v1/plans/{second}/pin", json={}).raise_for_status()
    assert rows(page(client, "/plans")) == [third, second, first]
    for query, expected in {
        "runtime=vllm": [second],
        "kind=file_bytes": [third],
        "name=production": [first],
        "pinned=true": [second],
        "pinned=false&kind=effective_bits": [first],
        "model=toy&runtime=&name=": [third, second, first],
        "since=2000-01-01&until=2001-01-01": [],
        "since=2000-01-01": [third, second, first],
    }.items():
        assert rows(page(client, f"/plans?{query}")) == expected
    text = words(page(client, "/plans"))
    assert "production" in text
    assert "pinned" in text
    assert "No plan is like this" in page(client, "/plans?runtime=mlx")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("model=nobody", "no model 'nobody'"),
        ("kind=colour", "one of effective_bits, file_bytes"),
        ("since=yesterday", "'yesterday' is no day"),
        ("name=a%20b", "letters, digits, dots"),
        ("pinned=perhaps", "true or false"),
        ("cursor=zz", "this cursor was not given"),
    ],
)
def test_what_cannot_be_asked_is_told_beside_the_form(
    client: TestClient, stored: list[PlanDocument], query: str, said: str
) -> None:
    html = page(client, f"/plans?{query}")
    assert said in words(html)
    assert '<form id="filters"' in html


def test_older_plans_are_on_further_pages(client: TestClient, measured: Measured, database: Database) -> None:
    with database.session() as session:
        ids = [made(session, budget={"effective_bits": 4 + n / 50}).id for n in range(30)]
    found, path = [], "/plans?runtime=generic"
    while path:
        html = page(client, path)
        found += rows(html)
        following = re.search(r'<a href="(/plans\?[^"]*cursor=[^"]*)"', html)
        path = unescape(following[1]) if following else ""
        assert not path or "runtime=generic" in path
    assert found == ids[::-1]


def test_one_plan_in_full(client: TestClient, stored: list[PlanDocument], database: Database) -> None:
    plan = stored[2]
    with database.session() as session:
        evaluated(session, plan, {"plan": 0.1234, plan.references[0].label: 0.2345})
    html = page(client, f"/plans/{plan.id}")
    text = words(html)
    for fact in (
        f"{plan.predicted.loss:.3g}",
        f"{plan.proof.lower_bound:.3g}",
        budget(plan.budget),
        "at most 3",
        "0.123 ± 0.004",
        "0.234 ± 0.004",
        "toy text",
        plan.provenance.setting[:8],
        plan.proof.solver,
        str(plan.proof.lagrangian_bound),
        "Next-best plans",
    ):
        assert fact in text
    data = embedded(html, "plan-data")
    assert sum(tile["layers"] for tile in data["tiles"]) == len(plan.choices)
    again = client.post("/v1/plans", json=data["request"])
    assert again.status_code == 201
    assert (
        again.json()["choices"] == json.loads(plan.model_dump_json())["choices"]
    )  # the request that is copied makes the same plan


def test_layers_of_a_plan_come_a_page_at_a_time(client: TestClient, stored: list[PlanDocument]) -> None:
    plan = stored[0]
    html = page(client, f"/plans/{plan.id}/layers?kind=q_proj&order=size")
    shown = re.findall(r'data-layer="([^"]*)"', html)
    assert sorted(shown) == sorted(choice.layer for choice in plan.choices if choice.kind == "q_proj")
    assert f"of {len(shown)} that match" in words(html)
    assert "No layer of this plan is like that" in page(client, f"/plans/{plan.id}/layers?text=nothing&block=")
    assert client.get(f"/plans/{plan.id}/layers?order=colour").status_code == 422


def test_exports_are_offered_with_the_reason_where_they_are_not(
    client: TestClient, stored: list[PlanDocument], database: Database
) -> None:
    plan = stored[1]
    with database.read_session() as session:
        choices = export_choices(session, plan.id)
    html = page(client, f"/plans/{plan.id}/exports")
    text = words(html)
    for target in choices.targets:
        assert f'href="/plans/{plan.id}/exports/{target.name}"' in html
    refused = [other for other in choices.others if other.refusal is not None]
    assert refused
    for other in refused:
        assert other.refusal is not None
        assert " ".join(other.refusal.split()) in text
    assert len(re.findall(r'data-runtime="', html)) == len(choices.others)


def test_an_export_is_saved_as_the_command_line_writes_it(
    client: TestClient, stored: list[PlanDocument], database: Database
) -> None:
    plan = stored[1]
    answer = client.get(f"/plans/{plan.id}/exports/compressed-tensors")
    assert json.loads(answer.text) == client.get(f"/v1/plans/{plan.id}/export?target=compressed-tensors").json()
    assert answer.headers["content-disposition"] == f'attachment; filename="{plan.id[:8]}-compressed-tensors.json"'
    refused = client.get(f"/plans/{plan.id}/exports/mlx")
    assert refused.status_code == 422
    assert "does not load 'mlx'" in refused.json()["detail"]


def test_two_plans_side_by_side(client: TestClient, stored: list[PlanDocument]) -> None:
    plan, other = stored[:2]
    html = page(client, f"/plans/{plan.id}/diff/{other.id}")
    diff = client.get(f"/v1/plans/{plan.id}/diff/{other.id}").json()
    tiles = embedded(html, "diff-data")["tiles"]
    assert [sum(tile["changed"] for tile in side) for side in tiles] == [len(diff["changed"])] * 2
    changes = words(page(client, f"/plans/{plan.id}/diff/{other.id}/changes"))
    assert f"{len(diff['changed'])} of {diff['layers']}" in changes
    for one in diff["changed"]:
        assert f"{one['layer']} {one['format']} {one['other_format']}" in changes
    assert f"{diff['loss_change']:+.3g}" in changes
    same = words(page(client, f"/plans/{plan.id}/diff/{plan.id}/changes"))
    assert "Every layer has the same format in both" in same


def test_plans_of_different_models_are_not_compared(client: TestClient, stored: list[PlanDocument], database: Database) -> None:
    described = synthetic.description(name="other", hidden=64)
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting())
        other = made(session, model="other", budget={"effective_bits": 5})
    assert "plans of different models" in page(client, f"/plans/{stored[0].id}/diff/{other.id}/changes")


def test_a_frontier_has_what_was_measured_and_the_models_beside_it(
    client: TestClient, measured: Measured, stored: list[PlanDocument], database: Database
) -> None:
    described = synthetic.description(name="other")
    with database.session() as session:
        synthetic.add_model(session, described)
        synthetic.add_cells(session, described, synthetic.setting(measured.calibration))
        evaluated(session, made(session, model="other"), {"plan": 0.3})
        evaluated(session, stored[0], {"plan": 0.1, stored[0].references[0].label: 0.2})
    controls = embedded(page(client, "/models/toy/frontier"), "controls")
    assert {(one["label"], one["kl"]) for one in controls["measured"]} == {("plan", 0.1), (stored[0].references[0].label, 0.2)}
    assert [one["name"] for one in controls["others"]] == ["other"]
    assert [one["id"] for one in controls["settings"]] == [measured.setting]
    assert controls["settings"][0]["formats"][0] == "INT2_G64"
    assert controls["experts"] is False


@pytest.mark.parametrize("path", ["/plans/none", "/plans/none/diff/none", "/models/none/frontier"])
def test_what_is_not_there_is_told_on_a_page(client: TestClient, path: str) -> None:
    assert "Not found" in page(client, path, status=404)


def test_text_of_others_is_never_taken_for_markup(client: TestClient, stored: list[PlanDocument]) -> None:
    evil = "<img src=x onerror=alert(1)></script>"
    client.put("/v1/models/toy/plan-names/a", json={"plan": stored[0].id, "why": evil}).raise_for_status()
    html = page(client, f"/plans/{stored[0].id}")
    assert evil not in html
    assert "&lt;img src=x" in html
    assert evil not in page(client, f"/plans?model={evil}")


def test_old_plans_without_what_was_added_later_are_shown(
    client: TestClient, stored: list[PlanDocument], database: Database
) -> None:
    plan = stored[0]
    old = plan.model_copy(update={"id": "old1", "limits": [], "confidence": None, "corrected": None, "notes": []})
    with database.session() as session:
        plans.store_plan(session, old)
    assert f"{plan.predicted.loss:.3g}" in words(page(client, "/plans/old1"))
