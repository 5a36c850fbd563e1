"""Training, with the exact answer key alongside; and the gradient of a whole group, in micro-batches."""

from gnivo_edu.training.algorithm1 import TrainingRecord, TrainingRun, distance_from_key, train
from gnivo_edu.training.rounds import ExactRound, exact_rounds
from gnivo_edu.training.two_pass import Coefficients, backward, coefficients, two_pass_step

__all__ = [
    "Coefficients",
    "ExactRound",
    "TrainingRecord",
    "TrainingRun",
    "backward",
    "coefficients",
    "distance_from_key",
    "exact_rounds",
    "train",
    "two_pass_step",
]
