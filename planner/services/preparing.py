"""What every budget of a planning question shares: prepared once, and remembered while no cell of the model is written."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, TypeVar, final

from sqlalchemy import inspect
from sqlalchemy.orm import Session

from planner.build import Classes
from planner.runtimes import get_runtime
from planner.schemas.plans import Question
from planner.services.cache_inputs import CacheInputs, load_cache_inputs
from planner.services.outside_formats import OutsideFormats
from planner.services.plan_choices import PlanChoices, most_bytes
from planner.services.plan_sheets import PlanSheet
from planner.services.planning_inputs import Inputs, Selected, load_inputs, select_layers
from planner.services.posing import Posed, legal_classes, pose
from planner.services.whole_problem import SOLVER_TABLES, WholeProblem, bytes_of, whole_problem
from planner.storage.cells import measurements_version
from planner.storage.database import Database
from planner.storage.memory import Memory
from planner.storage.tables import ModelRow, ProbeSettingRow

LAYER_BYTES: Final = 600
"""About what the facts of one layer take: its name, its shape, its place in a group."""

SOLUTIONS_BYTES: Final = 2**20
"""What the remembered solutions of one question may take: about 200 of 224 layers, one of 44,544."""

ANSWERS_BYTES: Final = 4 * 2**20
"""What the remembered answers of one question may take: about 300 of 224 layers."""

QUESTION_TIMES: Final = 4
"""About how many times the length of its text a question takes: the text itself, its fields, its rules."""

RowT = TypeVar("RowT", ModelRow, ProbeSettingRow)

_FIELDS: Final = frozenset(Question.model_fields) - {"model"}


@dataclass(frozen=True)
class Prepared:
    """A planning question as far as it is the same for every budget.

    Attributes:
        question: what was asked; the budget is not part of it.
        selected: the layers.
        inputs: their curves.
        classes: layer groups, legal where the runtime and the rules allow it: enough for the limits of a budget.
        caches: K and V caches, where they are planned.
    """

    question: Question
    selected: Selected
    inputs: Inputs
    classes: Classes
    caches: CacheInputs | None = None

    @cached_property
    def posed(self) -> Posed:
        """The question with its losses; raises what ``pose`` raises."""
        return pose(self.classes, self.inputs)

    @cached_property
    def choices(self) -> PlanChoices:
        """What documents say of the layers and groups."""
        runtime = get_runtime(self.question.runtime)
        return PlanChoices(PlanSheet.of(self.selected.model.id, self.posed.classes, self.posed.curves, runtime))

    @cached_property
    def outside(self) -> OutsideFormats:
        """What lies outside of the menu."""
        return OutsideFormats(self.question, self.selected, self.inputs, self.posed)

    @cached_property
    def solutions(self) -> Memory:
        """Proven plans by what is asked for them: the budget, the counts and the caution."""
        return Memory(SOLUTIONS_BYTES)

    @cached_property
    def answers(self) -> Memory:
        """Plans as they were written, by their requests, to the letter."""
        return Memory(ANSWERS_BYTES)

    @cached_property
    def problems(self) -> Memory:
        """Whole problems by context and batch, which caches depend on: the latest at least."""
        return Memory(SOLUTIONS_BYTES, largest_bytes=self._problem_bytes)

    @property
    def _problem_bytes(self) -> int:
        """Of one whole problem, at most; 0 where there are no caches and so but one."""
        if self.caches is None:
            return 0
        groups, columns = self.classes.sizes.shape
        return bytes_of(groups + len(self.caches.caches), columns + len(self.caches.menu.columns))

    def problem(self, *, context: int, batch: int) -> WholeProblem:
        """Groups of weights, and of the caches at a context and a batch where they are planned; raises what ``posed`` raises.

        Raises:
            InvalidRequestError: caches without a context.
            PinConflictError: tied caches without a common format.
        """
        if self.caches is None:
            return self.whole
        caches = self.caches
        return self.problems.recall(
            (context, batch),
            lambda: whole_problem(self.posed, caches.at(context=context, batch=batch)),
            size=lambda made: made.bytes,
        )

    @cached_property
    def whole(self) -> WholeProblem:
        """The weights alone."""
        return whole_problem(self.posed, None)

    @property
    def bytes(self) -> int:
        """About what this can come to take."""
        curves = (self.inputs.measured, self.inputs.expected, self.inputs.others)
        sizes = self.classes.sizes.nbytes
        tables = 8 * sizes  # losses and errors, as measured and expected, and wider menus
        others = tables + LAYER_BYTES * len(self.classes.layers) + most_bytes(self.classes) + SOLUTIONS_BYTES + ANSWERS_BYTES
        solved = SOLVER_TABLES * sizes if self.caches is None else self.caches.bytes + SOLUTIONS_BYTES + self._problem_bytes
        return sum(part.bytes for part in curves if part is not None) + others + solved


@final
class Moment:
    """What the models' measurements are as of now, asked once for each: for questions that were asked before, all of them."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._versions: dict[str, tuple[tuple[Any, ...], ...]] = {}

    def version(self, session: Session, model: str) -> tuple[tuple[Any, ...], ...]:
        """As ``measurements_version`` has it."""
        found = self._versions.get(model)
        if found is None:
            found = self._versions[model] = measurements_version(session, model)
        return found


def prepare(session: Session, question: Question, moment: Moment | None = None) -> Prepared:
    """What every budget of a question shares, from memory if nothing was measured since.

    Args:
        session: where it is read.
        question: what is asked.
        moment: after the question was asked; by default now.

    Raises:
        NotFoundError: no such model or probe setting.
        InvalidRequestError: rules that contradict each other or the model, curves that nobody measured.
    """
    version = (moment or Moment()).version(session, question.model)
    model = str(version[0][0]) if version else question.model  # a model that is not there is missed where it is read
    asked = question.model_dump_json(include=set(_FIELDS))
    return Database.of(session).memory.recall(
        ("question", model, asked),
        lambda: _prepare(session, model, question, version),
        size=lambda made: made.bytes + QUESTION_TIMES * len(asked),
        version=version,
    )


def _prepare(session: Session, model: str, question: Question, version: Hashable) -> Prepared:
    selected = select_layers(session, model, question)
    inputs = load_inputs(session, selected, question, version)
    classes = legal_classes(selected, question, [fmt.name for fmt in inputs.curves.formats], inputs)
    own = replace(selected, model=_copy(selected.model)), replace(inputs, setting=_copy(inputs.setting))
    caches = None if question.kv_formats is None else load_cache_inputs(session, selected, question, inputs.setting)
    return Prepared(question, *own, classes, caches)


def _copy(row: RowT) -> RowT:
    """The same facts in a row that no session knows: one that is remembered must not expire with somebody's transaction."""
    mapper = inspect(type(row))
    return type(row)(**{column.key: getattr(row, column.key) for column in mapper.column_attrs})
