"""The exercises, one file each, in the order of the course."""

from gnivo_edu.course.exercises import (
    alpha_for_kl_budget,
    answer_logps,
    answer_mask,
    best_of_k_law,
    enumerate_leaves,
    frozen_group_mean,
    gae,
    gnivo_gradient_weights,
    gnivo_loss,
    gnivo_loss_unequal_lengths,
    grpo_advantage,
    grpo_one_step_law,
    gvpo_loss,
    kl_in_the_loss,
    log_z,
    monte_carlo_value,
    optimal_prefix_logps,
    optimal_step_logps,
    paired_interval,
    pass_at_k,
    pin_the_shift,
    prefix_logratio,
    prune_row,
    rank_correlation,
    rloo_advantage,
    rows_that_fit,
    sequence_logprob,
    shift_and_spread,
    soft_value_backup,
    stale_kl_in_the_loss,
    step_credit,
    success_probability,
    tilted_policy,
    two_pass_gradient,
    value_by_averaging,
    vimpo_residual,
)
from gnivo_edu.course.exercises.base import Case, CheckFailed, Exercise

__all__ = ["Case", "CheckFailed", "Exercise", "all", "by_name"]


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
        rloo_advantage,
        grpo_advantage,
        gae,
        gvpo_loss,
        vimpo_residual,
        kl_in_the_loss,
        pass_at_k,
        best_of_k_law,
        frozen_group_mean,
        grpo_one_step_law,
        answer_mask,
        stale_kl_in_the_loss,
        paired_interval,
        answer_logps,
        rank_correlation,
        prune_row,
        monte_carlo_value,
        rows_that_fit,
        two_pass_gradient,
    )
    return tuple(module.EXERCISE for module in modules)


def by_name() -> dict[str, Exercise]:
    """The same by their names."""
    return {exercise.name: exercise for exercise in all()}
