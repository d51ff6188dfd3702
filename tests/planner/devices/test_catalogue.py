"""The devices that come with bitplan."""

from planner.devices import Arithmetic, Device, Trust
from planner.devices.catalogue import built_in_devices
from planner.devices.profile import PLAIN


def test_every_figure_has_a_source_and_a_status() -> None:
    devices = built_in_devices()
    assert len(devices) == 14
    for facts in devices.values():
        profile = facts.profile()
        figures = [*profile.peaks.values(), profile.kernel_seconds, profile.bandwidth_share]
        for pool in profile.pools:
            figures += [pool.bandwidth] if pool.size is None else [pool.bandwidth, pool.size]
        assert all(figure.source for figure in figures), profile.name
        assert Trust.MEASURED not in {figure.status for figure in figures}
        assert PLAIN & profile.peaks.keys()


def test_sparse_rates_were_not_taken_for_dense_ones() -> None:
    """Narrower elements of one device are at most two times as fast as those twice as wide, but for the A100's int4."""
    for facts in built_in_devices().values():
        peaks = facts.profile().peaks
        plain = peaks[facts.profile().dequantized].value
        for eight in {Arithmetic.INT8, Arithmetic.FP8} & peaks.keys():
            assert 1.9 * plain < peaks[eight].value < 4.1 * plain, facts.name
        for four in {Arithmetic.INT4, Arithmetic.FP4} & peaks.keys():
            assert 3.9 * plain < peaks[four].value < 8.1 * plain, facts.name


def test_a_digest_is_of_what_latencies_are_computed_from() -> None:
    devices = [Device(facts.profile()) for facts in built_in_devices().values()]
    assert len({device.digest for device in devices}) == 14
    facts = built_in_devices()["l4"]
    other_words = facts.model_copy(update={"description": "another", "name": "copy"})
    assert Device(other_words.profile()).digest == Device(facts.profile()).digest
