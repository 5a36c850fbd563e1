"""What every step of a real answer was worth: implicit values, Monte-Carlo values and exact ones,
side by side.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

from gnivo_edu.evaluation.step_values.asked import Asked, Row
from gnivo_edu.evaluation.step_values.continuations import Budget
from gnivo_edu.evaluation.step_values.estimate import Estimate, estimate_value, known
from gnivo_edu.evaluation.step_values.from_critic import critic_values
from gnivo_edu.evaluation.step_values.from_trees import exact_values
from gnivo_edu.evaluation.step_values.notes import ABOUT_CRITIC, notes_of
from gnivo_edu.evaluation.step_values.record import AnswerValues, StepValues, step_boundaries
from gnivo_edu.evaluation.step_values.samples import Samples, draw_samples
from gnivo_edu.exact import Array, check_alpha
from gnivo_edu.policies.critic import Critic
from toy_envs import TokenMDP

MAX_SEQUENCES = 2**16  # tasks up to this size are enumerated


@torch.no_grad()
def step_values(
    policy: nn.Module,
    reference: nn.Module,
    task: Any,
    prompt_index: int = 0,
    group_size: int = 4,
    *,
    alpha: float,
    continuations: int = 16,
    answers: Sequence[Sequence[int]] | None = None,
    top_k: int | None = 4,
    tree_horizon: int = 6,
    max_sequences: int = MAX_SEQUENCES,
    level: float = 0.95,
    seed: int = 0,
    max_rows: int = 64,
    policy_name: str = "the policy",
    reference_name: str = "the initial model",
    critic: Critic | None = None,
    temperature: float = 1.0,
    seconds: float | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> StepValues:
    """The value of every prefix of K answers to one prompt, found in up to three ways, all in nats,
    float64; and what a learned `critic` of the policy says there, over alpha.

        implicit      V(s_t) = log pi(s_t)/pi_ref(s_t) + log Z
        Monte-Carlo   V(s_t) = log mean e^{R/alpha}, over `continuations` of the reference
        exact         V(s_t) = log E_ref[e^{R/alpha} given s_t]

    The implicit credit of token t is log pi/pi_ref of that token; a Monte-Carlo value has an
    interval; the exact value is that of the whole task, or of a pruned tree (see below).

    The implicit value is V of the problem (pi_ref, R, alpha) if the policy is optimal for it, pi =
    pi*; for any other policy it is the value that this policy acts on. The policy fixes it up to
    log Z, one number for the whole prompt: the exact one where the task can be enumerated, else an
    estimate from the group and the fresh answers of the reference together, `estimate_log_z`. The
    credits do not depend on it; over an answer they sum to its log-ratio.

    Monte-Carlo values stand at the ends of steps (`task.step_ids`). The interval holds the exact V
    with chance `level`, roughly, at each place by itself. The log of a mean is too low on average;
    `Estimate.bias` says by how much. A complete answer has V = R/alpha, no samples.

    `task` is a token MDP with prompts, rewards and (for a text) a tokenizer, as those of
    `tasks.get` and of `toy_envs`. `answers` are token ids of complete answers, K >= 1; by default
    `group_size` are drawn from the policy. A task of up to `max_sequences` sequences is enumerated;
    a text gets the tree of the reference's `top_k` tokens for `tree_horizon` steps instead, whose
    values are those of the pruned reference (None for none). At most `max_rows` rows at a time;
    every continuation has its own random stream, so that `seed` fixes the result. `temperature`
    belongs to both models: they write and are read at it. With `seconds`, more continuations are
    drawn where intervals are widest until so many have passed since the call; how many then depends
    on the machine. `say` is told of the progress.

    Raises ValueError, in one line, on a group or a number of continuations below 2, alpha <= 0,
    answers that are not complete or that the policy or the reference cannot write, and a prompt
    that is not there.

    >>> from gnivo_edu import exact
    >>> from gnivo_edu.policies import TabularLM
    >>> from toy_envs import PosterProblem
    >>> problem = PosterProblem()
    >>> optimal = exact.solve(exact.enumerate_tree(problem), alpha=0.5).optimal_step_logps
    >>> policy, reference = TabularLM.from_tables(problem, optimal), TabularLM.from_mdp(problem)
    >>> late = [problem.examples["wrong late"]]
    >>> answer = step_values(policy, reference, problem, alpha=0.5, answers=late).answers[0]
    >>> answer.step_credits.round(2)
    array([ 0.01,  0.03,  0.15,  0.06,  0.13,  0.06, -1.97])
    >>> bool(np.allclose(answer.implicit_values, answer.exact_values))
    True
    """
    alpha = check_alpha(alpha)
    if continuations < 2 or (answers is None and group_size < 2) or max_rows < 1:
        raise ValueError(
            f"need at least 2 answers, 2 continuations and 1 row at a time, got {group_size}, "
            f"{continuations}, {max_rows}: an interval needs a spread"
        )
    count = len(task.prompts())
    if not 0 <= prompt_index < count:
        raise ValueError(f"prompt_index must be in 0..{count - 1}, got {prompt_index}")
    if seconds is not None and not 0 < seconds < math.inf:
        raise ValueError(f"seconds must be a number above 0, got {seconds}")
    budget = Budget(alpha=alpha, level=level, seconds=seconds, say=say)
    asked = Asked(task, prompt_index, seed=seed, max_rows=max_rows, temperature=temperature)
    say("drawing answers")
    if answers is None:
        group = asked.after(policy, [()], count=group_size, step=0)[()]
    else:
        group = asked.given(answers)
    # The tree is counted before the continuations, which may take what is left of the seconds.
    say("counting where values are exact")
    tree, exact_lines, note = exact_values(
        reference,
        task,
        prompt_index=prompt_index,
        answers=group,
        alpha=alpha,
        top_k=top_k,
        tree_horizon=tree_horizon,
        max_sequences=max_sequences,
        reference_name=reference_name,
        temperature=temperature,
    )
    samples = draw_samples(
        asked,
        policy,
        reference=reference,
        group=group,
        drawn_by_policy=answers is None,
        continuations=continuations,
        names=(policy_name, reference_name),
        budget=budget,
    )
    estimates = {
        prefix: estimate_value(rewards, alpha, level=level, binary=samples.binary)
        for prefix, rewards in samples.rewards_after.items()
    }
    log_z = samples.log_z(alpha, level)
    learned: list[Array] | list[None] = [None] * len(samples.group)
    if critic is not None:
        learned = critic_values(
            critic,
            policy,
            task=task,
            answers=samples.group,
            rewards=samples.rewards,
            alpha=alpha,
            prompt_index=prompt_index,
        )
    pinned = tree is not None and tree.kind == "full"
    pin = tree.log_z if tree is not None and pinned else log_z.value
    # Of a complete answer V = R/alpha is known; what was sampled tells V of its beginnings.
    values = estimates | {
        row: known(reward / alpha)
        for row, reward in zip(samples.group, samples.rewards.tolist(), strict=True)
    }
    one_model = policy is reference
    notes = notes_of(
        one_model=one_model, pinned=pinned, log_z=log_z, estimates=estimates, level=level
    )
    if critic is not None:
        notes.append(ABOUT_CRITIC)
    return StepValues(
        policy=policy_name,
        reference=reference_name,
        alpha=alpha,
        prompt=task.prompt_text(prompt_index),
        prompt_index=prompt_index,
        level=level,
        seed=seed,
        binary_reward=samples.binary,
        log_z=log_z,
        exact=tree,
        answers=tuple(
            replace(
                _answer(task, samples, k=k, pin=pin, values=values, exact_line=line),
                critic_value=learned[k],
            )
            for k, line in enumerate(exact_lines)
        ),
        notes=(*notes, note),
        temperature=temperature,
        one_model=one_model,
        all_alike=samples.all_alike,
    )


def special_places(task: TokenMDP, row: Row) -> tuple[int, ...]:
    """Positions of end tokens and of the tokenizer's special ones, which show their name."""
    special = set(task.eos_token_ids)
    if task.tokenizer is not None:
        special.update(task.tokenizer.all_special_ids)
    return tuple(t for t, token in enumerate(row) if token in special)


def _answer(
    task: TokenMDP,
    samples: Samples,
    k: int,
    pin: float,
    values: dict[Row, Estimate],
    exact_line: Array | None,
) -> AnswerValues:
    """Answer k of the group; `values`: of its beginnings and of itself."""
    row, ids = samples.group[k], samples.steps[k]
    credits = samples.policy_logps[k] - samples.reference_logps[k]
    ends = step_boundaries(ids).tolist()
    special = special_places(task, row)
    texts = tuple(
        text or task.vocabulary[token]
        for text, token in zip(task.token_texts(row), row, strict=True)
    )
    if task.tokenizer is None and len(ends) <= len(row):
        # Words of a toy environment: it knows how to join them.
        steps = [task.decode(row[a:b]) for a, b in pairwise(ends)]
    else:
        steps = [
            "".join(texts[t] for t in range(a, b) if t not in special or b == a + 1)
            for a, b in pairwise(ends)
        ]
    first = samples.group.index(row)
    return AnswerValues(
        tokens=row,
        texts=texts,
        special=special,
        text=str(task.decode(row)),
        reward=float(samples.rewards[k]),
        truncated=bool(task.eos_token_ids) and row[-1] not in task.eos_token_ids,
        credits=credits,
        implicit_values=pin + np.concatenate([[0.0], credits.cumsum()]),
        step_ids=ids,
        step_texts=tuple(steps),
        monte_carlo=tuple(values[row[:t]] for t in ends),
        exact_values=exact_line,
        characters=_characters(task.token_texts(row), special),
        same_as=None if first == k else first,
    )


def _characters(pieces: Sequence[str], special: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Runs (start, stop) of tokens that together hold whole characters: a token that adds no text
    goes with the next one that does.
    """
    stops = [t + 1 for t, piece in enumerate(pieces) if piece or t in special]
    if not stops or stops[-1] < len(pieces):
        stops.append(len(pieces))
    return tuple(pairwise([0, *stops]))
