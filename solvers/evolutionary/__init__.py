"""Evolution of a choice by a measured fitness (EvoPress), exact in its budgets and resumed bit for bit."""

from solvers.errors import CheckpointError, FitnessError
from solvers.evolutionary.allowance import Allowance, Ending
from solvers.evolutionary.checkpoint import Checkpoint
from solvers.evolutionary.fitness import AdditiveFitness, Fitness, Sample
from solvers.evolutionary.mutation import Mutation
from solvers.evolutionary.schedule import Generation, Schedule
from solvers.evolutionary.solver import Evolution, Evolutionary
from solvers.evolutionary.stages import EVOPRESS, Stage

__all__ = [
    "EVOPRESS",
    "AdditiveFitness",
    "Allowance",
    "Checkpoint",
    "CheckpointError",
    "Ending",
    "Evolution",
    "Evolutionary",
    "Fitness",
    "FitnessError",
    "Generation",
    "Mutation",
    "Sample",
    "Schedule",
    "Stage",
]
