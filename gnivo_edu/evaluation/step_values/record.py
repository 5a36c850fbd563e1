"""What `step_values` finds: values and credits along K answers, and their JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.evaluation.step_values.estimate import Change, Estimate, change
from gnivo_edu.exact import Array, success_probability

# The number goes up where a field changes its meaning or goes away.
SCHEMA = "gnivo_edu.step_values/1"


@dataclass(frozen=True, eq=False)
class ExactValues:
    """Where exact values are from: "full", the whole task enumerated, or "pruned", a tree inside a
    language model.

    `log_z` is that of this tree, nats, and `reference` says whose. A pruned tree has another
    reference (the `top_k` most probable tokens, renormalised) and another task (answers stop after
    `horizon` tokens): its values are not those that the Monte-Carlo and the implicit ones estimate.
    """

    kind: Literal["full", "pruned"]
    reference: str
    log_z: float
    top_k: int
    horizon: int


@dataclass(frozen=True, eq=False)
class AnswerValues:
    """One answer of L tokens in S steps. Values and credits in nats, float64; the rest as in
    `StepValues.to_json`.
    """

    tokens: tuple[int, ...]
    texts: tuple[str, ...]
    special: tuple[int, ...]
    text: str
    reward: float
    truncated: bool
    credits: Array
    implicit_values: Array
    step_ids: NDArray[np.int64]
    step_texts: tuple[str, ...]
    monte_carlo: tuple[Estimate, ...]
    exact_values: Array | None
    characters: tuple[tuple[int, int], ...]
    critic_value: Array | None = None
    same_as: int | None = None

    @property
    def boundaries(self) -> NDArray[np.int64]:
        """How many tokens stand before each step, and after the last: int64 [S + 1], from 0 to
        L.
        """
        return step_boundaries(self.step_ids)

    @property
    def step_credits(self) -> Array:
        """Sum of the credits of the tokens of each step, float64 [S], nats."""
        return np.add.reduceat(self.credits, self.boundaries[:-1])

    @property
    def monte_carlo_credits(self) -> tuple[Change, ...]:
        """Change of the Monte-Carlo value over each step, [S], nats, with intervals."""
        return tuple(change(before, after) for before, after in pairwise(self.monte_carlo))

    @property
    def exact_step_credits(self) -> Array:
        """Change of the exact value over each step that lies wholly where there is one, nats."""
        if self.exact_values is None:
            return np.zeros(0)
        ends = self.boundaries
        return np.diff(self.exact_values[ends[ends < len(self.exact_values)]])

    @property
    def loses(self) -> bool:
        """Whether the answer is worth less at its end than at its start."""
        return self.monte_carlo[-1].value < self.monte_carlo[0].value

    @property
    def lowest_step(self) -> int:
        """The step, from 0, with the lowest Monte-Carlo credit."""
        return int(np.argmin([credit.value for credit in self.monte_carlo_credits]))

    @property
    def first_fall(self) -> int | None:
        """The first step, from 0, whose Monte-Carlo credit lies below 0 with its whole interval."""
        falls = (s for s, credit in enumerate(self.monte_carlo_credits) if credit.high < 0)
        return next(falls, None)


@dataclass(frozen=True, eq=False)
class StepValues:
    """Values along the answers to one prompt under (policy, reference, alpha). See
    `step_values`.
    """

    policy: str
    reference: str
    alpha: float
    prompt: str
    prompt_index: int
    level: float
    seed: int
    binary_reward: bool
    log_z: Estimate
    exact: ExactValues | None
    answers: tuple[AnswerValues, ...]
    notes: tuple[str, ...]
    temperature: float = 1.0
    one_model: bool = False
    all_alike: bool = False

    @property
    def pin(self) -> tuple[float, Literal["exact", "estimate"]]:
        """The log Z, nats, that the implicit values start from: the exact one of the whole task,
        else the estimate.
        """
        if self.exact is not None and self.exact.kind == "full":
            return self.exact.log_z, "exact"
        return self.log_z.value, "estimate"

    @property
    def distinct(self) -> list[tuple[AnswerValues, list[int]]]:
        """Every different answer, with the numbers, from 1, of those of the group that are it."""
        numbers: dict[int, list[int]] = {}
        for k, answer in enumerate(self.answers):
            numbers.setdefault(k if answer.same_as is None else answer.same_as, []).append(k + 1)
        return [(self.answers[k], equal) for k, equal in numbers.items()]

    def chance(self, value: float) -> float:
        """The chance of ending right that a value V stands for, where rewards are 0 or 1."""
        return float(np.clip(success_probability(np.array(value), self.alpha), 0.0, 1.0))

    def to_json(self) -> dict[str, Any]:
        """The schema of values.json: plain lists and numbers, every value and credit in nats; L
        tokens, S steps.

        - `schema`: "gnivo_edu.step_values/1"; its number goes up where a field changes its meaning
          or goes away;
        - `policy`, `reference` (names), `alpha` (reward per nat), `prompt` (text), `prompt_index`,
          `level` (of the intervals), `seed`, `temperature`, `notes` (list of texts);
        - `one_model`: policy and reference are the same, so that all implicit credits are 0;
          `all_alike`: all answers and continuations earned the same: no step can be told apart;
        - `binary_reward`: every reward that was seen is 0 or 1; then the chance of ending right is
          (e^V - 1)/(e^{1/alpha} - 1);
        - `log_z`: an estimate; `pin`: {`log_z`, `source`}, what the implicit values start from;
          `source` is "exact" or "estimate";
        - `exact`: null, or {`kind` ("full" or "pruned"), `reference`, `log_z`, `top_k`, `horizon`};
        - `answers`: a list of {`tokens` (ids, [L]), `texts` ([L]), `special` (positions of special
          tokens), `characters` (runs [start, stop] of tokens that hold whole characters), `text`,
          `reward`, `truncated` (reached the horizon without an end token), `same_as` (null, or the
          position of an earlier answer of the same tokens), `first_fall` (null, or the first of
          `steps` whose Monte-Carlo credit lies below 0 with its whole interval),
          `credits` (log pi/pi_ref of each token, [L]), `implicit_values` ([L + 1], the empty prefix
          first), `step_ids` ([L]), `steps`, `monte_carlo`, `exact_values`, `critic_value`};
        - `steps`: [S] of {`text`, `start`, `stop` (tokens start..stop-1), `credit`,
          `monte_carlo_credit`, `exact_credit` (null beyond the exact values)}; a Monte-Carlo credit
          is a change of value and its interval, {`value`, `low`, `high`};
        - `monte_carlo`: [S + 1] estimates with `after`, the number of tokens of the prefix, 0 first
          and L last, and `chance` (of ending right, of `value`; null unless rewards are 0 or 1);
        - `exact_values`: null, or V of the first prefixes, from the empty one: [L + 1] of a full
          tree, [1 + m] of a pruned one, where the answer leaves the tree after m tokens;
        - `critic_value`: null, or what a learned critic says before each token, over alpha, and
          last R/alpha, [L + 1];
        - an estimate: {`value`, `low`, `high`, `standard_error`, `bias`, `samples`, `method`}, see
          `gnivo_edu.evaluation.step_values.estimate.Estimate`.

        What `gnivo-edu explore --json` prints has one more field, `page`: the path of the page that
        it drew."""
        pin, source = self.pin
        return {
            "schema": SCHEMA,
            "policy": self.policy,
            "reference": self.reference,
            "alpha": self.alpha,
            "prompt": self.prompt,
            "prompt_index": self.prompt_index,
            "level": self.level,
            "seed": self.seed,
            "temperature": self.temperature,
            "one_model": self.one_model,
            "all_alike": self.all_alike,
            "binary_reward": self.binary_reward,
            "log_z": asdict(self.log_z),
            "pin": {"log_z": pin, "source": source},
            "exact": None if self.exact is None else asdict(self.exact),
            "answers": [self._plain(answer) for answer in self.answers],
            "notes": list(self.notes),
        }

    def _plain(self, answer: AnswerValues) -> dict[str, Any]:
        ends = answer.boundaries.tolist()
        chances: list[float | None] = [None] * len(ends)
        if self.binary_reward:
            chances = [self.chance(estimate.value) for estimate in answer.monte_carlo]
        return {
            "tokens": list(answer.tokens),
            "texts": list(answer.texts),
            "special": list(answer.special),
            "characters": [list(run) for run in answer.characters],
            "text": answer.text,
            "reward": answer.reward,
            "truncated": answer.truncated,
            "same_as": answer.same_as,
            "first_fall": answer.first_fall,
            "credits": answer.credits.tolist(),
            "implicit_values": answer.implicit_values.tolist(),
            "step_ids": answer.step_ids.tolist(),
            "steps": _steps(answer),
            "monte_carlo": [
                {"after": after, **asdict(estimate), "chance": chance}
                for after, estimate, chance in zip(ends, answer.monte_carlo, chances, strict=True)
            ],
            "exact_values": None if answer.exact_values is None else answer.exact_values.tolist(),
            "critic_value": None if answer.critic_value is None else answer.critic_value.tolist(),
        }


def step_boundaries(step_ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where steps begin, and the length: int64 [S + 1].

    >>> step_boundaries(np.array([0, 0, 1, 2, 2]))
    array([0, 2, 3, 5])
    """
    inner = np.flatnonzero(np.diff(step_ids)) + 1
    return np.concatenate([[0], inner, [len(step_ids)]]).astype(np.int64)


def _steps(answer: AnswerValues) -> list[dict[str, Any]]:
    exact_credits = dict(enumerate(answer.exact_step_credits.tolist()))
    return [
        {
            "text": answer.step_texts[s],
            "start": start,
            "stop": stop,
            "credit": float(answer.step_credits[s]),
            "monte_carlo_credit": asdict(answer.monte_carlo_credits[s]),
            "exact_credit": exact_credits.get(s),
        }
        for s, (start, stop) in enumerate(pairwise(answer.boundaries.tolist()))
    ]
