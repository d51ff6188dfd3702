"""A tighter convex form of squares of sums: part of what every class has alone counts as linear.

For one-hot choices ``xᵀQx = xᵀ(Q − t·B)x + t·diag(B)ᵀx``, with B the blocks of Q between the items of one class. The form is
convex while ``Q − t·B`` is positive semidefinite, and for mixed choices it is larger than ``xᵀQx``, so that its bound is no
weaker (quadratic convex reformulation; Billionnet and Elloumi 2007, here with one number t). It needs more samples than the
classes have independent items; fewer can be cancelled by mixing, and t is 0.
"""

from dataclasses import dataclass

import numpy as np

from solvers.arrays import Floats

NEGLIGIBLE = 1e-14  # of the largest eigenvalue of a block
MARGIN = 1e-10  # that t stays below the least eigenvalue
ALLOWANCE = 1e-12  # of the trace: what the test for positive semidefinite lets pass, and the bound gives up


@dataclass(frozen=True, slots=True, eq=False)
class DiagonalShare:
    """The form with the share taken out.

    Attributes:
        share: t, between 0 and 1.
        factors: float64 ``[D, N, K]``, of ``Q − t·B`` as a sum of D squares of weight 1.
    """

    share: float
    factors: Floats


def find_share(rooted: Floats, *, largest: int) -> DiagonalShare | None:
    """The greatest share t; ``None`` where it is 0 or fails the test of its tangents, and above ``largest`` dimensions.

    Args:
        rooted: float64 ``[S, N, K]``, factors times the roots of their weights.
        largest: most dimensions of the eigenvalue problem, whose time grows with the cube.
    """
    values, vectors = np.linalg.eigh(np.einsum("sik,sil->ikl", rooted, rooted, optimize=True))
    klass, place = np.nonzero(values > NEGLIGIBLE * values[:, -1:])
    count = klass.shape[0]
    if not 0 < count <= min(rooted.shape[0], largest):
        return None
    lengths, axes = np.sqrt(values[klass, place]), vectors[klass, :, place]  # [D], [D, K]
    whitened = np.einsum("sdk,dk->sd", rooted[:, klass], axes) / lengths
    squares, directions = np.linalg.eigh(whitened.T @ whitened)
    share = float(squares[0]) - MARGIN
    if share < MARGIN:
        return None
    spread = np.sqrt(np.maximum(squares - share, 0.0))[:, None] * directions.T * lengths
    try:
        tangent_with_share(rooted, np.zeros(rooted.shape[1:]), share)
    except ValueError:  # convex but for rounding
        return None
    factors = np.zeros((rooted.shape[1], count, rooted.shape[2]))
    np.add.at(factors, klass, spread.T[:, :, None] * axes[:, None, :])
    return DiagonalShare(share, factors.transpose(1, 0, 2))


def tangent_with_share(rooted: Floats, point: Floats, share: float) -> tuple[Floats, float]:
    """The tangent of ``xᵀ(Q − t·B)x + t·diag(B)ᵀx`` at a mixed choice: losses ``[N, K]`` and a constant.

    The form is tested to be convex, by a Cholesky factor, up to an allowance that the constant gives up.

    Args:
        rooted: float64 ``[S, N, K]``.
        point: float64 ``[N, K]``, any numbers.
        share: t.

    Raises:
        ValueError: the form is not convex with this share.
    """
    classes, items = point.shape
    columns = rooted.reshape(rooted.shape[0], -1)
    form = columns.T @ columns
    allowance = ALLOWANCE * float(np.trace(form)) + np.finfo(np.float64).tiny
    blocks = form.reshape(classes, items, classes, items)
    every = np.arange(classes)
    own = blocks[every, :, every].copy()
    blocks[every, :, every] -= share * own
    slope = 2.0 * (form @ point.reshape(-1)).reshape(point.shape)
    try:
        np.linalg.cholesky(form + allowance * np.eye(form.shape[0]))
    except np.linalg.LinAlgError as error:
        msg = f"with the share {share} of the squares of single classes the interaction is not convex; give a smaller one"
        raise ValueError(msg) from error
    reach = float(np.sqrt(classes) + np.linalg.norm(point))
    constant = -0.5 * float((slope * point).sum()) - allowance * reach * reach
    return slope + share * np.einsum("ikk->ik", own), constant


def share_certificate(found: DiagonalShare, totals: Floats) -> Floats:
    """As ``Gram.minorant`` reads it: a mixed choice with these totals, and the share in the last row, float64 ``[N + 1, K]``."""
    shape = found.factors.shape[1:]
    point = np.linalg.lstsq(found.factors.reshape(totals.shape[0], -1), totals, rcond=None)[0]
    certificate: Floats = np.vstack((point.reshape(shape), np.full(shape[1], found.share)))
    return certificate
