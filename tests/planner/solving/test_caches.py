"""K and V caches as layers: sizes, ties, menus and rules."""

from dataclasses import replace

import numpy as np
import pytest

from planner.build import GroupCurves
from planner.errors import InvalidRequestError, PinConflictError
from planner.rules import Rules
from planner.runtimes.kv_rules import ANY_KV, KVRules, KVTie
from planner.solving.caches import (
    CacheLayer,
    CacheMenu,
    beside,
    cache_classes,
    cache_column,
    cache_layers,
    cache_menu,
    curves_beside,
)
from sensitivity.checkpoint.description import Layer
from sensitivity.formats.kv_cache import KV_CACHE_FORMATS, CachedTensor
from tests.planner.solving.instances import noisy, tied
from tests.planner.strategies import expert_layers, llama_layers

CACHES = cache_layers(llama_layers(2), heads=4, kv_heads=2)


def menu(*names: str, rules: Rules | None = None, kv: KVRules = ANY_KV, caches: list[CacheLayer] = CACHES) -> CacheMenu:
    return cache_menu(caches, names, rules or Rules(), kv, runtime="engine", unquantized="BF16")


def test_every_attention_layer_has_keys_and_values() -> None:
    assert [cache.layer.name for cache in CACHES] == [
        f"model.layers.{block}.self_attn.{kind}" for block in range(2) for kind in ("k_cache", "v_cache")
    ]
    assert {(cache.heads, cache.head_dim, cache.layer.out_features) for cache in CACHES} == {(2, 32, 64)}
    assert CACHES[0].projection == "model.layers.0.self_attn.k_proj"
    assert cache_layers(expert_layers(), heads=4, kv_heads=2) == []


def test_a_fused_projection_has_both_and_only_its_share_of_rows() -> None:
    fused = Layer("model.layers.0.self_attn.qkv_proj", "qkv_proj", 0, None, 8 * 16, 64)
    keys, values = cache_layers([fused], heads=4, kv_heads=2)
    assert keys.projection == values.projection == fused.name
    assert {(cache.heads, cache.head_dim) for cache in (keys, values)} == {(2, 16)}


def test_sizes_are_those_of_the_formats_with_what_is_stored_once_counted_once() -> None:
    for fmt in KV_CACHE_FORMATS:
        cache = next(cache for cache in CACHES if cache.tensor is fmt.tensor)
        column = cache_column(fmt.name.partition("_")[2])
        one = fmt.size_bits(tokens=37, heads=2, head_dim=32)
        assert cache.size_bits(column, context=37, batch=1) == one
        assert cache.size_bits(column, context=37, batch=3) == 3 * (one - fmt.tensor_bits) + fmt.tensor_bits
    assert cache_column("bf16").num_bits == 16


@pytest.mark.parametrize(
    ("tie", "groups"),
    [
        (KVTie.FREE, ((0,), (1,), (2,), (3,))),
        (KVTie.LAYER, ((0, 1), (2, 3))),
        (KVTie.TENSOR, ((0, 2), (1, 3))),
        (KVTie.ALL, ((0, 1, 2, 3),)),
    ],
)
def test_ties_are_those_of_the_engine(tie: KVTie, groups: tuple[tuple[int, ...], ...]) -> None:
    rules = KVRules(tie)
    classes = cache_classes(CACHES, menu("INT8", "K_INT4_CHANNEL", kv=rules), rules, context=64, batch=1)
    assert classes.groups == groups
    eights = [cache.size_bits(cache_column("INT8"), context=64, batch=1) for cache in CACHES]
    assert classes.sizes[:, 0].tolist() == [sum(eights[i] for i in group) for group in groups]
    only_keys = [all(CACHES[i].tensor is CachedTensor.KEYS for i in group) for group in groups]
    assert classes.legal[:, 1].tolist() == only_keys
    assert not classes.sizes[:, 1][~np.array(only_keys)].any()


def test_what_an_engine_does_not_take_is_not_offered() -> None:
    rules = KVRules(KVTie.ALL, frozenset({"FP8"}))
    found = menu("FP8", "INT8", "BF16", kv=rules)
    assert found.legal.all(axis=0).tolist() == [True, False, True]
    with pytest.raises(PinConflictError, match="engine keeps caches in BF16, FP16, FP8 only, not in INT4"):
        menu("INT4", kv=rules)
    with pytest.raises(PinConflictError, match="has for values can be served: engine keeps caches in BF16, FP16, FP8") as error:
        menu("K_FP8", "V_INT4", kv=rules)
    assert error.value.fields["layers"] == [cache.layer.name for cache in CACHES if cache.tensor is CachedTensor.VALUES]
    with pytest.raises(PinConflictError, match=r"k_cache.*no format in common"):
        cache_classes(CACHES, menu("K_INT8", "V_INT4"), KVRules(KVTie.ALL), context=1, batch=1)


def test_a_tensor_that_nothing_is_asked_for_keeps_its_bits() -> None:
    found = menu("K_INT4", "k_int8")
    assert [column.name for column in found.columns] == ["INT4", "INT8", "BF16"]
    keys = np.array([cache.tensor is CachedTensor.KEYS for cache in CACHES])
    assert (found.legal[keys] == [True, True, False]).all()
    assert (found.legal[~keys] == [False, False, True]).all()
    with pytest.raises(InvalidRequestError, match="unknown format 'INT5' of caches: use BF16"):
        menu("INT5")
    with pytest.raises(InvalidRequestError, match="unknown format"):
        menu("V_INT4_CHANNEL_7")


def test_rules_are_kept() -> None:
    names = ["INT8", "INT4", "BF16"]
    rules = Rules(pins={CACHES[0].layer.name: "INT4"}, floors={"*.v_cache": 8}, ceilings={"*.1.*": 8})
    found = menu(*names, rules=rules)
    assert found.legal.tolist() == [[False, True, False], [True, False, True], [True, True, False], [True, False, False]]
    with pytest.raises(PinConflictError, match=r"k_cache.*floor"):
        menu("INT4", rules=Rules(floors={"*.k_cache": 8}))


def test_weights_and_caches_are_closed_to_each_other() -> None:
    weights = tied()
    caches = cache_classes(CACHES, menu("INT8", "INT4"), ANY_KV, context=64, batch=1)
    classes = beside(weights, caches)
    groups, columns = weights.legal.shape
    assert classes.legal[:groups, :columns].all()
    assert not classes.legal[:groups, columns:].any()
    assert not classes.legal[groups:, :columns].any()
    assert classes.smallest_bits == weights.smallest_bits + caches.smallest_bits
    assert classes.largest_bits == weights.largest_bits + caches.largest_bits
    assert [classes.layers[i].name for group in classes.groups[groups:] for i in group] == [cache.layer.name for cache in CACHES]
    both = curves_beside(noisy(weights, 1), GroupCurves(np.ones((4, 2)), np.zeros((4, 2)), ("said",)))
    assert (np.isfinite(both.loss) == classes.legal).all()
    assert both.notes == ("said",)
    assert replace(classes, legal=~classes.legal).smallest_bits == 0  # what is closed has no size
