"""The probe setting that a sensitivity job measures in: one function for those who ask what is missing and those who measure."""

from collections.abc import Mapping
from typing import Any

from planner.cells import ProbeSetting
from planner.storage.operating_points import AROUND, digest
from sensitivity.probe_facts import get_facts
from sensitivity.rounding_facts import get_rounding_facts

REUSED_FROM = "reused_from"
"""Parameter of a setting that names the model whose cells were taken over."""

_REUSE = (REUSED_FROM, "reuse_ratio")


def setting_of(payload: Mapping[str, Any]) -> ProbeSetting:
    """The setting of a sensitivity job's payload.

    Hyper-parameters are completed with the probe's defaults, so that naming a default is not another setting; the seed
    counts for probes that draw, and the calibration set for probes and rounding methods that look at it. Cells that stand beside
    those taken over from another model are in a setting that names that model and the rule.

    Raises:
        UnknownProbeError: no such probe, or a parameter that it does not have.
        FormatError: no such rounding method.
    """
    facts = get_facts(payload["probe"])
    rounding = get_rounding_facts(payload["rounding"])
    parameters = dict(facts.parameters_with(payload["probe_parameters"]))
    if facts.is_random:
        parameters["seed"] = payload["seed"]
    if REUSED_FROM in payload:
        parameters |= {name: payload[name] for name in _REUSE}
    if AROUND in payload:
        parameters[AROUND] = digest(payload[AROUND])
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


def plain_setting_of(payload: Mapping[str, Any]) -> ProbeSetting:
    """The setting of the cells that a job measures, taken by themselves: without those taken over from another model."""
    return setting_of({name: value for name, value in payload.items() if name not in _REUSE})


def settings_of(payload: Mapping[str, Any]) -> tuple[ProbeSetting, ...]:
    """Every setting that the cells of a job belong to, the plain one first."""
    return tuple({setting.id: setting for setting in (plain_setting_of(payload), setting_of(payload))}.values())


def reuse_parameters(model_id: str, ratio: float) -> dict[str, Any]:
    """What the payload of a job says that measures beside cells taken over from another model."""
    return dict(zip(_REUSE, (model_id, ratio), strict=True))
