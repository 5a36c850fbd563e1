"""Answers that start with a given prefix: drawn, scored and rewarded; what step values are
estimated from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gnivo_edu.evaluation.step_values.estimate import Estimate, estimate_log_z
from gnivo_edu.evaluation.step_values.record import step_boundaries
from gnivo_edu.exact import Array
from gnivo_edu.policies.generation import sample_completions
from gnivo_edu.policies.score_model import score_rows
from gnivo_edu.policies.scoring import evaluating
from toy_envs import TokenMDP

Row = tuple[int, ...]


class Asked:
    """One prompt of a task: answers with a given beginning are drawn, scored and rewarded."""

    def __init__(self, task: TokenMDP, prompt_index: int, seed: int, max_rows: int) -> None:
        self.task, self.index = task, prompt_index
        self.seed, self.max_rows = seed, max_rows

    def after(
        self, policy: nn.Module, prefixes: Sequence[Row], count: int, step: int
    ) -> dict[Row, list[Row]]:
        """`count` whole answers that start with each of some prefixes of one length."""
        drawn = sample_completions(
            policy,
            _After(self.task, self.index, prefixes=prefixes),
            group_size=count,
            prompt_index=range(len(prefixes)),
            seed=self.seed,
            step=step,
            max_rows=self.max_rows,
        )
        answers: dict[Row, list[Row]] = {prefix: [] for prefix in prefixes}
        for row, length, i in zip(*(x.tolist() for x in drawn.rows), strict=True):
            answers[prefixes[i]].append((*prefixes[i], *row[:length]))
        return answers

    def continued(
        self,
        reference: nn.Module,
        rows: Sequence[Row],
        steps: Sequence[NDArray[np.int64]],
        count: int,
    ) -> dict[Row, list[Row]]:
        """Fresh continuations of every prefix that ends a step; a prefix that answers share is
        continued once.
        """
        prefixes = {
            row[:t]
            for row, ids in zip(rows, steps, strict=True)
            for t in step_boundaries(ids)[:-1].tolist()
        }
        continuations: dict[Row, list[Row]] = {}
        for t in sorted({len(prefix) for prefix in prefixes}):
            # Step 0 drew the group; each length has a stream of its own.
            of_length = sorted(prefix for prefix in prefixes if len(prefix) == t)
            continuations |= self.after(reference, of_length, count=count, step=1 + t)
        return continuations

    def given(self, answers: Sequence[Sequence[int]]) -> list[Row]:
        """Answers that a caller gives, checked to be complete."""
        rows = [tuple(int(token) for token in row) for row in answers]
        if not rows:
            raise ValueError("answers is empty: give at least one, or leave it out to draw some")
        for k, row in enumerate(rows):
            ends = (t + 1 for t, token in enumerate(row) if token in self.task.eos_token_ids)
            actions = all(0 <= token < self.task.vocab_size for token in row)
            if not actions or len(row) != next(ends, self.task.horizon):
                raise ValueError(
                    f"answer {k} is not complete: give token ids up to the first end token, or "
                    f"{self.task.horizon} of them"
                )
        return rows

    def rewards(self, rows: Sequence[Row]) -> Array:
        """Rewards of whole answers, float64."""
        tokens, lengths = _padded(rows, self.task.pad_token_id)
        rewards = self.task.reward(tokens.numpy(), lengths.numpy(), prompt_index=self.index)
        return np.asarray(rewards, dtype=np.float64)

    def scores(self, policy: nn.Module, rows: Sequence[Row]) -> list[Array]:
        """log pi of every token of each answer, nats, float64."""
        scores: list[Array] = []
        with evaluating(policy):
            for start in range(0, len(rows), self.max_rows):
                some = rows[start : start + self.max_rows]
                tokens, lengths = _padded(some, self.task.pad_token_id)
                fields = score_rows(
                    policy,
                    self.task,
                    tokens=tokens,
                    lengths=lengths,
                    prompt_index=self.index,
                    fields=("policy_logps",),
                )
                logps = fields["policy_logps"].double().cpu().numpy()
                scores += [row[:length] for row, length in zip(logps, lengths, strict=True)]
        return scores


@dataclass(frozen=True, eq=False)
class Samples:
    """K answers to one prompt, the group, and what was drawn to find their values; float64.

    `steps`: step ids of each answer. `rewards` [K] of the group, `rewards_after[prefix]` [N] of the
    fresh answers of the reference that start with a prefix. `policy_logps`, `reference_logps`: log
    pi and log pi_ref of every token, nats, of the group and then of the fresh answers from the
    empty prefix on.
    """

    group: list[Row]
    drawn_by_policy: bool
    steps: list[NDArray[np.int64]]
    rewards: Array
    rewards_after: dict[Row, Array]
    policy_logps: list[Array]
    reference_logps: list[Array]

    @property
    def binary(self) -> bool:
        """Whether every reward is 0 or 1."""
        rewards = np.concatenate([self.rewards, *self.rewards_after.values()])
        return bool(np.isin(rewards, (0.0, 1.0)).all())

    def log_z(self, alpha: float, level: float) -> Estimate:
        """log Z, nats, an average over the answers whose writer is known.

        Those are the fresh ones from the reference, and the group too if the policy drew it.
        Answers that a caller brought have no known writer.
        """
        rewards = np.concatenate([self.rewards, self.rewards_after[()]])
        first = 0 if self.drawn_by_policy else len(self.group)
        return estimate_log_z(
            rewards[first:],
            policy_logps=[row.sum() for row in self.policy_logps[first:]],
            reference_logps=[row.sum() for row in self.reference_logps[first:]],
            from_policy=(np.arange(len(rewards)) < len(self.group))[first:],
            alpha=alpha,
            level=level,
            binary=self.binary,
        )


def draw_samples(
    asked: Asked,
    policy: nn.Module,
    reference: nn.Module,
    answers: Sequence[Sequence[int]] | None,
    group_size: int,
    continuations: int,
    names: tuple[str, str],
) -> Samples:
    """The answers, drawn from the policy unless a caller brought some, with fresh continuations of
    the reference and the scores of both models, which are called `names`.
    """
    if answers is None:
        group = asked.after(policy, [()], count=group_size, step=0)[()]
    else:
        group = asked.given(answers)
    steps = [asked.task.step_ids(np.array([row]), [len(row)])[0] for row in group]
    fresh = asked.continued(reference, group, steps=steps, count=continuations)
    scores = [asked.scores(model, [*group, *fresh[()]]) for model in (policy, reference)]
    for name, logps in zip(names, scores, strict=True):
        written = [bool(np.isfinite(row).all()) for row in logps[: len(group)]]
        if not all(written):
            raise ValueError(f"{name} cannot write answer {written.index(False)}: give another one")
    return Samples(
        group=group,
        drawn_by_policy=answers is None,
        steps=steps,
        rewards=asked.rewards(group),
        rewards_after={prefix: asked.rewards(rows) for prefix, rows in fresh.items()},
        policy_logps=scores[0],
        reference_logps=scores[1],
    )


class _After(TokenMDP):
    """The task once some tokens are written: each prompt is the one prompt and a prefix, the
    horizon what is left.
    """

    def __init__(self, task: TokenMDP, prompt_index: int, prefixes: Sequence[Row]) -> None:
        super().__init__(task.vocab_size, task.horizon - len(prefixes[0]))
        self.pad_token_id, self.eos_token_ids = task.pad_token_id, task.eos_token_ids
        prompt = task.prompts()[prompt_index][task.prompt_mask()[prompt_index]].tolist()
        self._prompts = np.array([[*prompt, *prefix] for prefix in prefixes], dtype=np.int64)


def _padded(rows: Sequence[Row], fill: int) -> tuple[Tensor, Tensor]:
    """Rows as int64 [B, T], filled on the right, and their lengths [B]."""
    lengths = torch.tensor([len(row) for row in rows])
    width = int(lengths.max())
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows]), lengths
