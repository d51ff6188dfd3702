"""Which cells to measure exactly, so that a link can be fitted: spread over the formats and over the range of the losses."""

import numpy as np
from numpy.typing import NDArray


def stratified_sample(wanted: NDArray[np.bool_], loss: NDArray[np.float64], count: int, *, seed: int) -> NDArray[np.bool_]:
    """A sample of cells, drawn without looking at what was measured exactly before.

    Every format gets the same share, one more or less, as far as it has cells. The cells of a format are sorted by their
    loss and cut into as many runs of equal length as the format has places; one cell is drawn from each run.

    Args:
        wanted: bool (layers, formats): cells to draw from.
        loss: float64 (layers, formats): what is known of the losses by a cheap probe. NaN where nothing is: those are
            sorted behind the others, in the order of the layers, so that without any loss the sample is spread over depth.
        count: how many cells, ≥ 0; all of them where fewer are wanted.
        seed: of the draws; the same arguments give the same sample.

    Returns:
        bool (layers, formats), with ``min(count, wanted.sum())`` cells.
    """
    random = np.random.default_rng(seed)
    chosen = np.zeros(wanted.shape, dtype=bool)
    for column, places in enumerate(_shares(wanted.sum(axis=0), count, random)):
        rows = np.flatnonzero(wanted[:, column])
        ordered = rows[np.argsort(loss[rows, column], kind="stable")]
        for run in np.array_split(ordered, places) if places else ():
            chosen[random.choice(run), column] = True
    return chosen


def _shares(available: NDArray[np.int64], count: int, random: np.random.Generator) -> list[int]:
    """Places of each format: one after the other in a random order, until all are given or every format is full."""
    shares = np.zeros(len(available), dtype=np.int64)
    order = random.permutation(len(available))
    left = min(count, int(available.sum()))
    while left:
        open_formats = order[shares[order] < available[order]]
        step = max(1, left // len(open_formats))
        given = np.minimum(step, available[open_formats] - shares[open_formats])[:left]
        shares[open_formats[: len(given)]] += given
        left -= int(given.sum())
    return [int(share) for share in shares]
