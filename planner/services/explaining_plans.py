"""Why a stored plan gives each layer its format, and what it would take to change that: no weights, no solver."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.orm import Session

from planner.errors import ConflictError, InvalidRequestError
from planner.grouping import MEASURED_TOGETHER
from planner.runtimes import RuntimeProfile, get_runtime
from planner.schemas.choices import Choice, GroupChoice, KVChoice
from planner.schemas.explanations import (
    ExplainedGroup,
    ExplainedLayer,
    Flip,
    Neighbour,
    Option,
    PlanExplanation,
    PriceOfLimit,
)
from planner.schemas.plans import PlanDocument
from planner.services.asking import Asked, ask
from planner.services.plan_questions import asked_again, measured_since
from planner.services.plans import get_plan
from planner.services.preparing import prepare
from planner.services.restrictions import WeightRestrictions, cache_refusals
from planner.solving import BITS_PER_MEGABYTE
from sensitivity.formats.kv_cache import without_tensor
from sensitivity.formats.registry import resolve_format

Table = NDArray[np.float64]


def explain_plan(session: Session, plan_id: str, *, layers: str = "*", most: int = 500) -> PlanExplanation:
    """Explain the layers of a plan: options, prices, margins, and what closes formats to them.

    Args:
        session: a reader.
        plan_id: of a stored plan.
        layers: shell-style pattern of layer names; caches match too where the plan has any.
        most: layers that are explained, the first in model order.

    Raises:
        NotFoundError: no such plan, or its model, curves or device are gone.
        InvalidRequestError: a pattern that matches no planned layer, or cells that were taken back since.
        ConflictError: the runtime ties other layers than when the plan was made.
        BudgetError: cells were measured since, and by them no plan keeps the limits any more.
    """
    document = get_plan(session, plan_id)
    request = document.request.model_copy(update=asked_again(document) | {"allow_slack": True})
    explained = _Explained(document, ask(session, prepare(session, request), request))
    explained.check_groups()
    choices: list[Choice | KVChoice] = [*document.choices, *document.kv]
    matched = [choice for choice in choices if fnmatchcase(choice.layer, layers)]
    if not matched:
        example = document.choices[0].layer if document.choices else "none: the plan has no layers"
        msg = f"pattern {layers!r} matches no planned layer; a layer name looks like {example!r}"
        raise InvalidRequestError(msg, pattern=layers)
    shown = matched[:most]
    groups = list(dict.fromkeys(explained.group_of[choice.layer] for choice in shown))
    return PlanExplanation(
        plan=document.id,
        model_name=document.model_name,
        runtime=document.runtime,
        unit=document.predicted.unit,
        price_per_megabyte=document.price_per_megabyte,
        prices=_prices(document),
        matched=len(matched),
        layers=[explained.layer(choice, groups) for choice in shown],
        groups=[explained.group(group) for group in groups],
        kernels=_kernels(shown, explained.runtime),
        notes=_notes(session, document, explained),
    )


@dataclass(frozen=True)
class _Explained:
    """A plan beside the problem that it answers.

    Attributes:
        document: the stored plan.
        asked: its request over the present curves.
    """

    document: PlanDocument
    asked: Asked

    @cached_property
    def runtime(self) -> RuntimeProfile:
        return get_runtime(self.document.runtime)

    @cached_property
    def choices(self) -> list[GroupChoice]:
        """Of all groups, those of caches behind those of weights, as in the problem."""
        return [*self.document.groups, *self.document.kv_groups]

    def check_groups(self) -> None:
        """Raise ``ConflictError`` if other layers share formats now than when the plan was made."""
        classes = self.asked.whole.classes
        now = [[classes.layers[i].name for i in members] for members in classes.groups]
        if now != [choice.layers for choice in self.choices]:
            msg = f"runtime {self.runtime.name!r} ties other layers than when plan {self.document.id} was made: plan anew"
            raise ConflictError(msg, plan=self.document.id)

    @cached_property
    def group_of(self) -> dict[str, int]:
        """Layer or cache → group."""
        classes = self.asked.whole.classes
        return {layer.name: int(group) for layer, group in zip(classes.layers, classes.group_of_layer, strict=True)}

    @cached_property
    def columns(self) -> list[int]:
        """Column of the format of each group."""
        return [
            self._column(group, without_tensor(choice.format) if self._is_cache(group) else choice.format)
            for group, choice in enumerate(self.choices)
        ]

    def _column(self, group: int, name: str) -> int:
        """Of a format by name; formats of weights and of caches may be called the same (BF16), and each group has its own."""
        own = len(self.asked.whole.posed.classes.formats)
        return self._column_names.index(name, own) if self._is_cache(group) else self._column_names.index(name, 0, own)

    @cached_property
    def _column_names(self) -> list[str]:
        return [fmt.name for fmt in self.asked.whole.classes.formats]

    def _is_cache(self, group: int) -> bool:
        return group >= self.asked.whole.weight_groups

    @cached_property
    def priced(self) -> Table:
        """Losses and the plan's prices of all that is limited, float64 (groups, formats): what its bound is the least sum of.

        Where memory pools are limited, each format lies where it is cheapest, and the chosen one where the plan has it.
        """
        proof, asked = self.document.proof, self.asked
        table = asked.curves.loss + proof.multiplier * asked.limits.classes.sizes
        multipliers = {(limit.kind, limit.pool): limit.multiplier for limit in self.document.limits}
        for limit in asked.limits.others:
            table = table + multipliers.get((limit.budget.kind.value, limit.budget.pool), 0.0) * limit.table
        for posed, kept in zip(asked.counts, proof.counts, strict=True):
            for row, price in ((posed.upper, kept.at_most_multiplier), (posed.lower, kept.at_least_multiplier)):
                table = table if row is None else table + price * row.table
        if proof.caution:
            table = table + proof.caution * asked.curves.standard_error * self._direction
        return self._placed(table) if asked.pools else table

    def _placed(self, table: Table) -> Table:
        groups, formats = self.asked.whole.classes.legal.shape
        by_pool = table.reshape(groups, len(self.asked.pools), formats)
        least: Table = by_pool.min(axis=1)
        places = {layer: self.asked.pools.index(part.pool) for part in self.document.placement for layer in part.layers}
        rows, columns = np.arange(groups), np.array(self.columns, dtype=np.int64)
        least[rows, columns] = by_pool[rows, [places[choice.layers[0]] for choice in self.choices], columns]
        return least

    @cached_property
    def _direction(self) -> Table:
        found = np.zeros(self.asked.whole.classes.legal.shape)
        for group, of_format in self.document.proof.direction.items():
            for name, number in of_format.items():
                found[group, self._column(group, name)] = number
        return found

    @cached_property
    def restrictions(self) -> WeightRestrictions:
        posed, selected = self.asked.whole.posed, self.asked.prepared.selected
        status = self.asked.prepared.inputs.curves.status
        return WeightRestrictions(self.asked.prepared.classes, selected.rules, self.runtime, status, offered=posed.classes.legal)

    def layer(self, choice: Choice | KVChoice, groups: Sequence[int]) -> ExplainedLayer:
        """One layer; ``groups`` are those that the document lists."""
        group, classes = self.group_of[choice.layer], self.asked.whole.classes
        index = next(i for i in classes.groups[group] if classes.layers[i].name == choice.layer)
        loss, error = self._own_loss(index, self.columns[group])
        return ExplainedLayer(
            layer=choice.layer,
            kind=classes.layers[index].kind,
            block=choice.block,
            shape=classes.layers[index].shape,
            group=groups.index(group),
            format=choice.format,
            size_bits=choice.size_bits,
            predicted_loss=loss,
            standard_error=error,
        )

    def _own_loss(self, index: int, column: int) -> tuple[float | None, float | None]:
        weights, caches = self.asked.prepared.inputs.curves, self.asked.prepared.caches
        if index < len(weights.layers):
            return _finite(weights.loss[index, column]), _finite(weights.standard_error[index, column])
        if caches is None:
            return None, None
        row, place = index - len(weights.layers), column - len(weights.formats)
        return _finite(caches.loss[row, place]), _finite(caches.standard_error[row, place])

    def group(self, group: int) -> ExplainedGroup:
        """All options of a group, and what decides between them."""
        choice, members = self.choices[group], self.asked.whole.classes.groups[group]
        options = self._options(group)
        refusals = [reason for option in options for reason in option.refusals]
        return ExplainedGroup(
            layers=[self.asked.whole.classes.layers[i].name for i in members],
            tied_by=self._tied_by(group) if len(members) > 1 else [],
            format=choice.format,
            size_bits=choice.size_bits,
            predicted_loss=choice.predicted_loss,
            standard_error=choice.standard_error,
            held_by=list(dict.fromkeys(refusals)),
            options=options,
            next_up=self._neighbour(group, _next_up),
            next_down=self._neighbour(group, _next_down),
            flip=self._flip(group),
        )

    def _options(self, group: int) -> list[Option]:
        whole, first = self.asked.whole, self.asked.whole.classes.groups[group][0]
        options = []
        for column in self._own_columns(group):
            allowed = bool(np.isfinite(self.priced[group, column]))
            options.append(
                Option(
                    format=self._name(group, first, column),
                    chosen=column == self.columns[group],
                    refusals=self._refusals(group, column),
                    size_bits=int(whole.classes.sizes[group, column]) if allowed else None,
                    predicted_loss=float(whole.curves.loss[group, column]) if allowed else None,
                    standard_error=float(whole.curves.standard_error[group, column]) if allowed else None,
                    margin=float(self._margins(group)[column]) if allowed else None,
                )
            )
        return sorted(options, key=lambda option: math.inf if option.size_bits is None else option.size_bits)

    def _own_columns(self, group: int) -> range:
        weights = len(self.asked.whole.posed.classes.formats)
        return range(weights, len(self._column_names)) if self._is_cache(group) else range(weights)

    def _name(self, group: int, first: int, column: int) -> str:
        """Of a column; with the tensor where a cache is alone."""
        if len(self.asked.whole.classes.groups[group]) > 1 or not np.isfinite(self.priced[group, column]):
            return self._column_names[column]
        return self.asked.whole.format_name(first, column)

    def _refusals(self, group: int, column: int) -> list[str]:
        if not self._is_cache(group):
            return self.restrictions.refusals(group, column)
        if np.isfinite(self.priced[group, column]):
            return []
        return cache_refusals(self.asked, group, column, self.runtime)

    def _margins(self, group: int) -> Table:
        margins: Table = self.priced[group] - self.priced[group, self.columns[group]]
        return margins

    def _tied_by(self, group: int) -> list[str]:
        if self._is_cache(group):
            return [f"{self.runtime.name} keeps these caches in one format ({self.runtime.kv.tie.value})"]
        classes, request = self.asked.prepared.classes, self.asked.request
        members = set(classes.groups[group])
        own = [set(of_runtime) & members for of_runtime in self.runtime.groups(classes.layers)]
        found = [f"{self.runtime.name} stores them in one format"] if any(len(part) > 1 for part in own) else []
        if request.experts != "free" and any(classes.layers[i].expert is not None for i in members):
            found.append(f"the request ties experts: {request.experts}")
        together = self.asked.prepared.inputs.setting.parameters.get(MEASURED_TOGETHER)
        return found if together is None else [*found, f"they were measured together: by {together}"]

    def _neighbour(self, group: int, find: Callable[[NDArray[np.int64], Table, int], int | None]) -> Neighbour | None:
        sizes, losses, here = self.asked.whole.classes.sizes[group], self.asked.whole.curves.loss[group], self.columns[group]
        column = find(sizes, losses, here)
        if column is None:
            return None
        more, change = int(sizes[column] - sizes[here]), float(losses[column] - losses[here])
        price, asked_for = -change / more * BITS_PER_MEGABYTE, self.document.price_per_megabyte
        return Neighbour(
            format=self._name(group, self.asked.whole.classes.groups[group][0], column),
            more_bits=more,
            loss_change=change,
            price_per_megabyte=price,
            of_plan_price=price / asked_for if asked_for > 0 else None,
        )

    def _flip(self, group: int) -> Flip | None:
        here, margins = self.columns[group], self._margins(group).copy()
        margins[here] = np.inf
        column = int(np.argmin(margins))
        if not np.isfinite(margins[column]):
            return None
        margin, errors = float(margins[column]), self.asked.whole.curves.standard_error[group]
        spread = math.hypot(errors[here], errors[column])
        name = self._name(group, self.asked.whole.classes.groups[group][0], column)
        price = self._price_of_equals(group, column, margin)
        return Flip(
            format=name,
            margin=margin,
            standard_errors=margin / spread if spread > 0 else None,
            price_per_megabyte=price,
            advice=self._advice(name, margin, price),
        )

    def _price_of_equals(self, group: int, column: int, margin: float) -> float | None:
        """λ + margin / (size here − size there): where both priced losses meet, if stored bits have a price at all."""
        sizes = self.asked.whole.classes.sizes[group]
        fewer = int(sizes[self.columns[group]] - sizes[column])
        if fewer == 0 or self.asked.limits.stored is None:
            return None
        price = self.document.proof.multiplier + margin / fewer
        return price * BITS_PER_MEGABYTE if price >= 0 else None

    def _advice(self, name: str, margin: float, price: float | None) -> str:
        unit, now = self.document.predicted.unit, self.document.price_per_megabyte
        if margin < 0:
            return (
                f"{name} is better at these prices by {-margin:.3g} {unit}, and does not fit: a slightly larger budget takes it"
            )
        told = f"{name} wins if it loses {margin:.3g} {unit} less, or the chosen format so much more"
        if price is None:
            return told
        return f"{told}; or with a megabyte worth {price:.3g} {unit} (now {now:.3g})"


def _next_up(sizes: NDArray[np.int64], losses: Table, here: int) -> int | None:
    better = np.flatnonzero(np.isfinite(losses) & (sizes > sizes[here]) & (losses < losses[here]))
    return int(better[np.argmin(sizes[better])]) if better.size else None


def _next_down(sizes: NDArray[np.int64], losses: Table, here: int) -> int | None:
    """Of the smaller formats, the one that loses least; of equals the smallest."""
    smaller = np.flatnonzero(np.isfinite(losses) & (sizes < sizes[here]))
    return int(smaller[np.lexsort((sizes[smaller], losses[smaller]))[0]]) if smaller.size else None


def _finite(value: np.floating) -> float | None:
    return float(value) if np.isfinite(value) else None


def _prices(document: PlanDocument) -> list[PriceOfLimit]:
    found = [(limit.name, limit.multiplier) for limit in document.limits]
    if not document.limits:
        found = [(document.budget.first.kind.value, document.proof.multiplier)]
    for count in document.proof.counts:
        found += [(f"at most {count.at_most} {count.what}", count.at_most_multiplier)]
        found += [(f"at least {count.at_least} {count.what}", count.at_least_multiplier)]
    return [PriceOfLimit(limit=text, price=price) for text, price in found if price]


def _kernels(shown: Sequence[Choice | KVChoice], runtime: RuntimeProfile) -> dict[str, str]:
    names = list(dict.fromkeys(choice.format for choice in shown if isinstance(choice, Choice)))
    needs = {name: runtime.kernel_needs(resolve_format(name)) for name in names}
    return {name: text for name, text in needs.items() if text}


def _notes(session: Session, document: PlanDocument, explained: _Explained) -> list[str]:
    notes = []
    newer = measured_since(session, document)
    if newer is not None:
        notes.append(f"cells of {newer} were measured since the plan was made: options and margins are by the present ones")
    if document.budget.max_loss is not None:
        notes.append("the plan is the smallest one that keeps its loss: prices are those of its own size as a budget")
    if document.proof.gap > 0:
        notes.append(f"the plan is not proven optimal (gap {document.proof.gap:.2g}): a margin may be negative")
    return notes
