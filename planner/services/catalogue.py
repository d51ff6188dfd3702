"""What the service knows by itself: candidate formats, runtimes and probes. Needs no database."""

import dataclasses

from planner.runtimes import RUNTIMES
from planner.schemas.catalogue import (
    CacheFormatDocument,
    CacheFormatList,
    FormatDocument,
    FormatList,
    ProbeDocument,
    ProbeList,
    RuntimeDocument,
    RuntimeList,
)
from sensitivity.formats.candidate import CandidateFormat
from sensitivity.formats.families import DEFAULT_FORMATS
from sensitivity.formats.kv_cache import kv_cache_formats
from sensitivity.formats.registry import all_formats
from sensitivity.probe_facts import all_probe_facts

_EXAMPLE_SHAPE = (4096, 4096)
_EXAMPLE_HEAD = 128


def list_formats() -> FormatList:
    """Every candidate format, fewest bits first."""
    return FormatList(items=[_format_document(candidate) for candidate in all_formats()])


def list_cache_formats() -> CacheFormatList:
    """Every format of the KV cache, fewest bits first."""
    return CacheFormatList(
        items=[
            CacheFormatDocument(effective_bits=fmt.effective_bits(_EXAMPLE_HEAD), **dataclasses.asdict(fmt))
            for fmt in kv_cache_formats()
        ]
    )


def list_runtimes() -> RuntimeList:
    """Every runtime and what it accepts."""
    return RuntimeList(
        items=[
            RuntimeDocument(
                name=profile.name,
                description=profile.description,
                ignore_kinds=sorted(profile.ignore_kinds),
                tied_kinds=[sorted(kinds) for kinds in profile.tied_kinds],
                tie_experts=profile.tie_experts,
                exports=list(profile.exports),
            )
            for profile in RUNTIMES.values()
        ]
    )


def list_probes() -> ProbeList:
    """Every probe with its default hyper-parameters."""
    return ProbeList(
        items=[
            ProbeDocument(
                name=facts.name,
                code_version=facts.code_version,
                in_nats=facts.in_nats,
                additive=facts.additive,
                needs_calibration=facts.needs_calibration,
                is_ranking=facts.is_ranking,
                formats=facts.formats.value,
                default_formats=list(DEFAULT_FORMATS[facts.formats]),
                parameters=dict(facts.parameters),
            )
            for facts in all_probe_facts()
        ]
    )


def _format_document(candidate: CandidateFormat) -> FormatDocument:
    out_features, in_features = _EXAMPLE_SHAPE
    bits = candidate.size_bits(_EXAMPLE_SHAPE)
    return FormatDocument(effective_bits=bits / (out_features * in_features), **dataclasses.asdict(candidate))
