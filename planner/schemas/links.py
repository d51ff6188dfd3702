"""Requests and documents of links between probes."""

from typing import Annotated

from pydantic import Field

from planner.schemas.base import Schema

ProbeName = Annotated[str, Field(min_length=1, max_length=60, examples=["fisher"])]
SettingId = Annotated[str, Field(min_length=1, max_length=64)]


class LinkedProbes(Schema):
    """A cheap probe and an exact one."""

    source: Annotated[ProbeName, Field(description="the cheap probe, measured for all cells")] = "fisher"
    target: Annotated[ProbeName, Field(description="the exact probe, measured for some cells")] = "kl"
    source_setting: Annotated[
        SettingId | None, Field(description="id of the source's probe setting; by default the freshest of the probe")
    ] = None
    rounding: Annotated[
        str | None,
        Field(min_length=1, max_length=60, description="rounding method of both; by default that of the freshest source"),
    ] = None
    shrinkage: Annotated[
        bool,
        Field(description="link the source's expected losses, freed of the luck of their measurement, where its errors allow it"),
    ] = True
    seed: Annotated[int, Field(ge=0, le=2**63 - 1, description="seed of the cross-validation and of every draw")] = 0


class LinkRequest(LinkedProbes):
    """Link a cheap probe to exact cells and store the result as a probe setting of its own."""

    target_setting: Annotated[
        SettingId | None,
        Field(description="id of the target's probe setting; by default the freshest, on the source's text if there is one"),
    ] = None


class HeldOutFigures(Schema):
    """How well cells are foretold that had no part in the fit."""

    r2: Annotated[float, Field(description="share of the variance of ln(exact) that is foretold; below 0: the mean says more")]
    median_error: Annotated[float, Field(description="median of |foretold/exact − 1|")]
    p90_error: Annotated[float, Field(description="90th percentile of |foretold/exact − 1|")]


class LinkFigures(Schema):
    """A link and its quality."""

    family: Annotated[
        str,
        Field(
            description="shape in logarithms: identity, scale, power (each format with a factor of its own where it ends in "
            "_by_format) or isotonic"
        ),
    ]
    slope: Annotated[float, Field(description="exponent of the power law, of an isotonic link beyond its knots")]
    knots: Annotated[list[tuple[float, float]], Field(description="(ln source, ln target) through which it goes")]
    offsets: Annotated[dict[str, float], Field(description="format → what is added to ln target for it")]
    residual_deviation: Annotated[
        float, Field(description="standard deviation of single cells around the link, in ln, beside their own errors")
    ]
    pairs: Annotated[int, Field(description="cells that it was fitted on")]
    r2: Annotated[float, Field(description="of the fit, in logarithms")]
    spearman: Annotated[float | None, Field(description="rank correlation of source and target on these cells")]
    kendall: Annotated[float | None, Field(description="Kendall's τ-b, likewise")]
    held_out: Annotated[HeldOutFigures, Field(description="by cross-validation, the choice of the shape included")]
    identity: Annotated[
        HeldOutFigures | None, Field(description="the same for the source's losses as they are; null where their unit is another")
    ]


class LinkDocument(Schema):
    """A link that was stored: a probe setting with cells of its own."""

    model: Annotated[str, Field(description="id of the model")]
    setting: Annotated[str, Field(description="id of the new probe setting")]
    probe: Annotated[str, Field(description="its probe: calibrated_ and the name of the source")]
    source: Annotated[str, Field(description="id of the source's probe setting")]
    target: Annotated[str, Field(description="id of the target's probe setting")]
    link: Annotated[LinkFigures, Field(description="the link")]
    exact_cells: Annotated[int, Field(description="cells taken over from the target")]
    linked_cells: Annotated[int, Field(description="cells that the link foretells")]
    notes: Annotated[list[str], Field(description="what is worth knowing")]
