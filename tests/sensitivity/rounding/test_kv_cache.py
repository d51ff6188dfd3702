"""What the caches decode to, against plain numpy code and against what must hold of any cache."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensitivity.formats.kv_cache import KV_CACHE_FORMATS, KVCacheFormat
from sensitivity.rounding.kv_cache import fake_quantize_cache
from tests.sensitivity.cache_reference import decoded

BY_NAME = {fmt.name: fmt for fmt in KV_CACHE_FORMATS}
INTEGERS = [fmt for fmt in KV_CACHE_FORMATS if fmt.minimum_bits]


def random_states(*shape: int, seed: int = 0) -> torch.Tensor:
    """Tokens of different sizes, and channels that are far from zero."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(shape, generator=generator)
    offsets = 4 * torch.randn((shape[0], 1, shape[2]), generator=generator)
    return noise * (1 + torch.arange(shape[1])[:, None] / 8) + offsets


@pytest.mark.parametrize("fmt", KV_CACHE_FORMATS, ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("shape", [(2, 40, 48), (1, 1, 16)])
def test_states_decode_to_what_plain_code_says(fmt: KVCacheFormat, shape: tuple[int, int, int]) -> None:
    states = random_states(*shape)
    found = fake_quantize_cache(states[None], fmt)[0]
    np.testing.assert_allclose(found.numpy(), decoded(states.numpy(), fmt), rtol=2e-6, atol=2e-6)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(INTEGERS),
    st.integers(1, 70),
    st.integers(1, 40),
    st.floats(1e-3, 1e3),
    st.floats(-100, 100),
    st.integers(0, 2**31),
)
def test_integers_are_off_by_half_a_step_and_what_float16_leaves(
    fmt: KVCacheFormat, length: int, head_dim: int, size: float, offset: float, seed: int
) -> None:
    states = offset + size * torch.randn((2, length, head_dim), generator=torch.Generator().manual_seed(seed))
    found = fake_quantize_cache(states, fmt)
    spread = float(states.max() - states.min())
    step = spread / (2**fmt.num_bits - 1)
    assert found.shape == states.shape
    assert float((found - states).abs().max()) <= 0.5 * step + 2e-3 * (spread + float(states.abs().max())) + 1e-4


def test_a_group_far_from_zero_keeps_its_levels() -> None:
    """A zero point that must be a level of its own would leave one level for all of these."""
    states = 100 + torch.tensor([0.0, 1.0, 2.0, 3.0]).reshape(1, 1, 4)
    assert torch.equal(fake_quantize_cache(states, BY_NAME["V_INT2"]), states)


@pytest.mark.parametrize("name", ["Q8_0", "Q4_0"])
def test_blocks_are_ggmls_own(name: str) -> None:
    """As the ``gguf`` package rounds and decodes them, bit for bit."""
    from gguf import GGMLQuantizationType, quants

    states = random_states(2, 40, 64, seed=3)
    kind = GGMLQuantizationType[name]
    wanted = quants.dequantize(quants.quantize(states.numpy(), kind), kind)
    for tensor in ("K", "V"):
        np.testing.assert_array_equal(fake_quantize_cache(states, BY_NAME[f"{tensor}_{name}"]).numpy(), wanted)


def test_channels_that_are_large_for_all_tokens_need_scales_of_their_own() -> None:
    """KIVI's reason for keys by channel."""
    states = torch.randn((1, 64, 32), generator=torch.Generator().manual_seed(0))
    states[..., 3] += 30
    error = {
        name: float((fake_quantize_cache(states, BY_NAME[name]) - states).square().mean())
        for name in ("K_INT2_G32", "K_INT2_CHANNEL")
    }
    assert error["K_INT2_CHANNEL"] < 0.05 * error["K_INT2_G32"]


@pytest.mark.parametrize("fmt", KV_CACHE_FORMATS, ids=lambda fmt: fmt.name)
def test_zeros_stay_zeros_and_what_is_no_number_spoils_all(fmt: KVCacheFormat) -> None:
    zeros = torch.zeros((1, 5, 16))
    assert torch.equal(fake_quantize_cache(zeros, fmt), zeros)
    for bad in (torch.nan, torch.inf):
        zeros[0, 2, 3] = bad
        assert fake_quantize_cache(zeros, fmt).isnan().all()


def test_fp8_saturates_and_fp16_does_not() -> None:
    states = torch.full((1, 1, 16), 1e5)
    assert fake_quantize_cache(states, BY_NAME["V_FP8"]).eq(448).all()
    assert fake_quantize_cache(states, BY_NAME["V_FP16"]).isinf().all()
