"""The exercises, one file each, in the order of the course."""

from gnivo_edu.course.exercises import (
    alpha_for_kl_budget,
    enumerate_leaves,
    gnivo_gradient_weights,
    gnivo_loss,
    gnivo_loss_unequal_lengths,
    log_z,
    optimal_prefix_logps,
    optimal_step_logps,
    pin_the_shift,
    prefix_logratio,
    sequence_logprob,
    shift_and_spread,
    soft_value_backup,
    step_credit,
    success_probability,
    tilted_policy,
    value_by_averaging,
)
from gnivo_edu.course.exercises.base import Case, CheckFailed, Exercise

__all__ = ["Case", "CheckFailed", "Exercise", "all"]


def all() -> tuple[Exercise, ...]:
    """Every exercise, in the order of the course.

    >>> [exercise.name for exercise in all()][:3]
    ['sequence_logprob', 'enumerate_leaves', 'log_z']
    """
    modules = (
        sequence_logprob,
        enumerate_leaves,
        log_z,
        tilted_policy,
        soft_value_backup,
        value_by_averaging,
        optimal_prefix_logps,
        step_credit,
        success_probability,
        optimal_step_logps,
        alpha_for_kl_budget,
        prefix_logratio,
        gnivo_loss,
        gnivo_gradient_weights,
        shift_and_spread,
        pin_the_shift,
        gnivo_loss_unequal_lengths,
    )
    return tuple(module.EXERCISE for module in modules)
