"""How far a run's implicit values are from the exact ones, where the task can be enumerated."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from gnivo_edu import exact
from gnivo_edu.evaluation.agreement import agreement_with, answer_keys
from gnivo_edu.policies.cached_rows import eos_ids_of, prompts_of

MAX_SEQUENCES = 2**14  # over all prompts: a fraction of a second on a CPU


def exact_keys(reference: nn.Module, task: Any, alpha: float | None) -> list[exact.Solution]:
    """The answer key of every prompt, or none where there is no alpha, or more than `MAX_SEQUENCES`
    answers.

    >>> from gnivo_edu.policies import TabularLM
    >>> from toy_envs import RandomTree, TokenMDP
    >>> small, large = RandomTree(vocab_size=2, horizon=3), TokenMDP(10, 10)
    >>> len(exact_keys(TabularLM.from_mdp(small), small, alpha=0.5)), exact_keys(TabularLM.from_mdp(small), large, 0.5)
    (1, [])
    """
    ids, mask = prompts_of(task)
    sequences = len(ids) * task.vocab_size**task.horizon
    if (
        alpha is None
        or sequences > MAX_SEQUENCES
        or len(eos_ids_of(task)) > 1
        or not bool(mask.all())
    ):
        return []
    return answer_keys(reference, task, alpha)


def exact_error(policy: nn.Module, task: Any, keys: list[exact.Solution]) -> dict[str, float]:
    """`value/exact_error`: the RMS, nats, of log pi/pi_ref + log Z - V over all prefixes; and the
    rank correlation.

    Reference: the initial model, at the objective's alpha, whatever reference the run itself moves
    to. A run whose reference stays can take it to 0; one whose reference moves passes by.
    """
    if not keys:
        return {}
    found = agreement_with(policy, task, keys)
    measured = {"value/exact_error": found.rms, "value/rank_correlation": found.rank_correlation}
    return {
        name: value for name, value in measured.items() if np.isfinite(value)
    }  # no rank where all are equal
