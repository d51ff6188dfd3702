"""Seconds of layers: the roofline by hand, experts beside a simulation, whole picoseconds, and what no layer is."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.devices import (
    PICOSECONDS,
    Arithmetic,
    Device,
    DeviceProfile,
    Figure,
    LatencyEntry,
    LatencyTable,
    MemoryPool,
    Phase,
    Remainder,
    fixed_picoseconds,
    kv_picoseconds,
    latency_table,
    measured_entries,
)
from planner.devices.catalogue import built_in_devices
from planner.devices.latency import LinearCall, arithmetic_of, layer_seconds
from planner.errors import InvalidRequestError
from planner.runtimes import RUNTIMES, get_runtime
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.registry import all_formats, get_format
from tests import synthetic

PROFILE = DeviceProfile(
    name="desk",
    description="",
    pools=(MemoryPool("vram", Figure(1e11)), MemoryPool("ram", Figure(1e10))),
    peaks={Arithmetic.BF16: Figure(1e13), Arithmetic.INT8: Figure(4e13), Arithmetic.FP32: Figure(5e12)},
    kernel_seconds=Figure(2e-6),
    bandwidth_share=Figure(0.5),
)
DESK = Device(PROFILE)
GENERIC = get_runtime("generic")
LAYER = Layer("a.q_proj", "q_proj", 0, None, 256, 512)
NAMES = ("INT4_G64", "INT8_CHANNEL", "FP8", "INT8_G64", "BF16")
FORMATS = [get_format(name) for name in NAMES]


def decode(batch: int = 1, device: Device = DESK) -> list[int]:
    found: list[int] = latency_table(device, [LAYER], FORMATS, GENERIC, phase=Phase.DECODE, batch=batch)[0].tolist()
    return found


def test_the_roofline_by_hand() -> None:
    bits = 256 * 512 * 4 + 256 * 8 * 16
    moved = Fraction(bits, 8) + 3 * (256 + 512) * 2
    expected = moved / Fraction(5 * 10**10) + Fraction(2, 10**6)
    assert decode(3)[0] == -(-(expected * PICOSECONDS).numerator // (expected * PICOSECONDS).denominator)
    rows, wide = 4096, Layer("a.up_proj", "up_proj", 0, None, 2048, 2048)
    compute = Fraction(2 * rows * 2048 * 2048, 10**13) + Fraction(2, 10**6)
    prefill = latency_table(DESK, [wide], FORMATS, GENERIC, phase=Phase.PREFILL, batch=2, tokens=rows // 2)
    assert prefill[0, 0] == pytest.approx(float(compute) * PICOSECONDS, abs=2)
    assert np.ptp(prefill) <= 1, "weight-only formats compute in bfloat16: a long prompt takes as long in all of them"


def test_fewer_bits_are_read_faster_but_a_measured_time_wins() -> None:
    assert decode() == sorted(decode())
    slow = Device(PROFILE, LatencyTable([LatencyEntry((256, 512), "INT4_G64", 1, 1e-3)]))
    assert decode(device=slow) == [10**9, *decode()[1:]]
    assert measured_entries(slow, [LAYER], FORMATS).tolist() == [[True, False, False, False, False]]
    assert slow.digest != DESK.digest
    elsewhere = latency_table(slow, [LAYER], FORMATS, GENERIC, phase=Phase.DECODE, pool="ram")
    assert elsewhere[0, 0] < 10**9, "the table is of the first pool"


def test_weights_in_slow_memory_take_longer() -> None:
    fast = latency_table(DESK, [LAYER], FORMATS, GENERIC, phase=Phase.DECODE)
    slow = latency_table(DESK, [LAYER], FORMATS, GENERIC, phase=Phase.DECODE, pool="ram")
    assert np.allclose(slow - 2_000_000, 10 * (fast - 2_000_000), rtol=1e-5)
    with pytest.raises(InvalidRequestError, match="vram, ram"):
        latency_table(DESK, [LAYER], FORMATS, GENERIC, phase=Phase.DECODE, pool="disk")


def test_products_are_in_the_format_s_arithmetic_only_where_activations_are_quantized() -> None:
    eight, four, fp8 = (get_format(name) for name in ("INT8_CHANNEL", "INT4_G64", "FP8"))
    assert arithmetic_of(eight, DESK, quantized_activations=False) is Arithmetic.BF16
    assert arithmetic_of(eight, DESK, quantized_activations=True) is Arithmetic.INT8
    assert arithmetic_of(four, DESK, quantized_activations=True) is Arithmetic.BF16, "this device has no int4 units"
    assert arithmetic_of(fp8, DESK, quantized_activations=True) is Arithmetic.BF16
    h100 = Device(built_in_devices()["h100-sxm"].profile())
    assert arithmetic_of(fp8, h100, quantized_activations=True) is Arithmetic.FP8
    m4 = Device(built_in_devices()["m4-max"].profile())
    assert arithmetic_of(fp8, m4, quantized_activations=False) is Arithmetic.FP16


@pytest.mark.parametrize(("tokens", "fraction"), [(1, 0.125), (3, 0.25), (16, 0.125), (64, 0.02)])
def test_experts_take_as_long_as_simulated_ones(tokens: int, fraction: float) -> None:
    """Each token is routed to the expert with the probability of its share; time is linear in rows, so means are exact."""
    rng = np.random.default_rng(0)
    rows = rng.binomial(tokens, fraction, size=200_000)
    bits, shape, reached = 256 * 512 * 4, (256, 512), 1e11 * 0.5
    times = np.where(rows > 0, (bits / 8 + rows * (256 + 512) * 2) / reached + 2e-6, 0.0)
    call = LinearCall(shape, "INT4_G64", bits, Arithmetic.BF16, tokens, fraction)
    assert layer_seconds(DESK, call) == pytest.approx(times.mean(), rel=0.02)


def test_an_expert_of_one_token_is_touched_by_its_share_and_of_many_surely() -> None:
    dense = LinearCall((256, 512), "BF16", 256 * 512 * 16, Arithmetic.BF16, 1)
    routed = LinearCall((256, 512), "BF16", 256 * 512 * 16, Arithmetic.BF16, 1, 0.25)
    assert layer_seconds(DESK, routed) == pytest.approx(0.25 * layer_seconds(DESK, dense))
    many = LinearCall((256, 512), "BF16", 256 * 512 * 16, Arithmetic.BF16, 4000, 0.25)
    fewer = LinearCall((256, 512), "BF16", 256 * 512 * 16, Arithmetic.BF16, 1000)
    assert layer_seconds(DESK, many) == pytest.approx(layer_seconds(DESK, fewer))
    never = LinearCall((256, 512), "BF16", 256 * 512 * 16, Arithmetic.BF16, 5, 0.0)
    assert layer_seconds(DESK, never) == 0.0


@given(
    st.sampled_from(sorted(built_in_devices())),
    st.sampled_from(sorted(RUNTIMES)),
    st.sampled_from(list(Phase)),
    st.integers(1, 64),
    st.integers(1, 4096),
    st.floats(0.01, 1),
)
def test_tables_are_whole_positive_and_grow_with_the_batch(
    name: str, runtime: str, phase: Phase, batch: int, tokens: int, fraction: float
) -> None:
    device, formats = Device(built_in_devices()[name].profile()), all_formats()
    layers = [LAYER, Layer("b.e.0.up", "up_proj", 0, 0, 512, 256, fraction), LAYER, Layer("c", "k_proj", 1, None, 17, 31)]
    first = latency_table(device, layers, formats, RUNTIMES[runtime], phase=phase, batch=batch, tokens=tokens)
    assert first.dtype == np.int64
    assert first.shape == (4, len(formats))
    assert (first[0] == first[2]).all()
    legal = np.array([[RUNTIMES[runtime].refusal(fmt, layer) is None for fmt in formats] for layer in layers])
    assert ((first > 0) == legal).all()
    more = latency_table(device, layers, formats, RUNTIMES[runtime], phase=phase, batch=batch + 1, tokens=tokens)
    assert (more >= first).all()


def test_the_head_of_a_prompt_sees_only_the_last_token() -> None:
    head = Layer("lm_head", "lm_head", None, None, 256, 512)
    found = latency_table(DESK, [LAYER, head], FORMATS, GENERIC, phase=Phase.PREFILL, tokens=10_000)
    assert (found[1] == decode()).all()
    assert (found[0] > found[1]).all()


def test_nothing_is_read_of_an_embedding_but_its_rows_and_all_of_a_tied_head() -> None:
    described = synthetic.description()
    planned = [layer for layer in described.layers if layer.kind != "lm_head"]
    head = next(layer for layer in described.layers if layer.kind == "lm_head")
    tied = Remainder(planned, [], "bfloat16", 256, described.unquantized_bytes)
    untied = Remainder(described.layers, [head], "bfloat16", 256, described.unquantized_bytes)
    assert tied.unquantized_layers[0].shape == head.shape
    for phase in Phase:
        asked = {"phase": phase, "batch": 2, "tokens": 100}
        assert fixed_picoseconds(DESK, tied, **asked) == fixed_picoseconds(DESK, untied, **asked)  # type: ignore[arg-type]
    planned_head = Remainder(described.layers, [], "bfloat16", 256, described.unquantized_bytes)
    without = fixed_picoseconds(DESK, planned_head, phase=Phase.DECODE)
    rows, kernels = 128 * 2 / 5e10, 2 * 2e-6
    assert without == pytest.approx((rows + kernels) * PICOSECONDS, abs=2)
    norms = Remainder(described.layers, [], "bfloat16", 256, described.unquantized_bytes + 5 * 10**10)
    assert fixed_picoseconds(DESK, norms, phase=Phase.DECODE) == pytest.approx(without + PICOSECONDS, abs=2)


def test_attention_over_a_prompt_grows_with_its_square() -> None:
    described = synthetic.description()
    rest = Remainder(described.layers, [], "float32", 256, described.unquantized_bytes)
    one, two = (fixed_picoseconds(DESK, rest, phase=Phase.PREFILL, tokens=tokens) for tokens in (10**5, 2 * 10**5))
    operations = 2 * 10**5 * (10**5 + 1) * 2 * 128
    assert one == pytest.approx(operations / 1e13 * PICOSECONDS, rel=0.01)
    assert two == pytest.approx(4 * one, rel=0.01)


def test_a_cache_is_read_at_the_bandwidth() -> None:
    found = kv_picoseconds(DESK, np.array([0, 8, 4 * 10**11], dtype=np.int64))
    assert found.dtype == np.int64
    assert found.tolist() == [0, 20, PICOSECONDS]
    assert kv_picoseconds(DESK, np.array([8], dtype=np.int64), pool="ram").tolist() == [200]


@pytest.mark.parametrize("asked", [{"batch": 0}, {"tokens": -1}, {"phase": Phase.PREFILL, "tokens": 0}])
def test_workloads_without_rows_are_refused(asked: dict[str, int]) -> None:
    with pytest.raises(InvalidRequestError, match="at least 1"):
        latency_table(DESK, [LAYER], FORMATS, GENERIC, **{"phase": Phase.DECODE} | asked)  # type: ignore[arg-type]


def test_times_beyond_all_bounds_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="figures"):
        latency_table(DESK, [LAYER], FORMATS, GENERIC, phase=Phase.PREFILL, batch=2**40, tokens=2**40)


def test_no_layers_make_an_empty_table() -> None:
    assert latency_table(DESK, [], FORMATS, GENERIC, phase=Phase.DECODE).shape == (0, len(FORMATS))
