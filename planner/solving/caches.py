"""K and V caches as layers of their own: their exact sizes, their groups, and the problem of weights and caches together.

A cache's column is a format without the tensor (``INT8`` stands for ``K_INT8`` of keys and ``V_INT8`` of values), so that keys
and values can be tied as an engine ties them. Losses are those of the probe ``kv_cache``: nats per token with one cache in
the format and everything else as it is, added to those of the weights as far as cross terms are small.
"""

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from planner.build import Classes, GroupCurves
from planner.errors import InvalidRequestError, PinConflictError
from planner.rules import Rules, allowed
from planner.runtimes.kv_rules import KVRules
from planner.solving.rows import MOST_UNITS, refuse_beyond
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.abstract import AbstractFormat
from sensitivity.formats.kv_cache import KV_CACHE_FORMATS, CachedTensor, KVCacheFormat, without_tensor

Entry = TypeVar("Entry", np.int64, np.float64, np.bool_)
KINDS: Final[Mapping[CachedTensor, str]] = {CachedTensor.KEYS: "k_cache", CachedTensor.VALUES: "v_cache"}
TENSORS: Final[Mapping[str, CachedTensor]] = {kind: tensor for tensor, kind in KINDS.items()}

_BY_TENSOR: Final[Mapping[CachedTensor, Mapping[str, KVCacheFormat]]] = {
    tensor: {without_tensor(fmt.name): fmt for fmt in KV_CACHE_FORMATS if fmt.tensor is tensor} for tensor in CachedTensor
}


@final
@dataclass(frozen=True, slots=True)
class CacheColumn(AbstractFormat):
    """A format of keys and of values by one name.

    Attributes:
        name: without the tensor (``INT4_CHANNEL``).
        num_bits: bits of one stored element.
        of_tensor: the formats that it stands for; a format of keys alone has none of values.
    """

    name: str
    num_bits: int
    of_tensor: Mapping[CachedTensor, KVCacheFormat]

    @property
    def identity(self) -> str:
        """SHA-256 of what it stands for."""
        return hashlib.sha256("".join(fmt.identity for fmt in self.of_tensor.values()).encode()).hexdigest()

    def refusal(self, shape: tuple[int, int]) -> str | None:
        """Every cache can be kept in every format."""
        return None


def cache_column(name: str) -> CacheColumn:
    """The column of a name without the tensor, in any case.

    Raises:
        InvalidRequestError: neither keys nor values have such a format; the message lists those that exist.
    """
    upper = name.upper()
    found = {tensor: formats[upper] for tensor, formats in _BY_TENSOR.items() if upper in formats}
    if not found:
        known = dict.fromkeys(name for formats in _BY_TENSOR.values() for name in formats)
        msg = f"unknown format {name!r} of caches: use {', '.join(known)}, with K_ or V_ before it for keys or values alone"
        raise InvalidRequestError(msg, formats=list(known))
    return CacheColumn(upper, next(iter(found.values())).num_bits, found)


@dataclass(frozen=True, slots=True)
class CacheLayer:
    """The keys, or the values, of one attention layer.

    Attributes:
        layer: as planning sees it: ``model.layers.0.self_attn.k_cache``, of kind ``k_cache``.
        projection: name of the layer whose output is cached; its cells are under this name.
        tensor: keys or values.
        heads: key-value heads.
        head_dim: elements of a token and head.
    """

    layer: Layer
    projection: str
    tensor: CachedTensor
    heads: int
    head_dim: int

    def size_bits(self, column: CacheColumn, *, context: int, batch: int) -> int:
        """Exact stored bits of ``batch`` sequences of ``context`` tokens; what is stored once a layer counts once."""
        fmt = column.of_tensor[self.tensor]
        one = fmt.size_bits(tokens=context, heads=self.heads, head_dim=self.head_dim)
        return batch * (one - fmt.tensor_bits) + fmt.tensor_bits


def cache_layers(layers: Sequence[Layer], *, heads: int, kv_heads: int) -> list[CacheLayer]:
    """The caches of a model, in model order, keys before values.

    Args:
        layers: all layers of the model, planned or not.
        heads: query heads of a block.
        kv_heads: key-value heads of a block; of a fused projection's rows the keys have ``kv_heads / (heads + 2·kv_heads)``.
    """
    found = []
    for layer in layers:
        tensors = [tensor for tensor, formats in _BY_TENSOR.items() if formats["BF16"].concerns(layer.kind)]
        if layer.block is None or layer.expert is not None:
            continue
        rows = layer.out_features if len(tensors) == 1 else layer.out_features * kv_heads // (heads + 2 * kv_heads)
        for tensor in tensors:
            name = f"{layer.name.rpartition('.')[0]}.{KINDS[tensor]}"
            own = replace(layer, name=name, kind=KINDS[tensor], out_features=rows)
            found.append(CacheLayer(own, layer.name, tensor, kv_heads, rows // kv_heads))
    return found


@dataclass(frozen=True, slots=True)
class CacheMenu:
    """What a request lets the caches be kept in.

    Attributes:
        columns: formats to choose from.
        legal: bool (caches, columns).
    """

    columns: tuple[CacheColumn, ...]
    legal: NDArray[np.bool_]


def cache_menu(
    caches: Sequence[CacheLayer], names: Sequence[str], rules: Rules, kv_rules: KVRules, *, runtime: str, unquantized: str
) -> CacheMenu:
    """Which formats each cache may take by the request, the rules and the engine.

    Args:
        caches: the model's.
        names: formats asked for: ``INT8`` for both tensors, ``K_INT8`` for keys alone. A tensor without any keeps its 16 bits.
        rules: pins, floors, ceilings and menus in these names, without the tensor.
        kv_rules: what the engine accepts.
        runtime: its name.
        unquantized: name of the format that keeps the elements as they are (``BF16``).

    Raises:
        InvalidRequestError: an unknown name, or a rule that names no format of the menu.
        PinConflictError: a cache that is left without a format.
    """
    asked: dict[CachedTensor, list[str]] = {tensor: [] for tensor in CachedTensor}
    for name in names:
        prefix, _, rest = name.upper().partition("_")
        alone = [CachedTensor(prefix)] if rest and prefix in tuple(CachedTensor) else list(CachedTensor)
        for tensor in alone:
            column = cache_column(rest if len(alone) == 1 else name)
            if tensor in column.of_tensor:
                asked[tensor].append(column.name)
    wanted = {tensor: found or [unquantized] for tensor, found in asked.items()}
    columns = tuple(cache_column(name) for name in dict.fromkeys(name for found in wanted.values() for name in found))
    of_tensor = {tensor: np.array([column.name in wanted[tensor] for column in columns]) for tensor in CachedTensor}
    served = np.array([kv_rules.refusal(column.name, runtime) is None for column in columns])
    table = np.array([of_tensor[cache.tensor] for cache in caches]).reshape(len(caches), len(columns))
    for tensor, marked in of_tensor.items():
        stuck = [cache.layer.name for cache in caches if cache.tensor is tensor]
        if stuck and not (marked & served).any():
            why = kv_rules.refusal(wanted[tensor][0], runtime)
            msg = f"no format that kv_formats has for {tensor.name.lower()} can be served: {why}. Ask for one of those"
            raise PinConflictError(msg, layers=stuck[:20])
    return CacheMenu(columns, table & served & allowed(rules, [cache.layer for cache in caches], columns))


def cache_classes(
    caches: Sequence[CacheLayer], menu: CacheMenu, kv_rules: KVRules, *, context: int, batch: int
) -> Classes[CacheColumn]:
    """The caches in groups as the engine ties them, with their exact bits at a context and a batch.

    Raises:
        InvalidRequestError: caches of more bits than plans can count.
        PinConflictError: tied caches without a common format.
    """
    members: dict[Hashable, list[int]] = {}
    for index, cache in enumerate(caches):
        members.setdefault(kv_rules.group_key(cache.layer.block, cache.tensor), []).append(index)
    groups = tuple(tuple(indices) for indices in members.values())
    legal = np.array([menu.legal[list(group)].all(axis=0) for group in groups]).reshape(len(groups), len(menu.columns))
    stuck = np.flatnonzero(~legal.any(axis=1))
    if stuck.size:
        names = [caches[i].layer.name for i in groups[int(stuck[0])]]
        msg = f"the caches {', '.join(names[:4])} have no format in common: change kv_formats or the rules of these layers"
        raise PinConflictError(msg, layers=names)
    sizes = _group_sizes([[caches[i] for i in group] for group in groups], menu.columns, context=context, batch=batch)
    return Classes(tuple(cache.layer for cache in caches), menu.columns, groups, np.where(legal, sizes, 0), legal)


def _group_sizes(
    groups: Sequence[Sequence[CacheLayer]], columns: Sequence[CacheColumn], *, context: int, batch: int
) -> NDArray[np.int64]:
    """Bits of each group in each column, int64 (groups, columns); in Python's whole numbers until they are known to fit."""
    known: dict[tuple[CachedTensor, int, int], list[int]] = {}
    for cache in (cache for group in groups for cache in group):
        key = (cache.tensor, cache.heads, cache.head_dim)
        if key not in known:
            known[key] = [
                cache.size_bits(column, context=context, batch=batch) if cache.tensor in column.of_tensor else 0
                for column in columns
            ]
    rows = [
        [sum(of_column) for of_column in zip(*(known[cache.tensor, cache.heads, cache.head_dim] for cache in group), strict=True)]
        for group in groups
    ]
    total = sum(max(row, default=0) for row in rows)
    refuse_beyond(total, f"bits of the caches of {batch:,} × {context:,} tokens", most=MOST_UNITS // 2)  # weights come beside
    return np.array(rows, dtype=np.int64).reshape(len(groups), len(columns))


def beside(weights: Classes[AbstractFormat], caches: Classes[AbstractFormat]) -> Classes[AbstractFormat]:
    """Groups of weights and, behind them, of caches; the columns of the one are closed to the other."""
    shift = len(weights.layers)
    groups = (*weights.groups, *(tuple(shift + index for index in group) for group in caches.groups))
    return Classes(
        (*weights.layers, *caches.layers),
        (*weights.formats, *caches.formats),
        groups,
        corners(weights.sizes, caches.sizes, 0),
        corners(weights.legal, caches.legal, False),
    )


def curves_beside(weights: GroupCurves, caches: GroupCurves) -> GroupCurves:
    """Losses of weights and caches, in the order of ``beside``."""
    return GroupCurves(
        corners(weights.loss, caches.loss, np.inf),
        corners(weights.standard_error, caches.standard_error, 0.0),
        (*weights.notes, *caches.notes),
    )


def corners(first: NDArray[Entry], second: NDArray[Entry], rest: float) -> NDArray[Entry]:
    """Two tables in opposite corners of one, and ``rest`` everywhere else."""
    table: NDArray[Entry] = np.full((first.shape[0] + second.shape[0], first.shape[1] + second.shape[1]), rest, dtype=first.dtype)
    table[: first.shape[0], : first.shape[1]] = first
    table[first.shape[0] :, first.shape[1] :] = second
    return table
