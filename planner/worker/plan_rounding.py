"""Rounding as a plan's curves did it: the same method, on the same calibration set."""

from collections.abc import Mapping, Sequence

from planner.services.curve_rounding import CurveRounding
from planner.worker.loaded_models import LoadedModels
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.layer_rounding import LayerRounding
from sensitivity.rounding_facts import get_rounding_facts


def plan_rounding(
    models: LoadedModels,
    model_id: str,
    rounding: CurveRounding,
    assignments: Sequence[Mapping[str, CandidateFormat]],
) -> LayerRounding:
    """The cells of these assignments, rounded once and kept where the method looks at data.

    Args:
        models: where the model and the tokens come from.
        model_id: fingerprint of a registered model.
        rounding: method and calibration set of the curves.
        assignments: layer name to format.

    Raises:
        NotFoundError: the model or the calibration set was deleted.
        CalibrationError: the method needs a calibration set and none is known.
        FormatError: no such method.
    """
    tokens = None
    if get_rounding_facts(rounding.method).needs_inputs and rounding.calibration_id is not None:
        tokens = models.tokens(model_id, rounding.calibration_id).calibration
    return LayerRounding.of_assignments(models.get(model_id), rounding.method, assignments, tokens=tokens)
