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

    def split(self, rows: Tensor) -> list[Tensor]:
        """Rows of shape (…, features) of each sequence apart: (its rows, features)."""
        flat = rows.reshape(-1, rows.shape[-1])
        if self.owner is None:
            return list(flat.chunk(self.sequences))
        return [flat[self.owner == sequence] for sequence in range(self.sequences)]


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
        token = self.tokens(linear)
        if token is None:
            return SequenceRows(self.sequences)
        routed, _ = self._expert[linear]
        return SequenceRows(self.sequences, token // self._chosen[routed][1])

    def tokens(self, linear: nn.Linear) -> Tensor | None:
        """The token of each row, int64 ``sequence × length + position``, ascending; ``None`` where every token is a row."""
        if linear not in self._expert:
            return None
        routed, index = self._expert[linear]
        return torch.where(self._chosen[routed][0] == index)[0]

    def _record(self, module: nn.Module, arguments: tuple[Tensor, Tensor, Tensor]) -> None:
        assert isinstance(module, RoutedExperts)  # noqa: S101  (only these are hooked)
        hidden, chosen, _ = arguments
        self._chosen[module] = chosen, len(hidden) // self.sequences


def on_input(linear: nn.Linear, receive: Callable[[Tensor, Tensor], None]) -> RemovableHandle:
    """Call ``receive(input, output)`` after each forward call of the linear."""

    def hook(_module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        receive(arguments[0], output)

    return linear.register_forward_hook(hook)
