"""Candidate formats, runtimes and probes."""

from fastapi import APIRouter

from planner.schemas.catalogue import CacheFormatList, FormatList, ProbeList, RuntimeList
from planner.services import catalogue

router = APIRouter(prefix="/v1", tags=["catalogue"])


@router.get("/formats")
def list_formats() -> FormatList:
    """Every candidate format, fewest bits first."""
    return catalogue.list_formats()


@router.get("/cache-formats")
def list_cache_formats() -> CacheFormatList:
    """Every format of the keys and of the values in the KV cache, fewest bits first."""
    return catalogue.list_cache_formats()


@router.get("/runtimes")
def list_runtimes() -> RuntimeList:
    """Engines that may serve a plan, and what they accept."""
    return catalogue.list_runtimes()


@router.get("/probes")
def list_probes() -> ProbeList:
    """Measurement procedures with their default hyper-parameters."""
    return catalogue.list_probes()
