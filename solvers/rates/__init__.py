"""Continuous bits: water-filling, curves and their fits, whole bits from a menu."""

from solvers.rates.closed_form import ClosedForm
from solvers.rates.components import Components
from solvers.rates.water_filling import WaterFilling, water_fill

__all__ = ["ClosedForm", "Components", "WaterFilling", "water_fill"]
