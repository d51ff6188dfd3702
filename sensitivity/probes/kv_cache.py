"""KL of the next token with the keys, or the values, of one attention layer in a quantized cache."""

from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np
import torch

from sensitivity.formats.kv_cache import KVCacheFormat
from sensitivity.probe_facts import KV_CACHE, ProbeFacts
from sensitivity.probes.base import AbstractProbe, ProbeRun, Unit, block_and_sequence_units
from sensitivity.probes.cache_changes import CacheChange
from sensitivity.probes.single_changes import SingleChanges, walks
from sensitivity.statistics import Statistics, observe

UNIT_SEQUENCES: Final = 4
"""Sequences of a unit."""


@final
@dataclass(frozen=True, slots=True)
class KVCache(AbstractProbe[KVCacheFormat]):
    """KL(reference ‖ model whose only layer l keeps K, or V, in format k) of the next token: nats per token, full vocabulary.

    A cell's layer is the projection whose output is cached, and its format says which cache: ``k_proj`` in ``K_…``, ``v_proj`` in
    ``V_…``, a fused projection in both. Weights are those of the reference. Losses of different layers, and of the keys and
    the values of one layer, are added as those of ``kl`` are: as far as cross terms and higher orders are small.

    **Which semantics.** A whole sequence is stored before it is read: every position attends to quantized keys and values of
    itself and of all before it, as decoding from a quantized prompt does. Engines that run attention over the prompt on the
    unquantized tensors lose less at the prompt's own positions. Keys are quantized as the cache has them, after rotary
    embedding and norms. What each format stores is in ``sensitivity.formats.kv_cache``.

    Units and memory are those of ``kl``. Cost: for each cell and sequence, attention and what is behind it.

    Attributes:
        arithmetic: of the products of changes, as for ``kl``.
    """

    facts: ClassVar[ProbeFacts] = KV_CACHE

    arithmetic: str = "bfloat16"

    def units(self, *, blocks: int, sequences: int) -> list[Unit]:
        """Block and sequences of each unit: all blocks of the first sequences, then those of the next."""
        return block_and_sequence_units(blocks, sequences, UNIT_SEQUENCES)

    @torch.no_grad()
    def run(self, run: ProbeRun[KVCacheFormat], unit: Unit) -> Statistics:
        """Measure the caches of one block on some sequences; the indices are the block's, then the sequences'.

        Raises:
            CalibrationError: the run has no tokens.
            UnknownArchitectureError: the block does not use a cache of transformers.
        """
        block, *sequences = unit.indices
        result = run.no_statistics()
        changes = {
            (index, k): CacheChange(run.model.linears[name], run.formats[k])
            for index, name in run.layers_of_block(block)
            for k in run.storable(name)
        }
        if not changes:
            return result
        standing = walks(run, sequences)
        for walk in standing:
            walk.to(block)
        measured = SingleChanges(run, self.arithmetic).measure_each(standing, list(changes.values()))
        samples = observe(np.stack([found.numpy() for _, found in measured]))
        for cell, statistics in zip(changes, samples, strict=True):
            result[cell] = statistics
        return result
