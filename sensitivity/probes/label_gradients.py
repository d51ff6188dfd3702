"""Gradients of drawn labels' log-probabilities at the last hidden states of a batch, one sequence after the other."""

import torch
from torch import Tensor

from sensitivity.probes.base import ProbeRun
from sensitivity.probes.label_scores import label_scores
from sensitivity.probes.score_products import ScoreProducts


def label_gradients(run: ProbeRun, hidden: Tensor, uniform: Tensor, scores: ScoreProducts) -> Tensor:
    """Gradients of the labels' log-probabilities, float32 (draws, sequences, length, hidden).

    Args:
        run: whose model.
        hidden: last hidden states (sequences, length, hidden).
        uniform: numbers that labels are drawn with, (draws, sequences, length).
        scores: told which sequence and draw the head is run for.
    """
    gradients = torch.empty((len(uniform), *hidden.shape))

    def starting(draw: int) -> None:
        scores.draw = draw

    for index, states in enumerate(hidden.detach()):
        scores.alone = index
        for part, found in label_scores(run.model.module, states, uniform[:, index], starting=starting):
            gradients[:, index, part] = found
    scores.alone = None
    return gradients
