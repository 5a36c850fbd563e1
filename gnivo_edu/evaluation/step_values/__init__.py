"""What every step of a real answer was worth: implicit values, Monte-Carlo values and exact ones,
side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gnivo_edu.evaluation.step_values.estimate import (
    Estimate,
    estimate_log_z,
    estimate_value,
    known,
)
from gnivo_edu.evaluation.step_values.from_trees import exact_values
from gnivo_edu.evaluation.step_values.record import AnswerValues, StepValues, step_boundaries
from gnivo_edu.evaluation.step_values.samples import Asked, Row
from gnivo_edu.exact import check_alpha
from gnivo_edu.policies.cached_rows import eos_ids_of, prompts_of
from gnivo_edu.tasks.segment import token_pieces

Array = NDArray[np.float64]
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
) -> StepValues:
    """The value of every prefix of K answers to one prompt, found in up to three ways, all in nats,
    float64.

        implicit      V(s_t) = log pi(s_t)/pi_ref(s_t) + log Z,   credit of token t = log pi/pi_ref of that token
        Monte-Carlo   V(s_t) = log mean e^{R/alpha} over `continuations` fresh ones of the reference, with an interval
        exact         V(s_t) = log E_ref[e^{R/alpha} given s_t], of the whole task, or of a pruned tree (see below)

    The implicit value is V of the problem (pi_ref, R, alpha) if the policy is optimal for it, pi =
    pi*; for any other policy it is the value that this policy acts on. The policy fixes it up to
    log Z, one number for the whole prompt: the exact one where the task can be enumerated, else an
    estimate from the group and the fresh answers of the reference together, `estimate_log_z`. The
    credits do not depend on it; over an answer they sum to its log-ratio.

    Monte-Carlo values stand at the ends of steps (`task.step_ids` where the task has it, else every
    token is a step). The interval holds the exact V with chance `level`, roughly, at each place by
    itself. The log of a mean is too low on average; `Estimate.bias` says by how much. A complete
    answer has V = R/alpha, no samples.

    `task` is a token MDP with prompts, rewards and (for a text) a tokenizer, as those of
    `tasks.get` and of `toy_envs`. `answers` are token ids of complete answers, K >= 1; by default
    `group_size` are drawn from the policy. A task of up to `max_sequences` sequences is enumerated;
    a text gets the tree of the reference's `top_k` tokens for `tree_horizon` steps instead, whose
    values are those of the pruned reference (None for none). At most `max_rows` rows at a time;
    every continuation has its own random stream, so that `seed` fixes the result.

    Raises ValueError, in one line, on a group or a number of continuations below 2, alpha <= 0,
    answers that are not complete or that the policy or the reference cannot write, and a prompt
    that is not there.

    >>> from gnivo_edu import exact
    >>> from gnivo_edu.policies import TabularLM
    >>> from toy_envs import PosterProblem
    >>> problem = PosterProblem()
    >>> optimal = exact.solve(exact.enumerate_tree(problem), alpha=0.5).optimal_step_logps
    >>> policy, reference = TabularLM.from_tables(problem, optimal), TabularLM.from_mdp(problem)
    >>> found = step_values(policy, reference, problem, alpha=0.5, answers=[problem.examples["wrong late"]])
    >>> found.answers[0].step_credits.round(2)
    array([ 0.01,  0.03,  0.15,  0.06,  0.13,  0.06, -1.97])
    >>> bool(np.allclose(found.answers[0].implicit_values, found.answers[0].exact_values))
    True
    """
    alpha, ids = check_alpha(alpha), prompts_of(task)[0]
    if continuations < 2 or (answers is None and group_size < 2) or max_rows < 1:
        raise ValueError(
            f"need at least 2 answers, 2 continuations and 1 row at a time, got {group_size}, "
            f"{continuations}, "
            f"{max_rows}: an interval needs a spread"
        )
    if not 0 <= prompt_index < len(ids):
        raise ValueError(f"prompt_index must be in 0..{len(ids) - 1}, got {prompt_index}")
    asked = Asked(task, prompt_index, seed, max_rows)
    rows = asked.drawn(policy, (), group_size, 0) if answers is None else asked.given(answers)
    steps = [step_ids(task, row) for row in rows]
    rewards = asked.rewards(rows)
    fresh = asked.continued(reference, rows, steps, continuations)
    later = {prefix: asked.rewards(drawn) for prefix, drawn in fresh.items()}
    everything = np.concatenate([rewards, *later.values()])
    binary = bool(np.isin(everything, (0.0, 1.0)).all())

    # log Z: the fresh answers from the empty prefix, and the group if it was drawn from the policy.
    root, own = fresh[()], rows if answers is None else []
    scores = [asked.scores(model, [*rows, *root]) for model in (policy, reference)]
    sums = [np.array([row.sum() for row in score]) for score in scores]
    for name, total in zip((policy_name, reference_name), sums, strict=True):
        if not np.isfinite(total[: len(rows)]).all():
            raise ValueError(
                f"{name} cannot write answer {int(np.argmin(np.isfinite(total)))}: give another one"
            )
    kept = slice(len(rows) - len(own), None)
    ours = np.arange(len(own) + len(root)) < len(own)
    used = np.concatenate([rewards[: len(own)], later[()]])
    log_z = estimate_log_z(used, sums[0][kept], sums[1][kept], ours, alpha, level, binary)

    info, exact_lines, note = exact_values(
        reference,
        task,
        prompt_index,
        rows,
        alpha,
        top_k,
        tree_horizon,
        max_sequences,
        reference_name,
    )
    pin = info.log_z if info is not None and info.kind == "full" else log_z.value
    estimates = {prefix: estimate_value(own, alpha, level, binary) for prefix, own in later.items()}
    found = [
        _answer(
            task,
            row,
            steps[k],
            float(rewards[k]),
            scores[0][k] - scores[1][k],
            pin,
            exact_lines[k],
            alpha,
            estimates,
        )
        for k, row in enumerate(rows)
    ]
    return StepValues(
        policy=policy_name,
        reference=reference_name,
        alpha=alpha,
        prompt=prompt_text(task, prompt_index),
        prompt_index=prompt_index,
        level=level,
        seed=seed,
        binary_reward=binary,
        log_z=log_z,
        exact=info,
        answers=tuple(found),
        notes=(
            *_notes(
                policy is reference,
                info is not None and info.kind == "full",
                log_z,
                estimates,
                level,
            ),
            note,
        ),
    )


def step_ids(task: Any, row: Row) -> NDArray[np.int64]:
    """Step of each token of an answer, int64 [L], by the task, or one step a token."""
    own = getattr(task, "step_ids", None)
    if own is None:
        return np.arange(len(row), dtype=np.int64)
    return np.asarray(own(np.array([row]), np.array([len(row)]))[0], dtype=np.int64)


def token_texts(task: Any, row: Row) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The text of each token of an answer, and the positions of special ones, which show their
    name.
    """
    tokenizer = getattr(task, "tokenizer", None)
    special = set(eos_ids_of(task)) | set(
        tokenizer.all_special_ids if tokenizer is not None else ()
    )
    if tokenizer is not None:
        texts = token_pieces(tokenizer, row)
    elif hasattr(task, "pieces"):
        texts = task.pieces(row)
    elif hasattr(task, "step_text"):
        texts = [task.step_text(row[: t + 1]) for t in range(len(row))]
    else:
        texts = [task.vocabulary[token] for token in row]
    places = tuple(t for t, token in enumerate(row) if token in special)
    return tuple(text or task.vocabulary[row[t]] for t, text in enumerate(texts)), places


def prompt_text(task: Any, prompt_index: int) -> str:
    """What is asked, as text."""
    if hasattr(task, "prompt_text"):
        return str(task.prompt_text(prompt_index))
    own = getattr(task, "question", getattr(task, "prompt", None))
    if own is not None:
        return str(own(prompt_index) if callable(own) else own)
    return str(task.decode(task.prompts()[prompt_index]))


def _answer(
    task: Any,
    row: Row,
    ids: NDArray[np.int64],
    reward: float,
    credits: Array,
    pin: float,
    exact_line: Array | None,
    alpha: float,
    estimates: dict[Row, Estimate],
) -> AnswerValues:
    ends = step_boundaries(ids).tolist()
    texts, special = token_texts(task, row)
    plain = (
        hasattr(task, "tokenizer") or len(ends) == len(row) + 1
    )  # else the task knows how to join its words
    steps = [
        "".join(texts[t] for t in range(a, b) if t not in special or b == a + 1)
        if plain
        else task.decode(row[a:b])
        for a, b in pairwise(ends)
    ]
    end = known(reward / alpha)  # V of a complete answer
    return AnswerValues(
        tokens=row,
        texts=texts,
        special=special,
        text=str(task.decode(row)),
        reward=reward,
        truncated=bool(eos_ids_of(task)) and row[-1] not in eos_ids_of(task),
        credits=credits,
        implicit_values=pin + np.concatenate([[0.0], credits.cumsum()]),
        step_ids=ids,
        step_texts=tuple(steps),
        monte_carlo=(*(estimates[row[:t]] for t in ends[:-1]), end),
        exact_values=exact_line,
    )


def _notes(
    same: bool, pinned: bool, log_z: Estimate, estimates: dict[Row, Estimate], level: float
) -> list[str]:
    """What a reader has to know, in sentences."""
    notes, samples = [], estimates[()].samples
    if same:
        notes.append(
            "Policy and reference are the same model: every credit is 0. Give the model it started "
            "from."
        )
    else:
        notes.append(
            "The optimal policy is that of this alpha and this reference: one that was trained at "
            "another alpha, or "
            "against a reference that moved on, is not meant to match it."
        )
    notes.append(
        "The implicit values start from the exact log Z."
        if pinned
        else f"The implicit values start from an estimate of log Z, {log_z.value:.2f} nats (its {level:.0%} interval: "
        f"{log_z.low:.2f} to {log_z.high:.2f}): the whole line moves with it, the credits do not."
    )
    notes.append(
        f"Each Monte-Carlo value is the log of a mean over {samples} fresh continuations of the "
        "reference, too low on "
        f"average; its interval holds V with chance {level:.0%}, roughly."
    )
    if any(estimate.low == estimate.high for estimate in estimates.values()):
        notes.append(
            "An interval of no length says that all continuations from there earned the same, and "
            "no more."
        )
    return notes
