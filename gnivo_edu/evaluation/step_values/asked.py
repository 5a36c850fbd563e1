"""One prompt, asked: answers with a given beginning are drawn, scored and rewarded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from gnivo_edu.exact import Array
from gnivo_edu.policies.generation import sample_completions
from gnivo_edu.policies.score_model import score_rows
from gnivo_edu.policies.scoring import evaluating
from toy_envs import TokenMDP

Row = tuple[int, ...]


class Asked:
    """One prompt of a task: answers with a given beginning are drawn, scored and rewarded, at a
    temperature.
    """

    def __init__(
        self,
        task: TokenMDP,
        prompt_index: int,
        seed: int,
        max_rows: int,
        temperature: float = 1.0,
    ) -> None:
        self.task, self.index = task, prompt_index
        self.seed, self.max_rows, self.temperature = seed, max_rows, temperature

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
            temperature=self.temperature,
            max_rows=self.max_rows,
        )
        answers: dict[Row, list[Row]] = {prefix: [] for prefix in prefixes}
        for row, length, i in zip(*(x.tolist() for x in drawn.rows), strict=True):
            answers[prefixes[i]].append((*prefixes[i], *row[:length]))
        return answers

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
                    temperature=self.temperature,
                )
                logps = fields["policy_logps"].double().cpu().numpy()
                scores += [row[:length] for row, length in zip(logps, lengths, strict=True)]
        return scores


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
