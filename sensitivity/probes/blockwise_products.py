"""Score products of labels drawn from a model whose blocks are in memory one at a time."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from sensitivity.probes.base import ProbeRun
from sensitivity.probes.blockwise_backward import backward_by_blocks
from sensitivity.probes.label_gradients import label_gradients
from sensitivity.probes.label_scores import uniforms
from sensitivity.probes.rounding_errors import RoundingErrors
from sensitivity.probes.score_products import ScoreProducts


def blockwise_label_products(run: ProbeRun, sequences: tuple[int, ...], *, draws: int, arithmetic: str) -> ScoreProducts:
    """What ``label_products`` finds, of any number of sequences at once: the weights of each block are read twice for all.

    Arguments and errors are those of ``label_products``.

    Raises:
        ScratchSpaceError: the temporary file of hidden states cannot be written.
    """
    tokens = run.calibration_tokens[list(sequences)]
    uniform = uniforms(seed=run.seed, sequences=sequences, draws=draws, length=tokens.shape[1])
    errors = RoundingErrors.of(run, arithmetic)
    total = ScoreProducts(run, errors, sequences=len(tokens), draws=draws)
    blocks = len(run.model.blocks)

    @contextlib.contextmanager
    def adding(layers: Sequence[tuple[int, str]], part: slice) -> Iterator[ScoreProducts]:
        own = replace(run, layers=[name for _, name in layers])
        with ScoreProducts(own, errors, sequences=part.stop - part.start, draws=draws) as scores:
            yield scores
        columns = [index for index, _ in layers]
        total.products[:, part, columns] = scores.products
        total.reached[part, columns] = scores.reached

    @contextlib.contextmanager
    def watching(block: int, part: slice) -> Iterator[Callable[[int], None]]:
        with adding(run.layers_of_block(block), part) as scores:

            def starting(draw: int) -> None:
                scores.draw = draw

            yield starting

    def at_end(hidden: Tensor, part: slice) -> Tensor:
        with adding(run.layers_of_block(blocks), part) as scores:
            return label_gradients(run, hidden, uniform[:, part], scores)

    wanted = [block for block in range(blocks) if run.layers_of_block(block)]
    backward_by_blocks(run.model, tokens, down_to=min(wanted, default=blocks), at_end=at_end, watching=watching)
    return total
