"""What planning must know of rounding methods without torch. Each method carries its own entry of this file."""

from dataclasses import dataclass

from sensitivity.errors import FormatError


@dataclass(frozen=True, slots=True)
class RoundingFacts:
    """One rounding method, as planning sees it.

    Attributes:
        name: key in the registry and in the cells.
        version: raised whenever the numbers would change, also with the default of a hyper-parameter; part of a cell's identity.
        needs_inputs: the method looks at the layer's inputs, so it runs on a calibration set, which is then part of a cell's
            identity whatever the probe.
    """

    name: str
    version: int
    needs_inputs: bool = False


RTN = RoundingFacts("rtn", version=1)
RTN_CLIP = RoundingFacts("rtn_clip", version=1)
RTN_DIAGONAL = RoundingFacts("rtn_diagonal", version=1, needs_inputs=True)
GPTQ = RoundingFacts("gptq", version=1, needs_inputs=True)

_FACTS = {facts.name: facts for facts in (RTN, RTN_CLIP, RTN_DIAGONAL, GPTQ)}


def all_rounding_facts() -> tuple[RoundingFacts, ...]:
    """Every rounding method, the plainest first."""
    return tuple(_FACTS.values())


def get_rounding_facts(name: str) -> RoundingFacts:
    """Facts of the rounding method of that name.

    Raises:
        FormatError: no such method; the message lists those that exist.
    """
    try:
        return _FACTS[name]
    except KeyError:
        msg = f"unknown rounding method {name!r}: use one of {', '.join(_FACTS)}"
        raise FormatError(msg) from None
