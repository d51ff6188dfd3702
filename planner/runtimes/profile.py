"""A runtime profile: what the engine that will serve a plan accepts. Data and small functions, no torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from planner.runtimes.kv_rules import UNQUANTIZED_KV, KVRules
from planner.runtimes.rest import RestBytes, as_in_the_checkpoint
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.candidate import CandidateFormat

Packing = Callable[[CandidateFormat, tuple[int, int]], int]
Refusal = Callable[[CandidateFormat, Layer], str | None]
KernelNeeds = Callable[[CandidateFormat], str]
QuantizesActivations = Callable[[CandidateFormat], bool]


def formats_own_size(candidate: CandidateFormat, shape: tuple[int, int]) -> int:
    """Stored bits as the format itself counts them, without any container's overhead."""
    return candidate.size_bits(shape)


def formats_own_refusal(candidate: CandidateFormat, layer: Layer) -> str | None:
    """Only what the format itself cannot store."""
    return candidate.refusal(layer.shape)


def weights_only(candidate: CandidateFormat) -> bool:
    """Activations stay as they are."""
    return False


def no_needs(candidate: CandidateFormat) -> str:
    """Nothing in particular."""
    return ""


@dataclass(frozen=True, slots=True)
class RuntimeProfile:
    """What one engine accepts.

    Attributes:
        name: registry key.
        description: one sentence for people.
        ignore_kinds: layer kinds left unquantized unless the request says otherwise.
        tied_kinds: sets of kinds that share one format within one parent module (fused by the engine).
        tie_experts: all routed experts of a block share one format.
        size_bits: exact stored bits by this engine's packing.
        refusal: why a layer cannot take a format here, or ``None``.
        exports: export targets that this engine loads; the first is the default.
        tie_expert_kinds: the routed experts of a block share one format for each projection (stacked tensors).
        quantizes_activations: whether the engine's kernel for a format quantizes the activations too, so that it computes in the
            format's own arithmetic; else weights are dequantized to the arithmetic of the activations.
        kernel_needs: what the engine's kernels for a format ask of the machine, in words; empty for nothing in particular.
        kv: what its KV cache may be stored in.
        rest_bytes: bytes of everything that is no layer, as this engine's files keep it.
    """

    name: str
    description: str
    ignore_kinds: frozenset[str]
    tied_kinds: tuple[frozenset[str], ...]
    tie_experts: bool
    size_bits: Packing
    refusal: Refusal
    exports: tuple[str, ...]
    tie_expert_kinds: bool = False
    kernel_needs: KernelNeeds = no_needs
    quantizes_activations: QuantizesActivations = weights_only
    kv: KVRules = UNQUANTIZED_KV
    rest_bytes: RestBytes = as_in_the_checkpoint

    def groups(self, layers: Sequence[Layer]) -> list[tuple[int, ...]]:
        """Layer groups as indices into ``layers``, in order of their first member. Missing members are allowed."""
        members: dict[tuple[object, ...], list[int]] = {}
        tied = {kind: number for number, kinds in reversed(list(enumerate(self.tied_kinds))) for kind in kinds}
        for index, layer in enumerate(layers):
            members.setdefault(self._group_key(layer, tied) or (index,), []).append(index)
        return [tuple(indices) for indices in members.values()]

    def _group_key(self, layer: Layer, tied: Mapping[str, int]) -> tuple[object, ...] | None:
        """What the layers have in common that share a format with this one; ``None``: it stands alone."""
        if layer.expert is not None and self.tie_experts:
            return ("experts", layer.block)
        if layer.expert is not None and self.tie_expert_kinds:
            return ("experts", layer.block, layer.kind)
        if (number := tied.get(layer.kind)) is not None:
            return ("tied", layer.name.rpartition(".")[0], number)
        return None
