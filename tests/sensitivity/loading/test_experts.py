"""Routed experts against the sum written out in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sensitivity.errors import UnknownArchitectureError
from sensitivity.loading.experts import Expert, RoutedExperts, linear, unfuse

HIDDEN, INNER = 6, 5


class Fused(nn.Module):
    """As transformers 5 stores experts."""

    is_concatenated = True
    is_transposed = False
    has_bias = False
    has_gate = True
    has_post_expert_norm = False

    def __init__(self, experts: int, generator: torch.Generator) -> None:
        super().__init__()
        self.gate_up_proj = nn.Parameter(torch.randn(experts, 2 * INNER, HIDDEN, generator=generator))
        self.down_proj = nn.Parameter(torch.randn(experts, HIDDEN, INNER, generator=generator))
        self.act_fn = nn.SiLU()


def _unfused(fused: Fused) -> RoutedExperts:
    block = nn.ModuleDict({"experts": fused})
    unfuse(block)
    experts = block["experts"]
    assert isinstance(experts, RoutedExperts)
    return experts


def _written_out(fused: Fused, x: torch.Tensor, index: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    rows = []
    for token in range(len(x)):
        row = torch.zeros(HIDDEN, dtype=torch.float64)
        for expert, weight in zip(index[token].tolist(), weights[token].double(), strict=True):
            gate_up = fused.gate_up_proj[expert].double() @ x[token].double()
            inner = nn.functional.silu(gate_up[:INNER]) * gate_up[INNER:]
            row = row + weight * (fused.down_proj[expert].double() @ inner)
        rows.append(row)
    return torch.stack(rows) if rows else torch.zeros(0, HIDDEN, dtype=torch.float64)


@given(tokens=st.integers(0, 12), experts=st.integers(1, 6), seed=st.integers(0, 2**31), data=st.data())
@settings(deadline=None)
def test_forward_is_the_weighted_sum_of_the_experts_hit(tokens: int, experts: int, seed: int, data: st.DataObject) -> None:
    top_k = data.draw(st.integers(1, experts))
    generator = torch.Generator().manual_seed(seed)
    fused = Fused(experts, generator)
    x = torch.randn(tokens, HIDDEN, generator=generator)
    index = torch.rand(tokens, experts, generator=generator).argsort(dim=1)[:, :top_k]
    weights = torch.rand(tokens, top_k, generator=generator)
    result = _unfused(fused)(x, index, weights)
    torch.testing.assert_close(result.double(), _written_out(fused, x, index, weights), rtol=1e-4, atol=1e-4)


def test_an_expert_without_tokens_is_not_called() -> None:
    experts = _unfused(Fused(3, torch.Generator().manual_seed(0)))
    called: list[int] = []
    for number, expert in enumerate(experts):
        assert isinstance(expert, Expert)
        expert.up_proj.register_forward_hook(lambda *_, number=number: called.append(number))
    experts(torch.ones(4, HIDDEN), torch.tensor([[2], [0], [2], [0]]), torch.ones(4, 1))
    assert called == [0, 2]


def test_weights_are_not_copied() -> None:
    fused = Fused(3, torch.Generator().manual_seed(0))
    expert = _unfused(fused)[1]
    assert isinstance(expert, Expert)
    assert expert.gate_proj.weight.data_ptr() == fused.gate_up_proj[1].data_ptr()
    assert expert.up_proj.weight.data_ptr() == fused.gate_up_proj[1, INNER:].data_ptr()
    assert expert.down_proj.weight.data_ptr() == fused.down_proj[1].data_ptr()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("is_concatenated", False),
        ("is_transposed", True),
        ("has_bias", True),
        ("has_gate", False),
        ("has_post_expert_norm", True),
    ],
)
def test_refuses_another_layout(key: str, value: bool) -> None:
    fused = Fused(2, torch.Generator().manual_seed(0))
    setattr(fused, key, value)
    with pytest.raises(UnknownArchitectureError, match=f"the experts experts have {key} = {value}"):
        unfuse(nn.ModuleDict({"experts": fused}))


def test_linear_keeps_weight_and_bias() -> None:
    weight, bias = torch.randn(3, 4), torch.randn(3)
    x = torch.randn(2, 4)
    assert torch.equal(linear(weight, bias)(x), nn.functional.linear(x, weight, bias))
    assert linear(weight).bias is None
