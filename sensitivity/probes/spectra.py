"""Spectra of layers' outputs beside those of random weights on the same inputs: what LieQ's geometric diagnostics compare."""

import contextlib
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from sensitivity.formats.any_format import AnyFormat
from sensitivity.probes.base import ProbeRun
from sensitivity.probes.block_walk import BlockWalk
from sensitivity.probes.sequence_rows import Routing, SequenceRows, on_input
from sensitivity.statistics import Statistics, observe

Measure = Callable[[Tensor], float]
"""A number of a spectrum: shares of the eigenvalues, descending, float64, of sum 1."""


def spectrum(outputs: Tensor) -> Tensor | None:
    """Shares of the eigenvalues of ``ZᵀZ``, Z the outputs less their mean, each row scaled to length 1.

    This is the normalisation of the effective rank in Wei et al. (arXiv 2401.17139).

    Args:
        outputs: of one sequence, (rows, features).

    Returns:
        Float64 in descending order, as many as the smaller side; NaN where an output is NaN or infinite; ``None`` where all
        rows are the same.
    """
    if not bool(outputs.isfinite().all()):
        return torch.full((1,), torch.nan, dtype=torch.float64)
    centred = outputs.double() - outputs.double().mean(dim=0)
    lengths = centred.norm(dim=1, keepdim=True)
    unit = centred / torch.where(lengths > 0, lengths, 1.0)
    gram = unit @ unit.T if len(unit) < unit.shape[1] else unit.T @ unit
    values = torch.linalg.eigvalsh(gram).clamp_(min=0).flip(0)
    total = values.sum()
    return values / total if float(total) > 0 else None


def spectrum_gains(run: ProbeRun[AnyFormat], block: int, measure: Measure) -> Statistics:
    """Statistics of ``measure(trained) − measure(random)`` of the layers of one block, a sample a sequence.

    Random weights are independent and normal; their size does not matter. They are seeded by the run's seed and the layer's
    name. A sequence that sends a layer fewer than two tokens, or tokens that are all the same, is no sample.

    Raises:
        CalibrationError: the run has no tokens.
    """
    result = run.no_statistics()
    layers = run.layers_of_block(block)
    if layers:
        gains = _Gains(run, [name for _, name in layers], measure)
        BlockWalk.of(run).cross(block, gains.watching)
        for index, name in layers:
            if gains.samples[name]:
                result[index, run.storable(name)] = observe(np.array(gains.samples[name]))
    return result


@dataclass(slots=True)
class _Gains:
    """Gains of the layers of a block, sequence by sequence."""

    run: ProbeRun[AnyFormat]
    layers: Sequence[str]
    measure: Measure
    samples: Mapping[str, list[float]] = field(init=False)
    _noise: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.samples = {name: [] for name in self.layers}

    @contextlib.contextmanager
    def watching(self, scope: nn.Module, sequences: slice) -> Iterator[None]:
        routing = Routing(scope, sequences.stop - sequences.start)
        handles = [*routing.handles, *(self._watch(name, routing) for name in self.layers)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _watch(self, name: str, routing: Routing) -> torch.utils.hooks.RemovableHandle:
        linear = self.run.model.linears[name]
        return on_input(linear, lambda rows, output: self._add(name, routing.rows(linear), rows, output))

    def _add(self, name: str, places: SequenceRows, inputs: Tensor, outputs: Tensor) -> None:
        if name not in self._noise:
            self._noise[name] = self._random_weight(name, outputs.shape[-1], inputs.shape[-1])
        random = inputs @ self._noise[name].T
        for trained, untrained in zip(places.split(outputs), places.split(random), strict=True):
            pair = (spectrum(trained), spectrum(untrained)) if len(trained) > 1 else (None, None)
            if pair[0] is not None and pair[1] is not None:
                self.samples[name].append(self.measure(pair[0]) - self.measure(pair[1]))

    def _random_weight(self, name: str, out_features: int, in_features: int) -> Tensor:
        generator = np.random.default_rng((self.run.seed % (1 << 64), zlib.crc32(name.encode())))
        return torch.from_numpy(generator.standard_normal((out_features, in_features), dtype=np.float32))
