"""KL from changes of logits against float64 log-probabilities."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sensitivity.probes import divergence
from sensitivity.probes.divergence import LogitChange, divergences, far_divergences


class Head(nn.Module):
    """What ``divergences`` needs of a model."""

    def __init__(self, *, hidden: int, vocabulary: int, cap: float | None, generator: torch.Generator) -> None:
        super().__init__()
        self.config = SimpleNamespace(vocab_size=vocabulary, final_logit_softcapping=cap)
        self.head = nn.Linear(hidden, vocabulary, bias=False)
        nn.init.normal_(self.head.weight, generator=generator)
        self.requires_grad_(requires_grad=False)

    def get_output_embeddings(self) -> nn.Linear:
        return self.head


def log_probabilities(logits: torch.Tensor, cap: float | None) -> torch.Tensor:
    return (logits if cap is None else torch.tanh(logits / cap) * cap).log_softmax(dim=-1)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.integers(1, 7),
    st.integers(2, 70),
    st.sampled_from([1e-5, 1e-3, 0.1, 3.0, 300.0]),
    st.sampled_from([None, 5.0, 30.0]),
    st.booleans(),
)
def test_divergences_are_those_of_float64(
    seed: int, length: int, vocabulary: int, size: float, cap: float | None, of_head: bool
) -> None:
    """From 1e-12 nats to hundreds, in tiles and strips that do not divide what they cut.

    The error is a fraction of the KL, except where nearly all probability is one token's and its logit's change cancels.
    """
    generator = torch.Generator().manual_seed(seed)
    module = Head(hidden=8, vocabulary=vocabulary, cap=cap, generator=generator)
    hidden = torch.randn((length, 8), generator=generator)
    matrix = size * torch.randn((vocabulary, 8), generator=generator) if of_head else module.head.weight
    states = hidden if of_head else size * torch.randn((length, 8), generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(divergence, "TILE", 16)
        patch.setattr(divergence, "positions_at_once", lambda _: 2)
        found = divergences(module, hidden, [LogitChange(states, matrix)] * 2)
    reference = hidden.double() @ module.head.weight.double().T
    expected = log_probabilities(reference, cap)
    changed = log_probabilities(reference + states.double() @ matrix.double().T, cap)
    kl = (expected.exp() * (expected - changed)).sum()
    rms = min(1.0, float((states.double() @ matrix.double().T).square().mean().sqrt()))
    torch.testing.assert_close(found, kl.expand(2), rtol=2e-3, atol=1e-7 * rms + 1e-5 * rms * rms)


def test_a_common_shift_of_all_logits_is_no_change() -> None:
    generator = torch.Generator().manual_seed(0)
    module = Head(hidden=4, vocabulary=50, cap=None, generator=generator)
    hidden = torch.randn((6, 4), generator=generator)
    matrix = torch.full((50, 4), 3.0)
    assert float(divergences(module, hidden, [LogitChange(hidden, matrix)])) < 1e-9


def test_no_change_is_exactly_zero_and_no_changes_are_nothing() -> None:
    module = Head(hidden=4, vocabulary=50, cap=None, generator=torch.Generator().manual_seed(0))
    hidden = torch.ones((6, 4))
    assert divergences(module, hidden, [LogitChange(torch.zeros((6, 4)), module.head.weight)]).tolist() == [0.0]
    assert divergences(module, hidden, []).shape == (0,)


def test_tokens_of_no_probability_count_when_they_come_to_dominate() -> None:
    """Probability 1e-60 is zero in float32, and KL is 60 nats when such a token takes over."""
    logits = torch.tensor([[0.0, -140.0]], dtype=torch.float64)
    found = far_divergences(logits, torch.tensor([[0.0, 200.0]], dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor([60.0], dtype=torch.float64))


def test_infinite_changes_are_not_a_number() -> None:
    module = Head(hidden=4, vocabulary=50, cap=None, generator=torch.Generator().manual_seed(0))
    states = torch.full((6, 4), float("inf"))
    found = divergences(
        module,
        torch.ones((6, 4)),
        [LogitChange(states, module.head.weight), LogitChange(torch.zeros((6, 4)), module.head.weight)],
    )
    assert found.isnan().tolist() == [True, False]
