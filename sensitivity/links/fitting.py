"""Fit a link: choose its shape by cross-validation, and check the choice on cells that had no part in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from sensitivity.errors import LinkError
from sensitivity.links.families import Family, fit_family
from sensitivity.links.link import Link
from sensitivity.links.pairs import LEAST_PAIRS, Pairs

FOLDS: Final = 5
_DIVISIONS: Final = 2


@final
@dataclass(frozen=True, slots=True)
class HeldOut:
    """How well cells are foretold that had no part in the fit, nor in the choice of its shape.

    Attributes:
        r2: share of the variance of ln exact that the foretold losses explain; below 0 where their mean alone says more.
        median_error: median of ``|foretold/exact − 1|``.
        p90_error: its 90th percentile.
    """

    r2: float
    median_error: float
    p90_error: float


@final
@dataclass(frozen=True, slots=True)
class LinkFit:
    """A link, and what is known of its quality.

    Attributes:
        link: fitted on all pairs.
        pairs: how many.
        r2: share of the variance of ln exact that g explains, on the pairs of the fit.
        held_out: of the whole procedure, by cross-validation.
        identity: the same for the cheap losses as they are; ``None`` where they have another unit.
    """

    link: Link
    pairs: int
    r2: float
    held_out: HeldOut
    identity: HeldOut | None


def fit_link(pairs: Pairs, *, same_unit: bool, seed: int) -> LinkFit:
    """The simplest shape that foretells held-out cells about as well as the best one, fitted on all pairs.

    Each shape is fitted on four fifths of the pairs and judged on the last fifth by the logarithm of the density that it
    gave to the exact losses, so that its standard errors count too; formats are spread over the fifths. Of the shapes
    within one standard error of the best (of their paired differences), the one with the fewest parameters is taken. The
    held-out figures are of this whole procedure, choice included, inside of a second cross-validation. Where the link
    foretells held-out cells worse than the cheap losses as they are, the identity is taken.

    Args:
        pairs: cells that both probes measured; 20 to 60 make a link.
        same_unit: both losses are in nats per token, so that the identity is one of the shapes.
        seed: of the folds.

    Raises:
        LinkError: fewer than ``LEAST_PAIRS`` pairs, or cheap losses that foretell nothing of the exact ones.
    """
    if len(pairs) < LEAST_PAIRS:
        msg = (
            f"{len(pairs)} cells have two losses above zero, and a link needs at least {LEAST_PAIRS}: measure more cells exactly"
        )
        raise LinkError(msg)
    families = [family for family in Family if same_unit or family is not Family.IDENTITY]
    foretold = np.empty(len(pairs))
    for test in _folds(pairs, seed):
        foretold[test] = _foretold(_choose(pairs.part(~test), families, seed, divisions=1), pairs.part(test))
    held_out = _held_out(foretold, pairs)
    identity = _held_out(pairs.cheap, pairs) if same_unit else None
    if identity is not None and held_out.r2 <= identity.r2:
        families, held_out = [Family.IDENTITY], identity
    if held_out.r2 <= 0 and identity is None:
        msg = (
            f"the losses foretell nothing of the exact ones: held-out R² is {held_out.r2:.2f} on {len(pairs)} cells. "
            "Measure more cells exactly, or link another probe"
        )
        raise LinkError(msg)
    link = _choose(pairs, families, seed, divisions=_DIVISIONS)
    return LinkFit(link, len(pairs), _r2(link.logarithm(pairs.x, pairs.formats), pairs.y), held_out, identity)


def _choose(pairs: Pairs, families: Sequence[Family], seed: int, *, divisions: int) -> Link:
    """The link of the first shape whose mean log density on held-out pairs is within one standard error of the best one's."""
    densities = {family: _densities(pairs, family, seed, divisions) for family in families}
    known = {family: density for family, density in densities.items() if density is not None}
    best = max(known.values(), key=lambda density: float(density.mean()), default=np.zeros(0))
    links = (fit_family(family, pairs) for family, density in known.items() if _as_good(density, best))
    chosen = next((link for link in links if link is not None), None)
    if chosen is None:
        msg = "the exact losses do not rise with the others in any shape: measure more cells exactly, or link another probe"
        raise LinkError(msg)
    return chosen


def _as_good(density: NDArray[np.float64], best: NDArray[np.float64]) -> bool:
    difference = best - density
    return bool(difference.mean() <= difference.std(ddof=1) / math.sqrt(len(difference)))


def _densities(pairs: Pairs, family: Family, seed: int, divisions: int) -> NDArray[np.float64] | None:
    """Log density of each pair's exact loss by fits without it, the mean of several divisions; ``None`` if one has no fit."""
    found = np.zeros(len(pairs))
    for division in range(divisions):
        for test in _folds(pairs, seed + 1 + division):
            link = fit_family(family, pairs.part(~test))
            if link is None:
                return None
            part = pairs.part(test)
            variance = link.variance(part.x, part.x_variance, part.formats) + part.y_variance
            residual = part.y - link.logarithm(part.x, part.formats)
            found[test] -= 0.5 * (np.square(residual) / variance + np.log(2 * np.pi * variance))
    return found / divisions


def _folds(pairs: Pairs, seed: int) -> list[NDArray[np.bool_]]:
    """Parts of the pairs, about the same number of each format in each."""
    shuffled = np.random.default_rng(seed).permutation(len(pairs))
    ordered = shuffled[np.argsort(pairs.formats[shuffled], kind="stable")]
    place = np.empty(len(pairs), dtype=np.int64)
    place[ordered] = np.arange(len(pairs)) % FOLDS
    return [place == fold for fold in range(FOLDS)]


def _foretold(link: Link, pairs: Pairs) -> NDArray[np.float64]:
    return link.losses(pairs.cheap, pairs.cheap_error, pairs.formats)[0]


def _held_out(foretold: NDArray[np.float64], pairs: Pairs) -> HeldOut:
    errors = np.abs(foretold / pairs.exact - 1)
    return HeldOut(
        r2=_r2(np.log(foretold), pairs.y), median_error=float(np.median(errors)), p90_error=float(np.quantile(errors, 0.9))
    )


def _r2(foretold: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """1 − Σ(y − foretold)²/Σ(y − mean)²; 0 where all y are the same."""
    spread = float(np.square(y - y.mean()).sum())
    return 1.0 - float(np.square(y - foretold).sum()) / spread if spread > 0 else 0.0
