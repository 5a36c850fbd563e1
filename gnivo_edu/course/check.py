"""Checks for the student's functions: `check.NAME(your_function)` prints one line, or says what is
wrong and why.

>>> from gnivo_edu.course import check
>>> check.sequence_logprob.hint()
Hint 1 of 3: An answer's probability is a product of choices. What does a logarithm make of a product?
>>> check.sequence_logprob(lambda logps, tokens, length: logps[range(length), tokens[:length]].sum())
Correct. sequence_logprob gives the right answer in 13 cases: it adds up every choice, the end token included, ...

Each of them also has `.statement`, `.hint()`, one hint further at every call, and `.solution()`.
numpy only."""

from gnivo_edu.course.exercises.alpha_for_kl_budget import EXERCISE as alpha_for_kl_budget
from gnivo_edu.course.exercises.answer_logps import EXERCISE as answer_logps
from gnivo_edu.course.exercises.answer_mask import EXERCISE as answer_mask
from gnivo_edu.course.exercises.base import CheckFailed
from gnivo_edu.course.exercises.best_of_k_law import EXERCISE as best_of_k_law
from gnivo_edu.course.exercises.enumerate_leaves import EXERCISE as enumerate_leaves
from gnivo_edu.course.exercises.frozen_group_mean import EXERCISE as frozen_group_mean
from gnivo_edu.course.exercises.gae import EXERCISE as gae
from gnivo_edu.course.exercises.gnivo_gradient_weights import EXERCISE as gnivo_gradient_weights
from gnivo_edu.course.exercises.gnivo_loss import EXERCISE as gnivo_loss
from gnivo_edu.course.exercises.gnivo_loss_unequal_lengths import (
    EXERCISE as gnivo_loss_unequal_lengths,
)
from gnivo_edu.course.exercises.grpo_advantage import EXERCISE as grpo_advantage
from gnivo_edu.course.exercises.grpo_one_step_law import EXERCISE as grpo_one_step_law
from gnivo_edu.course.exercises.gvpo_loss import EXERCISE as gvpo_loss
from gnivo_edu.course.exercises.kl_in_the_loss import EXERCISE as kl_in_the_loss
from gnivo_edu.course.exercises.log_z import EXERCISE as log_z
from gnivo_edu.course.exercises.monte_carlo_value import EXERCISE as monte_carlo_value
from gnivo_edu.course.exercises.optimal_prefix_logps import EXERCISE as optimal_prefix_logps
from gnivo_edu.course.exercises.optimal_step_logps import EXERCISE as optimal_step_logps
from gnivo_edu.course.exercises.paired_interval import EXERCISE as paired_interval
from gnivo_edu.course.exercises.pass_at_k import EXERCISE as pass_at_k
from gnivo_edu.course.exercises.pin_the_shift import EXERCISE as pin_the_shift
from gnivo_edu.course.exercises.prefix_logratio import EXERCISE as prefix_logratio
from gnivo_edu.course.exercises.prune_row import EXERCISE as prune_row
from gnivo_edu.course.exercises.rank_correlation import EXERCISE as rank_correlation
from gnivo_edu.course.exercises.rloo_advantage import EXERCISE as rloo_advantage
from gnivo_edu.course.exercises.rows_that_fit import EXERCISE as rows_that_fit
from gnivo_edu.course.exercises.sequence_logprob import EXERCISE as sequence_logprob
from gnivo_edu.course.exercises.shift_and_spread import EXERCISE as shift_and_spread
from gnivo_edu.course.exercises.soft_value_backup import EXERCISE as soft_value_backup
from gnivo_edu.course.exercises.stale_kl_in_the_loss import EXERCISE as stale_kl_in_the_loss
from gnivo_edu.course.exercises.step_credit import EXERCISE as step_credit
from gnivo_edu.course.exercises.success_probability import EXERCISE as success_probability
from gnivo_edu.course.exercises.tilted_policy import EXERCISE as tilted_policy
from gnivo_edu.course.exercises.two_pass_gradient import EXERCISE as two_pass_gradient
from gnivo_edu.course.exercises.value_by_averaging import EXERCISE as value_by_averaging
from gnivo_edu.course.exercises.vimpo_residual import EXERCISE as vimpo_residual

__all__ = [
    "CheckFailed",
    "alpha_for_kl_budget",
    "answer_logps",
    "answer_mask",
    "best_of_k_law",
    "enumerate_leaves",
    "frozen_group_mean",
    "gae",
    "gnivo_gradient_weights",
    "gnivo_loss",
    "gnivo_loss_unequal_lengths",
    "grpo_advantage",
    "grpo_one_step_law",
    "gvpo_loss",
    "kl_in_the_loss",
    "log_z",
    "monte_carlo_value",
    "optimal_prefix_logps",
    "optimal_step_logps",
    "paired_interval",
    "pass_at_k",
    "pin_the_shift",
    "prefix_logratio",
    "prune_row",
    "rank_correlation",
    "rloo_advantage",
    "rows_that_fit",
    "sequence_logprob",
    "shift_and_spread",
    "soft_value_backup",
    "stale_kl_in_the_loss",
    "step_credit",
    "success_probability",
    "tilted_policy",
    "two_pass_gradient",
    "value_by_averaging",
    "vimpo_residual",
]
