"""Turns: who has left before their turn costs nothing, and those who look on take no thread that others need."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from anyio.to_thread import current_default_thread_limiter
from fastapi.testclient import TestClient
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from api.turns import Turns
from planner.errors import InvalidRequestError
from planner.services import plan_previews
from tests.api.conftest import Measured

PATIENCE = 30


class Client:
    """A client whose request has arrived, and who may leave."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.request = Request({"type": "http", "method": "POST", "headers": []}, self._receive)

    async def _receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}


class Held:
    """Work that begins, and ends when it is let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.go = threading.Event()

    def __call__(self) -> Response:
        self.begun += 1
        assert self.go.wait(PATIENCE)
        return Response("made")


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.001)


def test_what_waits_is_not_begun_when_its_client_has_left() -> None:
    async def ask() -> list[int]:
        turns, held, later = Turns(2), Held(), Held()
        later.go.set()
        first = [asyncio.create_task(turns.answer(Client().request, held)) for _ in range(2)]
        await until(lambda: held.begun == 2)
        clients = [Client() for _ in range(5)]
        waiting = [asyncio.create_task(turns.answer(client.request, later)) for client in clients]
        await asyncio.sleep(0)
        for client in clients[:4]:
            client.left.set()
        held.go.set()
        answers = await asyncio.gather(*first, *waiting)
        assert later.begun == 1
        return [answer.status_code for answer in answers]

    assert asyncio.run(ask()) == [200, 200, 499, 499, 499, 499, 200]


def test_whoever_is_given_up_while_waiting_takes_no_turn_and_an_error_gives_it_back() -> None:
    def refuse() -> Response:
        msg = "no"
        raise InvalidRequestError(msg)

    async def ask() -> int:
        turns, held = Turns(1), Held()
        first = asyncio.create_task(turns.answer(Client().request, held))
        await until(lambda: held.begun == 1)
        waiting = asyncio.create_task(turns.answer(Client().request, held))
        await asyncio.sleep(0)
        waiting.cancel()
        held.go.set()
        await first
        with pytest.raises(InvalidRequestError):
            await turns.answer(Client().request, refuse)
        await turns.answer(Client().request, held)
        return held.begun

    assert asyncio.run(ask()) == 2


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_previews_and_frontiers_take_none_of_the_shared_threads(
    client: TestClient, measured: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[float] = []
    preview = plan_previews.preview_plan

    def noting(*arguments: Any, **options: Any) -> Any:
        taken.append(client.portal.call(lambda: current_default_thread_limiter().borrowed_tokens) if client.portal else -1)
        return preview(*arguments, **options)

    monkeypatch.setattr(plan_previews, "preview_plan", noting)
    asked = {"model": "toy", "budget": {"effective_bits": 4.25}}
    for query in ("", "?aggregate=true", "?aggregate=false"):
        answer = client.post(f"/v1/plans/preview{query}", json=asked)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["choices"] is None) == (query == "?aggregate=true")
    assert taken == [0, 0, 0]
    assert client.post("/v1/plans/preview?aggregate=1", json=asked).json()["choices"] is None
    assert client.post("/v1/plans/preview?aggregate=perhaps", json=asked).status_code == 422
    for path, body in (("/v1/plans/preview", {"model": "toy"}), ("/v1/frontiers", {}), ("/v1/families/frontier", {})):
        assert client.post(path, json=body).status_code == 422
