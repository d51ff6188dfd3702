"""The jobs page beside what a browser shows of it: every plan can be chosen, however many there are."""

import re

import pytest
from fastapi.testclient import TestClient

from api.web.views import jobs
from tests.api.conftest import Measured

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
_NEXT = re.compile(r'hx-get="(/parts/plan-options\?[^"]+)"')


def test_older_plans_are_offered_until_there_is_none(
    client: TestClient, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_OFFERED", 2)
    budgets = [{"effective_bits": bits} for bits in (4.1, 4.2, 4.3, 4.4, 4.5)]
    made = [client.post("/v1/plans", json={"model": "toy", "budget": budget}).json()["id"] for budget in budgets]
    html = client.get("/jobs?model=toy").text
    offered: list[str] = []
    for _ in range(3):
        offered += re.findall(r'<option value="([0-9a-f]{24})"', html)
        following = _NEXT.search(html)
        if following is None:
            break
        html = client.get(following[1].replace("&amp;", "&")).text
        assert 'hx-swap-oob="true"' in html
    assert offered == made[::-1]
    assert _NEXT.search(html) is None
