"""What planning and the API must know of probes without torch. Each probe class carries its own entry of this file."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sensitivity.errors import UnknownProbeError
from sensitivity.formats.abstract import FormatFamily

ParameterValue = float | int | str


@dataclass(frozen=True, slots=True)
class Parameter:
    """A hyper-parameter that changes a probe's numbers.

    Attributes:
        default: value if none is given; a given value has the same type.
        choices: the only values allowed; empty for any.
        minimum: least value allowed; ``None`` for any.
    """

    default: ParameterValue
    choices: tuple[ParameterValue, ...] = ()
    minimum: float | None = None

    def refusal(self, value: object) -> str | None:
        """Why the value cannot be used, or ``None`` if it can."""
        if type(value) is not type(self.default):
            return f"must be of type {type(self.default).__name__}, not {type(value).__name__}"
        if self.choices and value not in self.choices:
            return f"must be one of {', '.join(map(str, self.choices))}"
        if self.minimum is not None and isinstance(value, int | float) and not value >= self.minimum:
            return f"must be at least {self.minimum:g}"
        return None


@dataclass(frozen=True, slots=True)
class ProbeFacts:
    """One measurement procedure, as planning sees it.

    Attributes:
        name: key in the registry and in the cells.
        code_version: raised whenever the numbers would change; part of a cell's identity.
        in_nats: the loss is in nats per token.
        additive: losses of different layers may be added.
        needs_calibration: the probe runs on tokens.
        is_random: the probe draws, so its seed is part of a cell's identity.
        is_ranking: the number orders layers; it is no loss, so that nothing can be planned with it.
        formats: what its formats are formats of.
        only_in_blocks: layers outside of the blocks have no number.
        around_plan: it measures changes from a plan, which are no losses by themselves (``bitplan refine``).
        streams: it runs on a model whose blocks are read one at a time, with the same bits.
        independent_errors: a layer's errors in different formats are independent of each other, so that luck can be told from
            truth; not so where all formats meet the same hard sentences.
        holds_cross_terms: a cell is the layer's share while others change too, so what layers do together is in the sum already.
        keeps_products: the score products of all samples are kept beside the cells (``sensitivity.cross_terms``).
        allowed: hyper-parameters by name.
    """

    name: str
    code_version: int
    in_nats: bool
    additive: bool
    needs_calibration: bool
    is_random: bool = False
    is_ranking: bool = False
    formats: FormatFamily = FormatFamily.WEIGHTS
    only_in_blocks: bool = False
    around_plan: bool = False
    streams: bool = False
    independent_errors: bool = False
    holds_cross_terms: bool = False
    keeps_products: bool = False
    allowed: Mapping[str, Parameter] = field(default_factory=dict)

    @property
    def prices_weights(self) -> bool:
        """Weights can be planned with its losses."""
        return self.formats is FormatFamily.WEIGHTS and not self.is_ranking and not self.around_plan

    @property
    def parameters(self) -> dict[str, ParameterValue]:
        """Default hyper-parameters; part of a cell's identity."""
        return {name: parameter.default for name, parameter in self.allowed.items()}

    def parameters_with(self, given: Mapping[str, object]) -> dict[str, ParameterValue]:
        """All hyper-parameters: the given ones, and the defaults of the others.

        Raises:
            UnknownProbeError: a hyper-parameter that the probe does not have, or a value that it does not allow.
        """
        chosen = self.parameters
        for name, value in given.items():
            if name not in self.allowed:
                known = ", ".join(self.allowed) or "none"
                msg = f"the probe {self.name} has no hyper-parameter {name!r}; it has: {known}"
                raise UnknownProbeError(msg)
            reason = self.allowed[name].refusal(value)
            if reason is not None or not isinstance(value, float | int | str):
                msg = f"the hyper-parameter {name} of the probe {self.name} {reason}"
                raise UnknownProbeError(msg)
            chosen[name] = value
        return chosen


ARITHMETICS = ("bfloat16", "float32")

WEIGHT_ERROR = ProbeFacts(
    name="weight_error", code_version=1, in_nats=False, additive=False, needs_calibration=False, streams=True
)
OUTPUT_ERROR = ProbeFacts(
    name="output_error",
    code_version=1,
    in_nats=False,
    additive=False,
    needs_calibration=True,
    streams=True,
    allowed={"arithmetic": Parameter("bfloat16", choices=ARITHMETICS)},
)
FISHER = ProbeFacts(
    name="fisher",
    code_version=1,
    in_nats=True,
    additive=True,
    needs_calibration=True,
    is_random=True,
    streams=True,
    independent_errors=True,
    allowed={"arithmetic": Parameter("bfloat16", choices=ARITHMETICS), "draws": Parameter(1, minimum=1)},
)
FISHER_INTERACTION = ProbeFacts(
    name="fisher_interaction",
    code_version=1,
    in_nats=True,
    additive=True,
    needs_calibration=True,
    is_random=True,
    independent_errors=True,
    keeps_products=True,
    streams=True,
    allowed={"arithmetic": Parameter("bfloat16", choices=ARITHMETICS), "draws": Parameter(4, minimum=1)},
)
COVERAGE = ProbeFacts(
    name="coverage",
    code_version=1,
    in_nats=True,
    additive=True,
    needs_calibration=True,
    holds_cross_terms=True,
    allowed={
        "arithmetic": Parameter("bfloat16", choices=ARITHMETICS),
        "nodes": Parameter(2, minimum=1),
        "headroom": Parameter(10.0, minimum=1.01),
    },
)
MARGINAL = ProbeFacts(
    name="marginal",
    code_version=1,
    in_nats=True,
    additive=True,
    needs_calibration=True,
    is_random=True,
    around_plan=True,
    allowed={"arithmetic": Parameter("bfloat16", choices=ARITHMETICS), "draws": Parameter(1, minimum=1)},
)
KL = ProbeFacts(
    name="kl",
    code_version=1,
    in_nats=True,
    additive=True,
    needs_calibration=True,
    streams=True,
    allowed={"arithmetic": Parameter("bfloat16", choices=ARITHMETICS)},
)
HESSIAN_TRACE = ProbeFacts(
    name="hessian_trace",
    code_version=1,
    in_nats=True,
    additive=True,
    needs_calibration=True,
    is_random=True,
    streams=True,
    allowed={"draws": Parameter(1, minimum=1)},
)
LINEARITY = ProbeFacts(
    name="linearity",
    code_version=1,
    in_nats=True,
    additive=True,
    needs_calibration=True,
    is_random=True,
    streams=True,
    allowed={
        "arithmetic": Parameter("bfloat16", choices=ARITHMETICS),
        "levels": Parameter(3, minimum=1),
        "least": Parameter(0.05, minimum=1e-3),
        "most": Parameter(0.2, minimum=1e-3),
    },
)
KURTOSIS = ProbeFacts(
    name="kurtosis",
    code_version=1,
    in_nats=False,
    additive=False,
    is_ranking=True,
    needs_calibration=False,
    streams=True,
    formats=FormatFamily.ANY,
)
PERPLEXITY_DROP = ProbeFacts(
    name="perplexity_drop",
    code_version=1,
    in_nats=False,
    additive=False,
    is_ranking=True,
    needs_calibration=True,
    streams=True,
    formats=FormatFamily.ANY,
    only_in_blocks=True,
)
COMPACTNESS = ProbeFacts(
    name="compactness",
    code_version=1,
    in_nats=False,
    additive=False,
    is_ranking=True,
    needs_calibration=True,
    is_random=True,
    streams=True,
    formats=FormatFamily.ANY,
    only_in_blocks=True,
)
ENERGY_GAIN = ProbeFacts(
    name="energy_gain",
    code_version=1,
    in_nats=False,
    additive=False,
    is_ranking=True,
    needs_calibration=True,
    is_random=True,
    streams=True,
    formats=FormatFamily.ANY,
    only_in_blocks=True,
    allowed={"directions": Parameter(8, minimum=1)},
)
ORTHOGONALITY = ProbeFacts(
    name="orthogonality",
    code_version=1,
    in_nats=False,
    additive=False,
    is_ranking=True,
    needs_calibration=True,
    streams=True,
    formats=FormatFamily.ANY,
    only_in_blocks=True,
    allowed={"positions": Parameter(128, minimum=1)},
)
SALIENCE = ProbeFacts(
    name="salience",
    code_version=1,
    in_nats=False,
    additive=False,
    is_ranking=True,
    needs_calibration=True,
    allowed={
        "arithmetic": Parameter("bfloat16", choices=ARITHMETICS),
        "rows": Parameter(1.0, choices=(1.0, 0.1, 0.01)),
    },
)
KV_CACHE = ProbeFacts(
    name="kv_cache",
    code_version=1,
    in_nats=True,
    additive=True,
    needs_calibration=True,
    formats=FormatFamily.KV_CACHE,
    streams=True,
    allowed={"arithmetic": Parameter("bfloat16", choices=ARITHMETICS)},
)
ROUTING = ProbeFacts(
    name="routing",
    code_version=1,
    in_nats=False,
    additive=False,
    needs_calibration=True,
    is_ranking=True,
    formats=FormatFamily.ANY,
    only_in_blocks=True,
    streams=True,
)
ROUTER_FLIPS = ProbeFacts(
    name="router_flips",
    code_version=1,
    in_nats=False,
    additive=False,
    needs_calibration=True,
    is_ranking=True,
    only_in_blocks=True,
    streams=True,
    allowed={"arithmetic": Parameter("bfloat16", choices=ARITHMETICS)},
)

_FACTS = {
    facts.name: facts
    for facts in (
        FISHER,
        KL,
        OUTPUT_ERROR,
        WEIGHT_ERROR,
        HESSIAN_TRACE,
        LINEARITY,
        FISHER_INTERACTION,
        KV_CACHE,
        SALIENCE,
        ORTHOGONALITY,
        PERPLEXITY_DROP,
        COMPACTNESS,
        ENERGY_GAIN,
        KURTOSIS,
        COVERAGE,
        MARGINAL,
        ROUTING,
        ROUTER_FLIPS,
    )
}


def all_probe_facts() -> tuple[ProbeFacts, ...]:
    """Every probe."""
    return tuple(_FACTS.values())


def holds_cross_terms(name: str) -> bool:
    """Whether a probe's cells, added up, are the loss of all layers together; false for probes that are not ours."""
    return name in _FACTS and _FACTS[name].holds_cross_terms


def is_ranking(name: str) -> bool:
    """Whether a probe's number orders layers and is no loss; false for probes that are not ours."""
    return name in _FACTS and _FACTS[name].is_ranking


def get_facts(name: str) -> ProbeFacts:
    """Facts of the probe of that name.

    Raises:
        UnknownProbeError: no such probe; the message lists those that exist.
    """
    try:
        return _FACTS[name]
    except KeyError:
        msg = f"unknown probe {name!r}: use one of {', '.join(_FACTS)}"
        raise UnknownProbeError(msg) from None
