"""Training, with the exact answer key alongside; and the gradient of a whole group, in
micro-batches.
"""

import sys

from gnivo_edu.training import loop
from gnivo_edu.training.algorithm1 import TrainingRecord, TrainingRun, distance_from_key, train
from gnivo_edu.training.config import TrainConfig, load_config
from gnivo_edu.training.critic import load_critic
from gnivo_edu.training.field_gradients import Coefficients, coefficients
from gnivo_edu.training.loop import FineTuned, fine_tune
from gnivo_edu.training.population_fit import FitRecord, PopulationFit, fit_population
from gnivo_edu.training.pretrain import Pretrained, pretrain, pretrain_arithmetic, success_rates
from gnivo_edu.training.rounds import ExactRound, exact_rounds
from gnivo_edu.training.two_pass import backward, two_pass_step

# Scripts that were written when `fine_tune` lived in a module of its name go on finding it there.
sys.modules[__name__ + ".fine_tune"] = loop

__all__ = [
    "Coefficients",
    "ExactRound",
    "FineTuned",
    "FitRecord",
    "PopulationFit",
    "Pretrained",
    "TrainConfig",
    "TrainingRecord",
    "TrainingRun",
    "backward",
    "coefficients",
    "distance_from_key",
    "exact_rounds",
    "fine_tune",
    "fit_population",
    "load_config",
    "load_critic",
    "pretrain",
    "pretrain_arithmetic",
    "success_rates",
    "train",
    "two_pass_step",
]
