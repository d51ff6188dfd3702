"""The choice of a link's shape, and the held-out check of it."""

import numpy as np
import pytest

from sensitivity.errors import LinkError
from sensitivity.links.fitting import LinkFit, fit_link
from sensitivity.links.pairs import LEAST_PAIRS, Pairs
from tests.sensitivity.links.worlds import world


def _fit(seed: int, count: int = 40, **options: object) -> tuple[LinkFit, float, float]:
    """The fit; foretold over true sum of the cells outside the sample; share of them within one standard error."""
    made = world(seed, **options)  # type: ignore[arg-type]
    pairs, which = made.pairs(count)
    fit = fit_link(pairs, same_unit=True, seed=0)
    loss, error = fit.link.losses(made.cheap[~which], made.cheap_error[~which], made.formats[~which])
    true = made.true[~which]
    return fit, float(loss.sum() / true.sum()), float(np.mean(np.abs(loss - true) < error))


def test_the_identity_is_kept_where_nothing_is_better() -> None:
    fit, ratio, covered = _fit(0)
    assert fit.link.family == "identity"
    assert fit.held_out == fit.identity
    assert ratio == pytest.approx(1, abs=0.2)
    assert 0.55 < covered < 0.8


def test_a_factor_is_found_from_a_dozen_cells() -> None:
    fit, ratio, covered = _fit(0, 12, factors=(3.0, 3.0, 3.0, 3.0))
    assert fit.link.family == "scale"
    assert fit.identity is not None
    assert fit.held_out.r2 > 0.9 > fit.identity.r2
    assert fit.held_out.median_error < 0.5 < fit.identity.median_error
    assert ratio == pytest.approx(1, abs=0.25)
    assert 0.5 < covered < 0.85


def test_formats_get_factors_of_their_own_where_the_cells_carry_them() -> None:
    fit, ratio, _ = _fit(0, 60, factors=(0.4, 0.8, 1.0, 1.0))
    assert "by_format" in fit.link.family
    assert fit.link.offsets["INT2_G64"] > 0.4
    assert ratio == pytest.approx(1, abs=0.15)


def test_the_same_seed_gives_the_same_fit() -> None:
    pairs, _ = world(5, power=1.3).pairs(30)
    first, second = (fit_link(pairs, same_unit=True, seed=7) for _ in range(2))
    assert (first.link.family, first.link.slope, first.held_out) == (second.link.family, second.link.slope, second.held_out)
    assert first.link.slope > 1.1


def test_too_few_cells_are_refused() -> None:
    pairs, _ = world(0).pairs(LEAST_PAIRS - 1)
    with pytest.raises(LinkError, match="9 cells have two losses above zero, and a link needs at least 10"):
        fit_link(pairs, same_unit=True, seed=0)


def test_losses_that_foretell_nothing_are_refused_in_another_unit_and_kept_as_they_are_in_the_same() -> None:
    pairs, _ = world(0).pairs(40)
    order = np.random.default_rng(0).permutation(len(pairs))
    shuffled = Pairs(pairs.cheap[order], pairs.cheap_error[order], pairs.exact, pairs.exact_error, pairs.formats)
    with pytest.raises(LinkError, match="foretell nothing of the exact ones: held-out R² is"):
        fit_link(_one_format(shuffled), same_unit=False, seed=0)
    fit = fit_link(_one_format(shuffled), same_unit=True, seed=0)
    assert fit.held_out.r2 < 0.3


def _one_format(pairs: Pairs) -> Pairs:
    """The same cells as if of one format, so that its level tells nothing."""
    return Pairs(pairs.cheap, pairs.cheap_error, pairs.exact, pairs.exact_error, np.full(len(pairs), "INT4_G64"))
