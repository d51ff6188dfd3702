"""Sums of whole units at the edge of 64 bits: counted exactly, or refused; never wrapped around."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.budget import Budget, BudgetKind, Footprint, Meter
from planner.build import GroupCurves
from planner.devices import PICOSECONDS
from planner.errors import BudgetBelowFloorError, BudgetConflictError, InvalidRequestError
from planner.rules import Rules
from planner.runtimes.kv_rules import ANY_KV, KVRules, KVTie
from planner.services.metering import summed_times
from planner.solving import Metered, pose_limits, refuse_conflict, solve_plan
from planner.solving.caches import cache_classes, cache_layers, cache_menu
from planner.solving.rows import MOST_UNITS, Row, refuse_beyond, rough_sum
from tests.planner.solving.instances import noisy, tied
from tests.planner.strategies import llama_layers

CLASSES = tied()
FOOTPRINT = Footprint(parameters=1000, fixed_bytes=100, kv_elements_per_token=128)
LARGE = st.one_of(st.integers(0, 2**40), st.integers(2**60 - 8, 2**62 + 8))
MOST_POOL = 2**60
"""The largest limit that a request may name."""


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(LARGE, min_size=2, max_size=2), min_size=1, max_size=6))
def test_what_is_not_refused_is_counted_exactly(rows: list[list[int]]) -> None:
    table = np.array(rows, dtype=np.int64)
    exact = sum(max(row) for row in rows)
    try:
        refuse_beyond(rough_sum(table), "units")
    except InvalidRequestError:
        assert exact > MOST_UNITS * (1 - 1e-15)
    else:
        assert exact <= MOST_UNITS * (1 + 1e-15)
        assert Row("units", table, 0).most(np.ones(table.shape, dtype=bool)) == exact


@settings(max_examples=60, deadline=None)
@given(
    context=st.one_of(st.integers(1, 100_000), st.integers(2**29, 2**31)),
    batch=st.one_of(st.integers(1, 64), st.integers(2**18, 2**20)),
    tie=st.sampled_from(list(KVTie)),
)
def test_caches_of_any_context_and_batch_are_counted_exactly_or_refused(context: int, batch: int, tie: KVTie) -> None:
    caches = cache_layers(llama_layers(8), heads=4, kv_heads=2)
    rules = KVRules(tie)
    menu = cache_menu(caches, ["INT8", "INT4", "BF16"], Rules(), rules, runtime="generic", unquantized="BF16")
    bits = [[cache.size_bits(column, context=context, batch=batch) for column in menu.columns] for cache in caches]
    if sum(map(max, bits)) > MOST_UNITS // 2:
        with pytest.raises(InvalidRequestError, match="lower context or batch"):
            cache_classes(caches, menu, rules, context=context, batch=batch)
        return
    classes = cache_classes(caches, menu, rules, context=context, batch=batch)
    wanted = [[sum(bits[i][k] for i in group) for k in range(len(menu.columns))] for group in classes.groups]
    assert classes.sizes.tolist() == wanted
    assert classes.largest_bits == sum(map(max, wanted))


def test_the_largest_context_and_batch_of_a_wide_model_are_refused() -> None:
    caches = cache_layers(llama_layers(8), heads=4, kv_heads=2)
    menu = cache_menu(caches, ["BF16"], Rules(), ANY_KV, runtime="generic", unquantized="BF16")
    with pytest.raises(
        InvalidRequestError, match=r"bits of the caches of 1,048,576 × 2,147,483,648 tokens.*lower context or batch"
    ):
        cache_classes(caches, menu, ANY_KV, context=2**31, batch=2**20)


def test_times_of_layers_that_pass_63_bits_together_are_refused() -> None:
    one = 10**6 * PICOSECONDS  # the most that a layer may take
    times = np.full((len(CLASSES.layers), len(CLASSES.formats)), one // 2, dtype=np.int64)
    assert summed_times(times, CLASSES).sum(axis=0).tolist() == [one // 2 * len(CLASSES.layers)] * len(CLASSES.formats)
    with pytest.raises(InvalidRequestError, match=r"picoseconds of all layers would add up to.*lower context or batch"):
        summed_times(2 * times, CLASSES)


def pool(value: float, name: str) -> Budget:
    return Budget(BudgetKind.POOL_BYTES, value, device="desk", pool=name)


@settings(max_examples=25, deadline=None)
@given(largest=st.integers(MOST_POOL - 3, MOST_POOL), seed=st.integers(0, 99))
def test_the_largest_limits_bind_nothing_and_break_nothing(largest: int, seed: int) -> None:
    curves = noisy(CLASSES, seed)
    loose = [Budget(BudgetKind.FILE_BYTES, largest), Budget(BudgetKind.RESIDENT_BYTES, largest)]
    bits = Budget(BudgetKind.EFFECTIVE_BITS, CLASSES.smallest_bits * 1.2 / FOOTPRINT.parameters)
    table = {pool(largest, "ram"): Metered(Meter(8, whole=True), CLASSES.sizes.copy())}
    alone = pose_limits([bits], CLASSES, FOOTPRINT)
    together = pose_limits([bits, *loose, *table], CLASSES, FOOTPRINT, metered=table)
    wanted = solve_plan(CLASSES, curves, alone.budget_bits, deadline=None)
    found = solve_plan(CLASSES, curves, together.budget_bits, deadline=None, rows=together.rows)
    assert found.proved.choice.tolist() == wanted.proved.choice.tolist()
    free = pose_limits(loose, CLASSES, FOOTPRINT)
    best = solve_plan(CLASSES, curves, free.budget_bits, deadline=None, rows=free.rows)
    assert best.proved.loss == pytest.approx(curves.loss.min(axis=1).sum())


def test_the_largest_limit_beside_two_that_exclude_each_other_is_not_blamed() -> None:
    """Its bits are more than 63 bits count."""
    sizes = CLASSES.sizes
    turned = sizes.max(axis=1, keepdims=True) + sizes.min(axis=1, keepdims=True) - sizes
    table = {
        pool(float(sizes.min(axis=1).sum() // 8 + 8), "vram"): Metered(Meter(8, whole=True), sizes.copy()),
        pool(float(turned.min(axis=1).sum() // 8 + 8), "ram"): Metered(Meter(8, whole=True), turned),
        pool(float(MOST_POOL), "disk"): Metered(Meter(8, whole=True), sizes.copy()),
    }
    limits = pose_limits(list(table), CLASSES, FOOTPRINT, metered=table)
    with pytest.raises((BudgetConflictError, BudgetBelowFloorError)) as error:
        refuse_conflict(limits, [], FOOTPRINT, deadline=None)
    assert "disk" not in str(error.value)


def test_unused_losses_do_not_matter() -> None:
    """What no group may take is summed by nobody."""
    legal = CLASSES.legal.copy()
    legal[:, -1] = False
    closed = type(CLASSES)(CLASSES.layers, CLASSES.formats, CLASSES.groups, np.where(legal, CLASSES.sizes, 0), legal)
    curves = noisy(CLASSES, 0)
    curves = GroupCurves(np.where(legal, curves.loss, np.inf), curves.standard_error, ())
    assert solve_plan(closed, curves, 2**80, deadline=None).size_bits <= closed.largest_bits
