"""The exercises, one file each, in the order of the course."""

from gnivo_edu.course.exercises import enumerate_leaves, sequence_logprob
from gnivo_edu.course.exercises.base import Case, CheckFailed, Exercise

__all__ = ["Case", "CheckFailed", "Exercise", "all"]


def all() -> tuple[Exercise, ...]:
    """Every exercise, in the order of the course.

    >>> [exercise.name for exercise in all()]
    ['sequence_logprob', 'enumerate_leaves']
    """
    return (sequence_logprob.EXERCISE, enumerate_leaves.EXERCISE)
