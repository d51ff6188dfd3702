"""Samples of cells: as many as asked for, spread over formats and losses, the same for the same seed."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sensitivity.links.sampling import stratified_sample

tables = st.tuples(st.integers(0, 12), st.integers(0, 5)).flatmap(
    lambda shape: st.tuples(arrays(np.bool_, shape), arrays(np.float64, shape, elements=st.floats(0, 1) | st.just(np.nan)))
)


@given(tables, st.integers(0, 80), st.integers(0, 5))
def test_it_has_the_size_and_stays_within_what_is_wanted(table: tuple[np.ndarray, np.ndarray], count: int, seed: int) -> None:
    wanted, loss = table
    chosen = stratified_sample(wanted, loss, count, seed=seed)
    assert chosen.sum() == min(count, wanted.sum())
    assert not (chosen & ~wanted).any()
    np.testing.assert_array_equal(chosen, stratified_sample(wanted, loss, count, seed=seed))
    shares = chosen.sum(axis=0)
    full = shares == wanted.sum(axis=0)
    if not full.all():
        assert shares.max() - shares[~full].min() <= 1


def test_every_run_of_the_sorted_losses_gives_one_cell() -> None:
    random = np.random.default_rng(0)
    loss = np.exp(random.normal(0, 2, (40, 2)))
    chosen = stratified_sample(np.ones((40, 2), dtype=bool), loss, 16, seed=1)
    for column in range(2):
        ranks = loss[:, column].argsort().argsort()[chosen[:, column]]
        assert sorted(ranks // 5) == list(range(8))


def test_another_seed_gives_another_sample() -> None:
    wanted, loss = np.ones((30, 3), dtype=bool), np.full((30, 3), np.nan)
    assert (stratified_sample(wanted, loss, 12, seed=0) != stratified_sample(wanted, loss, 12, seed=1)).any()
