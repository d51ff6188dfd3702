"""The probe setting that a sensitivity job measures in: one function for those who ask what is missing and those who measure."""

from collections.abc import Mapping
from typing import Any

from planner.cells import ProbeSetting
from sensitivity.probe_facts import get_facts
from sensitivity.rounding_facts import get_rounding_facts


def setting_of(payload: Mapping[str, Any]) -> ProbeSetting:
    """The setting of a sensitivity job's payload.

    Hyper-parameters are completed with the probe's defaults, so that naming a default is not another setting; the seed
    counts for probes that draw, and the calibration set for probes and rounding methods that look at it.

    Raises:
        UnknownProbeError: no such probe, or a parameter that it does not have.
        FormatError: no such rounding method.
    """
    facts = get_facts(payload["probe"])
    rounding = get_rounding_facts(payload["rounding"])
    parameters = dict(facts.parameters_with(payload["probe_parameters"]))
    if facts.is_random:
        parameters["seed"] = payload["seed"]
    return ProbeSetting(
        probe=facts.name,
        code_version=facts.code_version,
        rounding=rounding.name,
        rounding_version=rounding.version,
        calibration_id=payload["calibration_id"] if facts.needs_calibration or rounding.needs_inputs else None,
        parameters=parameters,
        in_nats=facts.in_nats,
        additive=facts.additive,
    )
