"""Weighted squares of sums over all classes: the interaction that gradients of a loss give."""

from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats, Integers
from solvers.errors import ProblemError
from solvers.interaction.diagonal_share import tangent_with_share
from solvers.interaction.pairs import PairTables
from solvers.interaction.quadratic import AbstractQuadratic
from solvers.interactions import Minorant

CELLS = 1 << 22  # numbers gathered at a time


@dataclass(frozen=True, slots=True, eq=False)
class Gram(AbstractQuadratic):
    """``Σ_s weights[s]·(Σ_i factors[s, i, x_i])²``: the empirical Fisher of a perturbation, with its cross terms.

    ``factors[s, i, k]`` is the inner product of sample s's gradient with what item k does to class i. Whether the squares of
    single classes, ``Σ_s w_s·factors[s, i, x_i]²``, belong to the interaction or are already in ``Problem.loss`` is said by
    ``diagonal``. Both ways it is convex where choices may be mixed: the squares of single classes are linear in a one-hot
    choice, and taking a linear term away leaves convex what was convex. A loss of which more than these squares is known
    (a noise term of every class alone) goes to ``Problem.loss`` and makes the bound tighter than as further factors.

    Attributes:
        factors: float64 ``[S, N, K]``.
        weights: float64 ``[S]``, ≥ 0; ``1/S`` for a mean over samples.
        diagonal: the squares of single classes count here; False when ``Problem.loss`` has them.
    """

    factors: Floats
    weights: Floats
    diagonal: bool = True

    def __post_init__(self) -> None:
        for name in ("factors", "weights"):
            numbers = np.array(getattr(self, name), dtype=np.float64)
            numbers.setflags(write=False)
            object.__setattr__(self, name, numbers)

    @property
    def is_zero(self) -> bool:
        """No sample with a weight has a factor."""
        return not bool(self.factors[self.weights > 0].any())

    def check(self, classes: int, items: int) -> None:
        """Shapes, finite numbers, weights that are not negative, a largest value within float64.

        Raises:
            ProblemError: with what is wrong.
        """
        if self.weights.ndim != 1 or self.factors.shape != (self.weights.shape[0], classes, items):
            msg = (
                f"the interaction has factors of shape {self.factors.shape} and weights of shape {self.weights.shape}; "
                f"(samples, {classes}, {items}) and (samples,) are needed"
            )
            raise ProblemError(msg)
        if not (np.isfinite(self.factors).all() and np.isfinite(self.weights).all() and (self.weights >= 0).all()):
            msg = "factors must be finite, and weights finite and not negative; measure the cells again or leave the sample out"
            raise ProblemError(msg)
        with np.errstate(over="ignore"):
            largest = np.abs(self.factors).max(axis=2, initial=0.0).sum(axis=1)
            total = float(self.weights @ (largest * largest))
        if not total < np.finfo(np.float64).max / 16:
            msg = "the interaction passes float64; scale the factors or the weights down"
            raise ProblemError(msg)

    def totals(self, choice: Integers) -> Floats:
        """``Σ_i factors[s, i, x_i]`` of one choice, float64 ``[S]``."""
        summed: Floats = self._chosen(choice).sum(axis=1)
        return summed

    def squares(self) -> Floats:
        """``Σ_s w_s·factors[s, i, k]²``, float64 ``[N, K]``: what each class has alone."""
        alone: Floats = np.einsum("s,sik,sik->ik", self.weights, self.factors, self.factors)
        return alone

    def rooted(self) -> Floats:
        """Factors times the roots of their weights, float64 ``[S, N, K]``."""
        return np.sqrt(self.weights)[:, None, None] * self.factors

    def values(self, choices: Integers) -> Floats:
        """The interaction of each of M choices, int64 ``[M, N]`` to float64 ``[M]``."""
        samples, classes = self.factors.shape[:2]
        rows, values = np.arange(classes), np.empty(choices.shape[0])
        step = max(CELLS // max(samples * classes, 1), 1)
        for start in range(0, choices.shape[0], step):
            block = slice(start, start + step)
            chosen = self.factors[:, rows, choices[block]]  # [S, M, N]
            squares = chosen.sum(axis=2) ** 2
            if not self.diagonal:
                squares -= (chosen * chosen).sum(axis=2)
            values[block] = self.weights @ squares
        return values

    def minorant(self, certificate: Floats | None) -> Minorant:
        """The tangent at given totals: ``r² ≥ 2·r0·r − r0²`` for every sample, whatever ``r0`` is.

        Args:
            certificate: float64 ``[S]``, the totals r0; ``None`` stands for zeros. Or float64 ``[N + 1, K]``: a mixed choice, and
                in the last row, K times, the share of the squares of single classes that counts as linear
                (``diagonal_share``), which is tested anew.

        Raises:
            ValueError: another shape, numbers that are not finite, or a share with which the interaction is not convex.
        """
        samples, classes, items = self.factors.shape
        at = np.zeros(samples) if certificate is None else certificate
        if at.shape not in ((samples,), (classes + 1, items)) or not np.isfinite(at).all():
            msg = f"totals of shape {at.shape} are no {samples} finite numbers, one for each sample"
            raise ValueError(msg)
        with np.errstate(over="ignore", invalid="ignore"):
            if at.ndim == 1:
                pull = self.weights * at
                loss, constant = np.tensordot(2.0 * pull, self.factors, axes=1), -float(pull @ at)
            else:
                loss, constant = tangent_with_share(self.rooted(), at[:-1], float(at[-1].max()))
            if not self.diagonal:
                loss = loss - self.squares()
        if not (np.isfinite(constant) and np.isfinite(loss).all()):
            msg = "the totals are so large that their tangent passes float64"
            raise ValueError(msg)
        return Minorant(loss, constant)

    def flips(self, choice: Integers) -> Floats:
        """Change of the interaction when class i alone takes item k instead, float64 ``[N, K]``."""
        own = self._chosen(choice)
        change = self.factors - own[:, :, None]
        pull = own.sum(axis=1)[:, None] - (0.0 if self.diagonal else own)
        flips: Floats = np.einsum("si,sik->ik", 2.0 * self.weights[:, None] * pull, change)
        if self.diagonal:
            flips += np.einsum("s,sik,sik->ik", self.weights, change, change)
        return flips

    def heights(self, certificate: Floats | None) -> Floats:
        """Zeros: other classes can always bring the totals back to where the tangent touches."""
        return np.zeros(self.factors.shape[1:])

    def crossings(self, choice: Integers, klass: Integers, item: Integers) -> Floats:
        """``2·Σ_s w_s·Δ_s[m]·Δ_s[n]`` with Δ the change of a total by a move, float64 ``[M, M]``."""
        change = self.factors[:, klass, item] - self.factors[:, klass, choice[klass]]
        rooted = np.sqrt(2.0 * self.weights)[:, None] * change
        crossings: Floats = rooted.T @ rooted
        return crossings

    def to_pairs(self) -> PairTables:
        """The same between different classes, as tables of every pair; ``squares()`` is what they leave out.

        For few classes: N·(N−1)/2 tables.
        """
        classes = self.factors.shape[1]
        first, second = np.triu_indices(classes, 1)
        weighted = 2.0 * self.weights[:, None, None] * self.factors
        tables = np.einsum("spk,spl->pkl", weighted[:, first], self.factors[:, second], optimize=True)
        return PairTables(np.stack((first, second), axis=1), tables, classes)

    def _chosen(self, choice: Integers) -> Floats:
        chosen: Floats = self.factors[:, np.arange(choice.shape[0]), choice]
        return chosen
