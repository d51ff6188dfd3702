"""Devices over REST."""

import math
from typing import Any

import pytest
from fastapi.testclient import TestClient

from planner.devices import Phase, latency_table
from planner.runtimes import get_runtime
from planner.services.devices import MOST_DEVICES, get_device
from planner.storage.database import Database
from planner.storage.tables import DeviceRow
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.registry import get_format
from tests.api.conftest import Measured

LAPTOP: dict[str, Any] = {
    "name": "laptop",
    "pools": [{"name": "ram", "bandwidth": {"value": 5e10, "source": "its manual", "status": "verified"}}],
    "peaks": {"bf16": {"value": 1e12}, "int8": {"value": 2e12}},
}
ENTRY = {"out_features": 64, "in_features": 128, "format": "int4_g64", "batch": 1, "seconds": 3e-5}
CSV = "out_features,in_features,format,batch,seconds,standard_deviation\n64,128,INT4_G64,1,3e-5,\n64,128,FP32,4,1e-4,1e-6\n"


def test_devices_that_come_with_it_say_where_every_figure_is_from(client: TestClient) -> None:
    items = client.get("/v1/devices").json()["items"]
    assert len(items) == 14
    assert all(item["built_in"] and item["measured_entries"] == 0 for item in items)
    found = client.get("/v1/devices/h100-sxm").json()
    assert found["peaks"]["bf16"]["value"] == 989.4e12
    assert found["peaks"]["bf16"]["status"] == "verified"
    assert found["pools"][0]["bandwidth"]["source"]


def test_a_device_of_ones_own_is_stored_once(client: TestClient) -> None:
    first, again = client.post("/v1/devices", json=LAPTOP), client.post("/v1/devices", json=LAPTOP)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json() == client.get(first.headers["location"]).json()
    assert first.json()["built_in"] is False
    other = client.post("/v1/devices", json=LAPTOP | {"kernel_seconds": {"value": 1e-6}})
    assert other.status_code == 409
    assert "delete that one first" in other.json()["detail"]
    assert client.post("/v1/devices", json=LAPTOP | {"name": "b200"}).status_code == 409
    assert [item["name"] for item in client.get("/v1/devices").json()["items"]][-1] == "laptop"
    assert client.delete("/v1/devices/laptop").status_code == 204
    assert client.get("/v1/devices/laptop").status_code == 404


def test_an_unknown_device_names_those_that_are_called_nearly_so(client: TestClient) -> None:
    client.post("/v1/devices", json=LAPTOP)
    answer = client.get("/v1/devices/Laptob")
    assert answer.status_code == 404
    assert answer.json()["close"] == ["laptop"]
    assert client.get("/v1/devices/H100").json()["close"][:2] == ["h100-sxm", "h100-pcie"]
    assert client.delete("/v1/devices/h100").status_code == 404


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"name": "no spaces"}, "name"),
        ({"pools": []}, "pools"),
        ({"pools": [{"name": "ram", "bandwidth": {"value": 0}}]}, "bandwidth of ram is 0"),
        ({"pools": [{"name": "ram", "bandwidth": {"value": -1e9}}]}, "bandwidth of ram"),
        ({"pools": [LAPTOP["pools"][0], LAPTOP["pools"][0]]}, "one name"),
        ({"peaks": {"int8": {"value": 1e12}}}, "dequantize"),
        ({"peaks": {"bf16": {"value": 1e30}}}, "peaks.bf16"),
        ({"peaks": {"bf17": {"value": 1e12}}}, "peaks"),
        ({"kernel_seconds": {"value": 2}}, "kernel_seconds"),
        ({"bandwidth_share": {"value": 1.5}}, "bandwidth_share"),
        ({"bandwidth_share": {"value": 0}}, "bandwidth_share"),
    ],
)
def test_a_device_that_cannot_be_one_is_refused(plain: TestClient, change: dict[str, Any], says: str) -> None:
    answer = plain.post("/v1/devices", json=LAPTOP | change)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]
    assert len(plain.get("/v1/devices").json()["items"]) == 14


def test_latencies_are_put_as_entries_or_as_csv_and_win_over_the_roofline(client: TestClient, database: Database) -> None:
    layer = Layer("a.q_proj", "q_proj", 0, None, 64, 128)
    formats = [get_format("INT4_G64"), get_format("BF16")]

    def times() -> list[int]:
        with database.read_session() as session:
            device = get_device(session, "laptop")
        found: list[int] = latency_table(device, [layer], formats, get_runtime("generic"), phase=Phase.DECODE)[0].tolist()
        return found

    created = client.post("/v1/devices", json=LAPTOP).json()
    roofline = times()
    put = client.put("/v1/devices/laptop/latencies", json={"entries": [ENTRY], "threads": 2, "processor": "one"})
    assert put.status_code == 200
    assert put.json()["measured_entries"] == 1
    assert put.json()["digest"] != created["digest"]
    assert times() == [30_000_000, roofline[1]] != roofline
    stored = client.get("/v1/devices/laptop/latencies").json()
    assert stored["entries"] == [ENTRY | {"format": "INT4_G64", "standard_deviation": None}]
    assert (stored["threads"], stored["processor"]) == (2, "one")
    put = client.put("/v1/devices/laptop/latencies", json={"csv": CSV.replace("3e-5", "4e-5")})
    assert put.json()["measured_entries"] == 2
    assert times()[0] == 40_000_000
    assert client.get("/v1/devices/laptop/latencies").json()["entries"][1]["standard_deviation"] == 1e-6


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "give entries or csv"),
        ({"entries": [ENTRY], "csv": CSV}, "not both"),
        ({"entries": []}, "entries"),
        ({"entries": [ENTRY, ENTRY | {"format": "INT4_G64"}]}, "twice"),
        ({"entries": [ENTRY | {"seconds": 0}]}, "seconds"),
        ({"entries": [ENTRY | {"seconds": 4000}]}, "seconds"),
        ({"entries": [ENTRY | {"batch": 0}]}, "batch"),
        ({"entries": [ENTRY | {"out_features": 2**30}]}, "out_features"),
        ({"entries": [ENTRY | {"format": "INT9"}]}, "unknown format"),
        ({"csv": "out_features,batch\n1,2\n"}, "in_features, format, seconds missing"),
        ({"csv": CSV.replace("standard_deviation", "colour")}, "colour too much"),
        ({"csv": CSV + "64,128,FP32\n"}, "line 4 has 3 columns"),
        ({"csv": CSV + "64,x,FP32,1,1e-5,\n"}, "line 4 in_features"),
        ({"csv": CSV + "64,128,FP32,1,nan,\n"}, "line 4 seconds"),
        ({"csv": CSV + "64,128,FP32,4,1e-5,\n"}, "twice"),
        ({"csv": CSV + '64,128,"FP32,4,1e-5,\n'}, "no CSV"),
        ({"csv": CSV.splitlines()[0]}, "entries"),
    ],
)
def test_a_table_that_cannot_be_one_changes_nothing(plain: TestClient, body: dict[str, Any], says: str) -> None:
    plain.post("/v1/devices", json=LAPTOP)
    answer = plain.put("/v1/devices/laptop/latencies", json=body)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]
    assert plain.get("/v1/devices/laptop/latencies").status_code == 404


def test_devices_that_come_with_it_stay_as_they_are(client: TestClient) -> None:
    assert client.put("/v1/devices/l4/latencies", json={"entries": [ENTRY]}).status_code == 422
    assert client.delete("/v1/devices/l4").status_code == 422
    assert client.get("/v1/devices/l4/latencies").status_code == 404
    assert client.put("/v1/devices/other/latencies", json={"entries": [ENTRY]}).status_code == 404


def test_plans_stay_when_their_device_is_deleted(client: TestClient, measured: Measured) -> None:
    client.post("/v1/devices", json=LAPTOP)
    asked = {"model": measured.model, "budget": {"decode_seconds": 1e-5, "device": "laptop"}}
    made = client.post("/v1/plans", json=asked)
    assert made.status_code == 201
    assert client.delete("/v1/devices/laptop").status_code == 204
    stored = client.get(made.headers["location"])
    assert stored.status_code == 200
    assert stored.json() == made.json()
    again = client.post("/v1/plans", json=asked)
    assert again.status_code == 404
    assert "no device 'laptop'" in again.json()["detail"]


def test_there_is_an_end_of_devices(client: TestClient, database: Database) -> None:
    with database.session() as session:
        session.add_all(DeviceRow(name=f"d{n}", facts=LAPTOP, digest="0") for n in range(MOST_DEVICES))
    answer = client.post("/v1/devices", json=LAPTOP)
    assert answer.status_code == 422
    assert str(MOST_DEVICES) in answer.json()["detail"]


def test_a_kept_device_is_not_read_again_until_it_changes(client: TestClient, database: Database) -> None:
    client.post("/v1/devices", json=LAPTOP)
    with database.read_session() as session:
        assert get_device(session, "laptop") is get_device(session, "laptop")
        assert math.isclose(get_device(session, "laptop").pools[0].bandwidth.value, 5e10)
