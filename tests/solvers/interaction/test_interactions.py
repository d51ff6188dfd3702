"""Gram and PairTables as numbers: values, changes, minorants, conversions, refusals."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solvers import Problem, ProblemError
from solvers.arrays import Floats, Integers
from solvers.interaction import Gram, PairTables
from solvers.interaction.quadratic import AbstractQuadratic
from tests.solvers.interaction.instances import graph

SHAPE = (4, 3)
CHOICES = np.array(list(itertools.product(range(3), repeat=4)))


def some_gram(seed: int, diagonal: bool) -> Gram:
    rng = np.random.default_rng(seed)
    return Gram(rng.normal(size=(3, *SHAPE)), rng.random(3), diagonal)


def some_pairs(seed: int) -> PairTables:
    rng = np.random.default_rng(seed)
    pairs = graph(("row", "ring", "all")[seed % 3], 4, rng)
    return PairTables.merged(pairs, rng.normal(size=(pairs.shape[0], 3, 3)), 4)


SOME: list[AbstractQuadratic] = [
    *(some_gram(seed, diagonal) for seed in range(3) for diagonal in (False, True)),
    *map(some_pairs, range(3)),
]


def by_hand(interaction: AbstractQuadratic, choice: Integers) -> float:
    total = 0.0
    if isinstance(interaction, PairTables):
        for (i, j), table in zip(interaction.pairs, interaction.tables, strict=True):
            total += table[choice[i], choice[j]]
        return total
    assert isinstance(interaction, Gram)
    for weight, factor in zip(interaction.weights, interaction.factors, strict=True):
        chosen = [factor[i, k] for i, k in enumerate(choice)]
        total += weight * (sum(chosen) ** 2 - (0.0 if interaction.diagonal else sum(f * f for f in chosen)))
    return float(total)


@pytest.mark.parametrize("interaction", SOME)
def test_values_are_the_definition(interaction: AbstractQuadratic) -> None:
    values = interaction.values(CHOICES)
    assert values == pytest.approx([by_hand(interaction, choice) for choice in CHOICES], abs=1e-12)


@pytest.mark.parametrize("interaction", SOME)
def test_flips_and_crossings_are_differences_of_values(interaction: AbstractQuadratic) -> None:
    klass, item = np.repeat(np.arange(4), 3), np.tile(np.arange(3), 4)
    for choice in CHOICES[::7]:
        base, flips = by_hand(interaction, choice), interaction.flips(choice)
        crossings = interaction.crossings(choice, klass, item)
        for m, n in itertools.combinations(range(12), 2):
            i, j = klass[m], klass[n]
            if i == j:
                continue
            moved = choice.copy()
            moved[[i, j]] = item[m], item[n]
            assert by_hand(interaction, moved) - base == pytest.approx(
                flips[i, item[m]] + flips[j, item[n]] + crossings[m, n], abs=1e-12
            )
            assert crossings[m, n] == crossings[n, m]


def test_values_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("gram", "pairs"):
        monkeypatch.setattr(f"solvers.interaction.{module}.CELLS", 50)
    for interaction in SOME:
        whole = np.array([by_hand(interaction, choice) for choice in CHOICES])
        assert interaction.values(CHOICES) == pytest.approx(whole, abs=1e-12)


finite = st.floats(-1e6, 1e6)


def certificate_of(interaction: AbstractQuadratic, draw: st.DrawFn) -> Floats | None:
    shape = interaction.weights.shape if isinstance(interaction, Gram) else (interaction.pairs.shape[0], 2, 3)  # type: ignore[attr-defined]
    count = int(np.prod(shape))
    numbers = draw(st.none() | st.lists(finite, min_size=count, max_size=count))
    return None if numbers is None else np.array(numbers).reshape(shape)


@st.composite
def certified(draw: st.DrawFn) -> tuple[AbstractQuadratic, Floats | None]:
    interaction = draw(st.sampled_from(SOME))
    return interaction, certificate_of(interaction, draw)


@settings(max_examples=300, deadline=None)
@given(certified())
def test_property_a_minorant_is_below_at_every_choice_by_its_heights(pair: tuple[AbstractQuadratic, Floats | None]) -> None:
    interaction, certificate = pair
    below, heights = interaction.minorant(certificate), interaction.heights(certificate)
    assert below.loss.shape == SHAPE
    rows = np.arange(4)
    lower = np.array([below.constant + below.loss[rows, choice].sum() for choice in CHOICES])
    above = np.array([heights[rows, choice].max() for choice in CHOICES])
    largest = 1.0 + (0.0 if certificate is None else float(np.abs(certificate).max(initial=0.0)))
    assert (interaction.values(CHOICES) - lower - above >= -1e-11 * largest * largest).all()
    assert (heights >= 0).all()


def test_the_minorant_touches_at_the_totals() -> None:
    for interaction in SOME:
        if isinstance(interaction, Gram):
            for choice in CHOICES[::5]:
                below = interaction.minorant(interaction.totals(choice))
                touched = below.constant + below.loss[np.arange(4), choice].sum()
                assert touched == pytest.approx(by_hand(interaction, choice), abs=1e-12)


def test_pairs_of_a_gram_leave_out_its_squares() -> None:
    for interaction in SOME[:6]:
        assert isinstance(interaction, Gram)
        alone = interaction.squares()[np.arange(4), CHOICES].sum(axis=1) if interaction.diagonal else 0.0
        assert interaction.to_pairs().values(CHOICES) + alone == pytest.approx(interaction.values(CHOICES), abs=1e-12)


def test_pairs_of_a_quadratic_form() -> None:
    """½·αᵀGα of CLADO over one-hot α is half of the diagonal and these pairs."""
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(12, 12))
    matrix[0:3, 3:6] = matrix[3:6, 0:3] = 0.0
    pairs = PairTables.from_matrix(matrix, 3)
    assert pairs.pairs.shape == (5, 2)
    alone = 0.5 * np.diagonal(matrix).reshape(SHAPE)[np.arange(4), CHOICES].sum(axis=1)
    hot = np.eye(3)[CHOICES].reshape(-1, 12)
    assert alone + pairs.values(CHOICES) == pytest.approx(0.5 * np.einsum("mi,ij,mj->m", hot, matrix, hot), abs=1e-12)


def test_merged_pairs_are_ordered_and_added() -> None:
    tables = np.arange(27.0).reshape(3, 3, 3)
    pairs = PairTables.merged([[2, 0], [0, 2], [1, 3]], tables, 4)
    assert pairs.pairs.tolist() == [[0, 2], [1, 3]]
    assert pairs.tables.tolist() == [(tables[0].T + tables[1]).tolist(), tables[2].tolist()]


def test_zero_is_recognised() -> None:
    assert Gram(np.ones((1, 2, 2)), np.zeros(1)).is_zero
    assert not Gram(np.ones((1, 2, 2)), np.ones(1)).is_zero
    assert PairTables(np.empty((0, 2), dtype=np.int64), np.empty((0, 2, 2)), 2).is_zero
    assert not PairTables(np.array([[0, 1]]), np.ones((1, 2, 2)), 2).is_zero


@pytest.mark.parametrize(
    ("interaction", "message"),
    [
        (Gram(np.ones((2, 3, 2)), np.ones(2)), r"\(samples, 2, 2\)"),
        (Gram(np.ones((2, 2, 2)), np.ones(3)), r"\(samples,\)"),
        (Gram(np.full((1, 2, 2), np.nan), np.ones(1)), "finite"),
        (Gram(np.ones((1, 2, 2)), -np.ones(1)), "not negative"),
        (Gram(np.full((1, 2, 2), 1e200), np.ones(1)), "passes float64"),
        (PairTables(np.array([[0, 1]]), np.ones((1, 2, 2)), 3), "3 classes"),
        (PairTables(np.array([[0, 1]]), np.ones((1, 3, 2)), 2), "tables of shape"),
        (PairTables(np.array([[0, 2]]), np.ones((1, 2, 2)), 2), r"outside 0\.\.1"),
        (PairTables(np.array([[1, 0]]), np.ones((1, 2, 2)), 2), "merged"),
        (PairTables(np.array([[0, 1], [0, 1]]), np.ones((2, 2, 2)), 2), "merged"),
        (PairTables(np.array([[0, 1]]), np.full((1, 2, 2), np.inf), 2), "finite"),
    ],
)
def test_what_is_no_interaction_of_the_problem_is_refused(interaction: AbstractQuadratic, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        Problem(np.ones((2, 2)), np.ones((1, 2, 2), dtype=np.int64), np.array([2]), (), interaction)


@pytest.mark.parametrize("interaction", [SOME[0], SOME[-1]])
def test_certificates_of_another_shape_or_without_end_are_refused(interaction: AbstractQuadratic) -> None:
    shape = (3,) if isinstance(interaction, Gram) else (6, 2, 3)
    for wrong in (np.zeros(7), np.full(shape, np.nan), np.full(shape, 1.7e308)):
        with pytest.raises(ValueError, match=r"totals|messages"):
            interaction.minorant(wrong)


def test_pairs_that_are_none_are_refused() -> None:
    with pytest.raises(ProblemError, match="whole numbers, not by float64"):
        PairTables(np.array([[0.5, 1.0]]), np.ones((1, 2, 2)), 2)
    with pytest.raises(ProblemError, match="are needed"):
        PairTables.merged([0, 1], np.ones((1, 2, 2)), 2)
    with pytest.raises(ProblemError, match="multiple of 2"):
        PairTables.from_matrix(np.ones((5, 5)), 2)
