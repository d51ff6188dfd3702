"""How much memory a probe run will take, from the sizes of the model and of the run alone. No torch here."""

from sensitivity.memory_forecast.totals import PROGRAM_BYTES, MemoryForecast, forecast
from sensitivity.memory_forecast.work import EVALUATED_SEQUENCES, EVALUATION, FEW_CELLS, STREAMED_SEQUENCES, Work, stored_bytes

__all__ = [
    "EVALUATED_SEQUENCES",
    "EVALUATION",
    "FEW_CELLS",
    "PROGRAM_BYTES",
    "STREAMED_SEQUENCES",
    "MemoryForecast",
    "Work",
    "forecast",
    "stored_bytes",
]
