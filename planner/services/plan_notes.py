"""What is worth knowing beside an answer, whether it is kept or only looked at."""

import numpy as np

from planner.curves import Curves
from planner.runtimes import get_runtime
from planner.services.caveats import notes_on_luck
from planner.services.file_sizes import note_on_files
from planner.services.metering import note_on_seconds
from planner.services.plan_documents import Answered
from planner.solving import Smallest
from sensitivity.statistics import CellStatus


def plan_notes(answered: Answered) -> list[str]:
    """Of its curves, their errors and their luck, its seconds, its being the smallest, and its files."""
    asked, found, inputs = answered.asked, answered.found, answered.inputs
    request, selected = answered.request, answered.selected
    return [
        *asked.whole.curves.notes,
        *_notes_on_errors(inputs.curves, request.caution),
        *notes_on_luck(inputs),
        *note_on_seconds(asked.meters, [limit.budget for limit in asked.limits], answered.of_weights, found.places),
        *_notes_on_smallest(found.smallest),
        *note_on_files(
            selected.model,
            get_runtime(request.runtime),
            request.budget,
            known=selected.footprint.container_bytes is not None,
        ),
    ]


def _notes_on_errors(curves: Curves, caution: float) -> list[str]:
    """What a cautious plan should know of the standard errors; nothing without caution."""
    if caution == 0:
        return []
    measured = curves.status == CellStatus.MEASURED
    unknown = int((measured & ~np.isfinite(curves.standard_error)).sum())
    if unknown == 0:
        return []
    whole = "all of them: caution changes nothing" if unknown == int(measured.sum()) else "caution takes them as sure"
    return [f"{unknown} cells have no standard error; {whole}"]


def _notes_on_smallest(smallest: Smallest | None) -> list[str]:
    if smallest is None or smallest.is_proven:
        return []
    bits, least = smallest.solved.size_bits, smallest.least_bits
    return [
        f"not proven to be the smallest plan of this loss: none of fewer than {least:,} bits keeps it, but whether one of up to "
        f"its own {bits:,} ({(bits - least) / bits:.1%} of them) does was not decided in time: raise deadline_seconds"
    ]
