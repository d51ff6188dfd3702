"""Probes by name, and the facts that planning reads without torch."""

import subprocess
import sys

import pytest

from sensitivity.errors import UnknownProbeError
from sensitivity.probe_facts import all_probe_facts, get_facts
from sensitivity.probes.fisher import Fisher
from sensitivity.probes.registry import get_probe, probes


def test_every_probe_has_facts_and_every_fact_a_probe() -> None:
    assert probes() == tuple(facts.name for facts in all_probe_facts())
    for name in probes():
        probe = get_probe(name)
        assert probe.facts is get_facts(name)
        assert dict(probe.parameters) == get_facts(name).parameters


def test_parameters_reach_the_probe() -> None:
    assert get_probe("fisher", draws=3) == Fisher(draws=3)
    assert get_facts("fisher").parameters_with({"draws": 3}) == {"draws": 3, "arithmetic": "bfloat16"}


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("fish", {}, "use one of fisher, kl, output_error, weight_error"),
        ("fisher", {"draw": 2}, "it has: arithmetic, draws"),
        ("weight_error", {"draws": 2}, "it has: none"),
        ("fisher", {"draws": 0}, "at least 1"),
        ("fisher", {"draws": True}, "type int, not bool"),
        ("fisher", {"draws": 1.5}, "type int, not float"),
        ("output_error", {"arithmetic": "float16"}, "one of bfloat16, float32"),
    ],
)
def test_what_is_unknown_is_said(name: str, given: dict[str, float | int | str], message: str) -> None:
    with pytest.raises(UnknownProbeError, match=message):
        get_probe(name, **given)


def test_facts_need_no_torch() -> None:
    code = "import sys, sensitivity.probe_facts; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
