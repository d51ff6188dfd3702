"""The catalogue says of every format, runtime and probe what the code that uses them says."""

from planner.runtimes import RUNTIMES
from planner.services import catalogue
from sensitivity.formats.kv_cache import kv_cache_formats
from sensitivity.formats.registry import all_formats
from sensitivity.probe_facts import all_probe_facts


def test_every_format_is_listed_with_the_bits_that_it_really_takes() -> None:
    items = {item.name: item for item in catalogue.list_formats().items}
    assert list(items) == [candidate.name for candidate in all_formats()]
    assert items["INT4_G64"].effective_bits == 4.25
    assert items["BF16"].effective_bits == 16
    assert items["NVFP4"].effective_bits == 4.5 + 32 / 4096**2


def test_every_cache_format_and_what_each_probe_measures_is_listed() -> None:
    items = {item.name: item for item in catalogue.list_cache_formats().items}
    assert list(items) == [fmt.name for fmt in kv_cache_formats()]
    assert (items["V_INT4"].effective_bits, items["V_INT4"].tensor, items["V_INT4"].minimum_bits) == (4.25, "V", 16)
    probes = {item.name: item for item in catalogue.list_probes().items}
    assert (probes["kv_cache"].formats, probes["kv_cache"].is_ranking) == ("kv_cache", False)
    assert set(probes["kv_cache"].default_formats) <= items.keys()
    assert (probes["kurtosis"].default_formats, probes["kurtosis"].is_ranking) == (["ANY"], True)
    assert (probes["salience"].formats, probes["salience"].is_ranking) == ("weights", True)


def test_every_runtime_and_every_probe_is_listed() -> None:
    assert {item.name for item in catalogue.list_runtimes().items} == set(RUNTIMES)
    assert all(item.exports for item in catalogue.list_runtimes().items)
    assert [item.name for item in catalogue.list_probes().items] == [facts.name for facts in all_probe_facts()]
