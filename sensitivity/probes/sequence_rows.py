"""Which sequence each row of a layer's input belongs to: all tokens for dense layers, the routed ones for an expert."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from sensitivity.loading.experts import RoutedExperts


@dataclass(frozen=True, slots=True)
class SequenceRows:
    """Rows of a layer's input, sequence by sequence.

    Attributes:
        sequences: sequences of the batch.
        owner: int64 sequence of each row in ascending order, or ``None`` when every token is a row.
    """

    sequences: int
    owner: Tensor | None = None

    @property
    def counts(self) -> Tensor | None:
        """Rows of each sequence, int64 (sequences,); ``None`` when every token is a row."""
        return None if self.owner is None else torch.bincount(self.owner, minlength=self.sequences)

    def arrange(self, rows: Tensor) -> Tensor:
        """Rows of shape (…, features) as (sequences, rows of the longest sequence, features), padded with zeros."""
        features = rows.shape[-1]
        if self.owner is None:
            return rows.reshape(self.sequences, -1, features)
        counts = torch.bincount(self.owner, minlength=self.sequences)
        first = counts.cumsum(0) - counts
        place = torch.arange(len(self.owner)) - first[self.owner]
        arranged = rows.new_zeros((self.sequences, int(counts.max()), features))
        arranged[self.owner, place] = rows
        return arranged


class Routing:
    """Records where routers send tokens during a forward pass, and answers with the rows of any linear.

    ``RoutedExperts`` gives an expert the tokens that chose it in ascending order; a token chooses an expert once at most.
    """

    def __init__(self, module: nn.Module, sequences: int) -> None:
        self.sequences = sequences
        self._expert: dict[nn.Module, tuple[RoutedExperts, int]] = {}
        self._chosen: dict[RoutedExperts, tuple[Tensor, int]] = {}
        self.handles: list[RemovableHandle] = []
        for routed in (child for child in module.modules() if isinstance(child, RoutedExperts)):
            self.handles.append(routed.register_forward_pre_hook(self._record))
            for index, expert in enumerate(routed):
                self._expert.update(dict.fromkeys(expert.modules(), (routed, index)))

    def rows(self, linear: nn.Linear) -> SequenceRows:
        """Rows of the input that the linear saw last."""
        if linear not in self._expert:
            return SequenceRows(self.sequences)
        routed, index = self._expert[linear]
        chosen, length = self._chosen[routed]
        token = torch.where(chosen == index)[0]
        return SequenceRows(self.sequences, token // length)

    def _record(self, module: nn.Module, arguments: tuple[Tensor, Tensor, Tensor]) -> None:
        assert isinstance(module, RoutedExperts)  # noqa: S101  (only these are hooked)
        hidden, chosen, _ = arguments
        self._chosen[module] = chosen, len(hidden) // self.sequences


def on_input(linear: nn.Linear, receive: Callable[[Tensor, Tensor], None]) -> RemovableHandle:
    """Call ``receive(input, output)`` after each forward call of the linear."""

    def hook(_module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        receive(arguments[0], output)

    return linear.register_forward_hook(hook)
