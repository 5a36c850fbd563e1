"""Training, with the exact answer key alongside."""

from gnivo_edu.training.algorithm1 import TrainingRecord, TrainingRun, distance_from_key, train
from gnivo_edu.training.rounds import ExactRound, exact_rounds

__all__ = ["ExactRound", "TrainingRecord", "TrainingRun", "distance_from_key", "exact_rounds", "train"]
