"""The caches of a model as layers, and which rules of a request are theirs."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from planner.errors import InvalidRequestError
from planner.rules import NO_RULES, Rules
from planner.schemas.plans import Selection
from planner.solving.caches import CacheLayer, cache_layers
from planner.storage.tables import ModelRow
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.kv_cache import KV_CACHE_FORMATS, KVCacheFormat, without_tensor
from sensitivity.formats.registry import resolve_format

_FORMATS: Mapping[str, KVCacheFormat] = {fmt.name: fmt for fmt in KV_CACHE_FORMATS}


def model_caches(model: ModelRow, layers: Sequence[Layer]) -> tuple[CacheLayer, ...]:
    """The K and V caches of a registered model.

    Raises:
        InvalidRequestError: the model was registered before its heads were kept.
    """
    if model.heads is None or model.kv_heads is None:
        msg = f"model {model.name!r} was registered before bitplan kept its heads: register the same files again, then plan"
        raise InvalidRequestError(msg, model=model.id)
    return tuple(cache_layers(layers, heads=model.heads, kv_heads=model.kv_heads))


def split_rules(request: Selection, planned: Sequence[Layer], caches: Sequence[CacheLayer]) -> tuple[Rules, Rules]:
    """The rules of the planned layers, and those of the caches in formats without the tensor.

    A pin or menu is of what its formats are of; a floor or ceiling of whatever its pattern matches.

    Raises:
        UnknownFormatError: no such format.
        InvalidRequestError: a rule in formats of caches that matches none of them.
    """
    if not caches:
        return _weight_rules(request, request.floors, request.ceilings), NO_RULES
    names = [cache.layer.name for cache in caches]
    floors, cache_floors = _by_match(request.floors, planned, names)
    ceilings, cache_ceilings = _by_match(request.ceilings, planned, names)
    pins: dict[str, str] = {}
    for pattern, name in request.pins.items():
        if name.upper() in _FORMATS:
            pins |= dict.fromkeys(_matching(pattern, caches, name), without_tensor(name.upper()))
    menus: dict[str, list[str]] = {}
    for pattern, menu in request.menus.items():
        for name in menu:
            if name.upper() in _FORMATS:
                for cache in _matching(pattern, caches, name):
                    menus.setdefault(cache, []).append(without_tensor(name.upper()))
    own = Rules(pins=pins, floors=cache_floors, ceilings=cache_ceilings, menus=menus)
    return _weight_rules(request, floors, ceilings), own


def _weight_rules(request: Selection, floors: Mapping[str, int], ceilings: Mapping[str, int]) -> Rules:
    menus = {
        pattern: [resolve_format(name).name for name in menu if name.upper() not in _FORMATS]
        for pattern, menu in request.menus.items()
    }
    return Rules(
        pins={pattern: resolve_format(name).name for pattern, name in request.pins.items() if name.upper() not in _FORMATS},
        floors=floors,
        ceilings=ceilings,
        menus={pattern: menu for pattern, menu in menus.items() if menu or not request.menus[pattern]},
    )


def _by_match(rules: Mapping[str, int], planned: Sequence[Layer], caches: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
    """Rules of layers and rules of caches; one that matches neither is left with the layers, where it is refused."""
    of_caches = {pattern: bits for pattern, bits in rules.items() if any(fnmatchcase(name, pattern) for name in caches)}
    of_layers = {
        pattern: bits
        for pattern, bits in rules.items()
        if pattern not in of_caches or any(fnmatchcase(layer.name, pattern) for layer in planned)
    }
    return of_layers, of_caches


def _matching(pattern: str, caches: Sequence[CacheLayer], name: str) -> list[str]:
    tensor = _FORMATS[name.upper()].tensor
    found = [cache.layer.name for cache in caches if cache.tensor is tensor and fnmatchcase(cache.layer.name, pattern)]
    if not found:
        msg = f"{pattern!r} matches no {tensor} cache; the name of one looks like {caches[0].layer.name!r}"
        raise InvalidRequestError(msg, pattern=pattern)
    return found
