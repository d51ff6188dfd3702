"""Several limits at once, weights and caches together: beside brute force, and to the last unit of every limit."""

import itertools
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import solvers
from planner.budget import Budget, BudgetKind, Footprint, Meter
from planner.build import GroupCurves
from planner.errors import BudgetAboveCeilingError, BudgetBelowFloorError, BudgetConflictError, CountConflictError
from planner.rules import Rules
from planner.runtimes.kv_rules import ANY_KV
from planner.solving import Limits, Metered, check_ceilings, check_floors, pose_limits, refuse_conflict, solve_plan
from planner.solving.caches import beside, cache_classes, cache_layers, cache_menu
from tests.planner.solving.instances import FORMATS, tied
from tests.planner.strategies import llama_layers

CONTEXT, BATCH = 40, 2
WEIGHTS = tied()
CACHES = cache_layers(llama_layers(1), heads=4, kv_heads=2)
MENU = cache_menu(CACHES, ["INT8", "INT4", "BF16"], Rules(), ANY_KV, runtime="generic", unquantized="BF16")
CLASSES = beside(WEIGHTS, cache_classes(CACHES, MENU, ANY_KV, context=CONTEXT, batch=BATCH))
GROUPS = len(CLASSES.groups)
FOOTPRINT = Footprint(parameters=sum(layer.parameters for layer in WEIGHTS.layers), fixed_bytes=100, kv_elements_per_token=128)
OPTIONS = [np.flatnonzero(row).tolist() for row in CLASSES.legal]
CHOICES = np.array(list(itertools.product(*OPTIONS)), dtype=np.int64)
AT = np.arange(GROUPS)
SHARES = st.floats(0.0, 1.0)
KINDS = [kind for kind in BudgetKind if kind not in (BudgetKind.MAX_LOSS, BudgetKind.POOL_BYTES)]


def curves(seed: int) -> GroupCurves:
    random = np.random.default_rng(seed)
    bits = np.array([fmt.num_bits for fmt in CLASSES.formats], dtype=np.float64)
    loss = random.lognormal(size=(GROUPS, 1)) * 2.0**-bits * random.lognormal(0.0, 0.2, CLASSES.legal.shape)
    return GroupCurves(np.where(CLASSES.legal, loss, np.inf), np.zeros(loss.shape), ())


def times(seed: int) -> Metered:
    """Picoseconds that do not follow the bits: a smaller format may be slower."""
    table = np.random.default_rng(seed).integers(1, 10**9, CLASSES.legal.shape)
    return Metered(Meter(10**12, fixed=777), np.where(CLASSES.legal, table, 0))


@dataclass(frozen=True)
class Instance:
    """Limits at some share of what every assignment can take."""

    limits: Limits
    curves: GroupCurves

    @property
    def kept(self) -> np.ndarray:
        """Assignments that keep every limit, one at a time and in whole units."""
        keeps = np.ones(len(CHOICES), dtype=bool)
        for limit in self.limits:
            keeps &= limit.table[AT, CHOICES].sum(axis=1) <= limit.room
        return CHOICES[keeps]


@st.composite
def instances(draw: st.DrawFn) -> Instance:
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, unique=True))
    seed = draw(st.integers(0, 2**16))
    budgets: list[Budget] = []
    metered: dict[Budget, Metered] = {}
    for kind in kinds:
        table = times(seed + len(budgets))
        context, batch = (CONTEXT, BATCH) if kind.depends_on_context else (0, 1)
        one = Budget(kind, 1.0, context, batch)
        known = {} if kind.counts_bits else {one: table}
        (loose,) = pose_limits([one], CLASSES, FOOTPRINT, weights=len(WEIGHTS.groups), metered=known)
        least, most = loose.row.least(CLASSES.legal), loose.row.most(CLASSES.legal)
        whole = least + int(draw(SHARES) * (most - least))
        budgets.append(Budget(kind, loose.meter.least(whole), context, batch))
        if known:
            metered[budgets[-1]] = table
    return Instance(pose_limits(budgets, CLASSES, FOOTPRINT, weights=len(WEIGHTS.groups), metered=metered), curves(seed))


@settings(max_examples=60, deadline=None)
@given(instances())
def test_the_plan_is_the_best_that_keeps_every_limit_to_the_last_unit(instance: Instance) -> None:
    limits, kept = instance.limits, instance.kept
    if not len(kept):
        with pytest.raises(CountConflictError):
            solve_plan(CLASSES, instance.curves, limits.budget_bits, deadline=None, rows=limits.rows)
        return
    solved = solve_plan(CLASSES, instance.curves, limits.budget_bits, deadline=None, rows=limits.rows)
    choice = solved.proved.choice
    assert solved.proved.status is solvers.Status.OPTIMAL
    assert solved.proved.loss == pytest.approx(instance.curves.loss[AT, kept].sum(axis=1).min(), rel=1e-9)
    for limit in limits:
        assert limit.row.taken(choice) <= limit.room
        assert limit.meter.value(limit.row.taken(choice)) <= limit.budget.value * (1 + 1e-12)
    price = np.tensordot(solved.prices, [row.table for row in limits.rows], 1) if limits.rows else 0.0
    priced = instance.curves.loss + solved.price * CLASSES.sizes + price
    bound = priced.min(axis=1).sum() - solved.price * limits.budget_bits
    bound -= sum(solved.prices * [row.limit for row in limits.rows]) if limits.rows else 0.0
    assert bound == pytest.approx(solved.proved.lagrangian_bound, rel=1e-9, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(instances())
def test_limits_that_exclude_each_other_are_named_with_what_each_would_need(instance: Instance) -> None:
    limits = instance.limits
    if len(instance.kept):
        return
    with pytest.raises(BudgetConflictError) as error:
        refuse_conflict(limits, [], FOOTPRINT, deadline=None)
    named = error.value.fields["limits"]
    assert isinstance(named, list)
    assert len(named) >= 2
    for said in named:
        assert said["smallest_feasible"] is None or said["smallest_feasible"] > said["limit"]
        if said["smallest_feasible"] is not None:
            raised = [
                limit.budget if limit.budget.kind.value != said["kind"] else _at(limit.budget, said["smallest_feasible"])
                for limit in limits
            ]
            metered = {budget: Metered(limit.meter, limit.table) for budget, limit in zip(raised, limits, strict=True)}
            metered = {budget: table for budget, table in metered.items() if not budget.kind.counts_bits}
            again = pose_limits(raised, CLASSES, FOOTPRINT, weights=len(WEIGHTS.groups), metered=metered)
            assert len(Instance(again, instance.curves).kept)


def _at(budget: Budget, value: float) -> Budget:
    return Budget(budget.kind, value, context=budget.context, batch=budget.batch)


def test_limits_of_the_same_bits_are_one_row_and_the_tighter_one_counts() -> None:
    weights = WEIGHTS.largest_bits // 2
    budgets = [
        Budget(BudgetKind.EFFECTIVE_BITS, weights / FOOTPRINT.parameters),
        Budget(BudgetKind.FILE_BYTES, 100 + weights // 8 + 500),
        Budget(BudgetKind.RESIDENT_BYTES, 10**6, context=CONTEXT, batch=BATCH),
    ]
    alone = pose_limits(budgets, WEIGHTS, FOOTPRINT)
    assert alone.rows == ()
    assert alone.stored is alone.items[0]
    assert alone.budget_bits == weights
    together = pose_limits(budgets, CLASSES, FOOTPRINT, weights=len(WEIGHTS.groups))
    assert [limit.budget.kind for limit in together.tightest] == [BudgetKind.EFFECTIVE_BITS, BudgetKind.RESIDENT_BYTES]
    assert together.stored is together.items[2]
    assert together.others == together.items[:1]


def test_below_a_floor_its_least_value_and_its_layers_are_named() -> None:
    budget = Budget(BudgetKind.RESIDENT_BYTES, 2000, context=CONTEXT, batch=BATCH)
    with pytest.raises(BudgetBelowFloorError, match=r"2,000 resident bytes .* Most of it: ") as error:
        check_floors(pose_limits([budget], CLASSES, FOOTPRINT, weights=len(WEIGHTS.groups)), FOOTPRINT)
    least = error.value.fields["smallest_feasible"]
    assert least == 100 + -(-CLASSES.smallest_bits // 8)
    makers = error.value.fields["floor_layers"]
    assert isinstance(makers, list)
    assert makers[0]["format"] == FORMATS[0]
    assert sum(maker["share"] for maker in makers) <= 1
    check_floors(pose_limits([_at(budget, float(str(least)))], CLASSES, FOOTPRINT, weights=len(WEIGHTS.groups)), FOOTPRINT)
    time = times(1)
    quick = Budget(BudgetKind.DECODE_SECONDS, 1e-11, context=CONTEXT, batch=BATCH, device="clock")
    with pytest.raises(BudgetBelowFloorError, match="seconds to decode a token on clock") as error:
        check_floors(pose_limits([quick], CLASSES, FOOTPRINT, metered={quick: time}), FOOTPRINT)
    seconds = error.value.fields["smallest_feasible"]
    least_time = 777 + np.where(CLASSES.legal, time.table, 2**62).min(axis=1).sum()
    assert isinstance(seconds, float)
    assert int(Fraction(str(seconds)) * 10**12) == least_time


def test_what_no_plan_can_change_is_named_apart_with_what_helps() -> None:
    budget = Budget(BudgetKind.RESIDENT_BYTES, 2, context=CONTEXT, batch=BATCH, workspace_bytes=50)
    with pytest.raises(BudgetBelowFloorError) as error:
        check_floors(pose_limits([budget], WEIGHTS, FOOTPRINT), FOOTPRINT)
    total = 150 + budget.kv_bytes(FOOTPRINT) + WEIGHTS.smallest_bits / 8
    for words, taken in (
        ("; what is not planned", 100),
        ("; K and V caches, 16 bits an element", budget.kv_bytes(FOOTPRINT)),
        ("; workspace", 50),
    ):
        share = taken / total
        assert f"{words} ({share:.0%})" in str(error.value) or f"{words} ({share:.2%})" in str(error.value)
    assert ". Raise the budget, lower the context or the batch, add smaller formats, or loosen floors and pins. " in str(
        error.value
    )


def test_of_a_pool_that_layers_take_nothing_of_only_more_helps() -> None:
    pool = Budget(BudgetKind.POOL_BYTES, 1, device="desk", pool="vram")
    nothing = Metered(Meter(8, 800, whole=True), np.zeros_like(WEIGHTS.sizes))
    with pytest.raises(BudgetBelowFloorError) as error:
        check_floors(pose_limits([pool], WEIGHTS, FOOTPRINT, metered={pool: nothing}), FOOTPRINT)
    assert str(error.value).endswith("Raise the budget. Most of it: what is not planned (100%)")


def test_every_limit_below_its_floor_is_named_with_its_layers() -> None:
    quick = Budget(BudgetKind.DECODE_SECONDS, 1e-11, context=CONTEXT, batch=BATCH, device="clock")
    budgets = [Budget(BudgetKind.EFFECTIVE_BITS, 0.5), Budget(BudgetKind.FILE_BYTES, 10**9), quick]
    limits = pose_limits(budgets, CLASSES, FOOTPRINT, weights=len(WEIGHTS.groups), metered={quick: times(1)})
    with pytest.raises(BudgetBelowFloorError, match=r"0\.5 effective bits.* 1e-11 seconds.* too low as well.*most of") as error:
        check_floors(limits, FOOTPRINT)
    below = error.value.fields["also_below"]
    assert isinstance(below, list)
    (other,) = below
    assert (other["kind"], other["limit"]) == ("decode_seconds", 1e-11)
    assert int(Fraction(str(other["smallest_feasible"])) * 10**12) == limits.least(limits.items[2]) + 777
    assert other["floor_layers"][0]["layers"]


def test_a_ceiling_is_one_only_if_no_limit_can_bind() -> None:
    wide = Budget(BudgetKind.EFFECTIVE_BITS, 20)
    with pytest.raises(BudgetAboveCeilingError, match="allow_slack"):
        check_ceilings(pose_limits([wide], CLASSES, FOOTPRINT, weights=len(WEIGHTS.groups)), FOOTPRINT)
    tight = Budget(BudgetKind.RESIDENT_BYTES, 100 + CLASSES.largest_bits // 8, context=CONTEXT, batch=BATCH)
    check_ceilings(pose_limits([wide, tight], CLASSES, FOOTPRINT, weights=len(WEIGHTS.groups)), FOOTPRINT)
