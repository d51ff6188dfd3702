"""How the weights behind a plan's curves were rounded: what is evaluated and written must be rounded likewise."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from planner.errors import ConflictError
from planner.schemas.plans import PlanDocument
from planner.storage.tables import ProbeSettingRow
from sensitivity.rounding_facts import get_rounding_facts


@dataclass(frozen=True, slots=True)
class CurveRounding:
    """A rounding method and its data.

    Attributes:
        method: name of the method.
        calibration_id: calibration set of the curves; a method that looks at inputs looked at these.
    """

    method: str
    calibration_id: str | None


def curve_rounding(session: Session, document: PlanDocument) -> CurveRounding:
    """The rounding of a plan's curves.

    Raises:
        ConflictError: they were rounded by another version of the method than this program has.
        FormatError: a method that this program does not have.
    """
    provenance = document.provenance
    facts = get_rounding_facts(provenance.rounding)
    setting = session.get(ProbeSettingRow, provenance.setting)
    if setting is not None and setting.rounding_version != facts.version:
        msg = (
            f"the curves of plan {document.id!r} were rounded by version {setting.rounding_version} of {facts.name!r}, and this "
            f"program has version {facts.version}: measure the model again and make a new plan"
        )
        raise ConflictError(msg)
    return CurveRounding(facts.name, provenance.calibration)
