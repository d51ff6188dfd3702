"""Devices: memory, rates, measured latencies, and the seconds that layers take on them. No torch here."""

from planner.devices.device import Device
from planner.devices.latency import PICOSECONDS, Phase, kv_picoseconds, latency_table, measured_entries
from planner.devices.profile import Arithmetic, DeviceProfile, Figure, MemoryPool, Trust
from planner.devices.remainder import Remainder, fixed_picoseconds
from planner.devices.table import LatencyEntry, LatencyTable

__all__ = [
    "PICOSECONDS",
    "Arithmetic",
    "Device",
    "DeviceProfile",
    "Figure",
    "LatencyEntry",
    "LatencyTable",
    "MemoryPool",
    "Phase",
    "Remainder",
    "Trust",
    "fixed_picoseconds",
    "kv_picoseconds",
    "latency_table",
    "measured_entries",
]
