"""Training, with the exact answer key alongside."""

from gnivo_edu.training.algorithm1 import TrainingRecord, TrainingRun, train
from gnivo_edu.training.rounds import ExactRound, exact_rounds

__all__ = ["ExactRound", "TrainingRecord", "TrainingRun", "exact_rounds", "train"]
