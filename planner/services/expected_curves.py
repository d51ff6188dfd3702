"""Curves freed of the luck of their measurement: a property of a model's cells in one setting, whoever plans with them."""

from dataclasses import replace

from planner.curves import Curves
from planner.solving.shrinkage import Shrunk, shrink
from sensitivity.formats.candidate import FormatT
from sensitivity.probe_facts import all_probe_facts


def expected_curves(probe: str, curves: Curves[FormatT]) -> tuple[Curves[FormatT], Shrunk | None]:
    """Expected losses and how they came about; the same curves and ``None`` where nothing can be shrunk.

    Args:
        probe: whose cells they are. Its errors must be independent between formats; of other probes nothing is known here.
        curves: all cells of a model in one setting: the more are shrunk together, the more is known of each.
    """
    if not any(facts.name == probe and facts.independent_errors for facts in all_probe_facts()):
        return curves, None
    shrunk = shrink(curves.loss, curves.standard_error)
    if not shrunk.changed.any():
        return curves, None
    return replace(curves, loss=shrunk.loss, standard_error=shrunk.standard_error), shrunk
