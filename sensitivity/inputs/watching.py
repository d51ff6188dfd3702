"""Input moments of the layers of a loaded model, block after block."""

import contextlib
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from sensitivity.inputs.moments import InputMoments, MomentSums
from sensitivity.loading import LoadedModel
from sensitivity.next_token import output_head
from sensitivity.probes.block_walk import BlockWalk
from sensitivity.probes.sequence_rows import on_input


class InputWatcher:
    """Runs the unquantized model over the calibration tokens and keeps the second moments of layers' inputs.

    Blocks that are asked for in order, and then the layers outside the blocks, cost one forward pass together.
    The walk has hidden states of its own, so that a probe's walk is not disturbed.
    """

    def __init__(self, model: LoadedModel, tokens: Tensor) -> None:
        self._model = model
        self._tokens = tokens
        self._walk: BlockWalk | None = None

    def of_block(self, block: int, layers: Sequence[str]) -> dict[str, InputMoments]:
        """Moments of these layers of one block. An expert that no token was sent to is left out."""
        sums = MomentSums()
        self._own_walk().cross(block, lambda *_: self._watching(layers, sums))
        return sums.moments()

    def outside(self, layers: Sequence[str]) -> dict[str, InputMoments]:
        """Moments of layers outside the blocks; the head sees the last hidden states without being run."""
        sums = MomentSums()
        head = output_head(self._model.module)

        def receive(hidden: Tensor, _: slice) -> None:
            for name in layers:
                if self._model.linears[name] is head:
                    sums.add(name, hidden)

        self._own_walk().leave(lambda *_: self._watching(layers, sums), receive)
        return sums.moments()

    def _own_walk(self) -> BlockWalk:
        self._walk = self._walk or BlockWalk(self._model, self._tokens)
        return self._walk

    @contextlib.contextmanager
    def _watching(self, layers: Sequence[str], sums: MomentSums) -> Iterator[None]:
        handles = [on_input(self._model.linears[name], _adder(name, sums)) for name in layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _adder(name: str, sums: MomentSums) -> Callable[[Tensor, Tensor], None]:
    return lambda inputs, _: sums.add(name, inputs)
