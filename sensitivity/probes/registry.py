"""All probes, found by name."""

from typing import Any

from sensitivity.probe_facts import get_facts
from sensitivity.probes.base import AbstractProbe
from sensitivity.probes.compactness import Compactness
from sensitivity.probes.coverage import Coverage
from sensitivity.probes.energy_gain import EnergyGain
from sensitivity.probes.fisher import Fisher
from sensitivity.probes.fisher_interaction import FisherInteraction
from sensitivity.probes.hessian_trace import HessianTrace
from sensitivity.probes.kl import KLDivergence
from sensitivity.probes.kurtosis import Kurtosis
from sensitivity.probes.kv_cache import KVCache
from sensitivity.probes.linearity import Linearity
from sensitivity.probes.marginal import Marginal
from sensitivity.probes.orthogonality import Orthogonality
from sensitivity.probes.output_error import OutputError
from sensitivity.probes.perplexity_drop import PerplexityDrop
from sensitivity.probes.router_flips import RouterFlips
from sensitivity.probes.routing import Routing
from sensitivity.probes.salience import Salience
from sensitivity.probes.weight_error import WeightError

_PROBES: dict[str, type[AbstractProbe[Any]]] = {
    probe.facts.name: probe
    for probe in (
        Fisher,
        KLDivergence,
        OutputError,
        WeightError,
        HessianTrace,
        Linearity,
        FisherInteraction,
        KVCache,
        Salience,
        Orthogonality,
        PerplexityDrop,
        Compactness,
        EnergyGain,
        Kurtosis,
        Coverage,
        Marginal,
        Routing,
        RouterFlips,
    )
}


def probes() -> tuple[str, ...]:
    """Names of all probes."""
    return tuple(_PROBES)


def get_probe(name: str, **parameters: float | int | str) -> AbstractProbe[Any]:
    """The probe of that name with these hyper-parameters; those not given have their defaults.

    Raises:
        UnknownProbeError: no such probe (the message lists those that exist), or a hyper-parameter that it does not have.
    """
    facts = get_facts(name)
    return _PROBES[name](**facts.parameters_with(parameters))
