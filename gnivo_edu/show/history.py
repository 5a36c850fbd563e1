"""What happened in a run, of all its answers: curves, the step from which on a number stays
changed, tokens that have spread, and the same questions early and late.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.figures.tokens import visible
from gnivo_edu.pages import finite
from gnivo_edu.show.groups import words_of
from gnivo_edu.show.read import Part, Run
from gnivo_edu.statistics import paired_difference

Array = NDArray[np.float64]
POINTS = 400  # of a curve, at most
SPREAD = 8  # tokens that are named
RARE = 5  # a token that was written less often, in all, says nothing
# The curves in their order: names of metrics.jsonl, what they are, and in what.
CURVES = (
    ("reward", "reward", ""),
    ("kl_to_initial", "KL to the initial model", "nats per answer"),
    ("entropy", "entropy of the next token", "nats"),
    ("completions/mean_length", "length of an answer", "tokens"),
    ("completions/clipped_ratio", "answers that were cut off", "share"),
    ("frac_reward_zero_std", "questions whose answers all score alike", "share"),
    ("different", "different answers to a question", "share"),
    ("fit/residual_rms_over_target_rms", "reward that the policy does not explain", "1 at first"),
    ("value/exact_error", "error of the implicit values", "nats"),
    ("loss", "loss", ""),
    ("grad_norm", "norm of the gradient", ""),
)


@dataclass
class History:
    """Numbers of every recorded update, from its answers, in order."""

    steps: list[int] = field(default_factory=list)
    rewards: list[list[float]] = field(default_factory=list)
    different: list[float] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)
    tokens: list[Counter[str]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    # Of each question: (step, mean reward, an answer) of each time it was asked.
    asked: dict[int, list[tuple[int, float, str]]] = field(default_factory=dict)
    prompts: dict[int, str] = field(default_factory=dict)

    def add(self, part: Part) -> None:
        """Count a part; of a step's several updates, which are on the same answers, the first."""
        if self.steps and part.step == self.steps[-1]:
            return
        texts = part.columns["completion"]
        rewards = part.rewards
        groups = part.groups
        self.steps.append(part.step)
        self.rewards.append([float(np.mean([rewards[i] for i in g])) for _, g in groups])
        unlike = [len({texts[i] for i in g}) / len(g) for _, g in groups]
        self.different.append(float(np.mean(unlike)))
        pieces = part.columns.get("token_texts") or [words_of(text) for text in texts]
        self.lengths.append(float(np.mean([len(row) for row in pieces])))
        self.tokens.append(Counter(token for row in pieces for token in row))
        self.answers.append(len(texts))
        for number, places in groups:
            best = max(places, key=lambda i: rewards[i])
            mean = float(np.mean([rewards[i] for i in places]))
            times = self.asked.setdefault(number, [])
            if not times or times[-1][0] != part.step:
                times.append((part.step, mean, texts[best]))
            self.prompts.setdefault(number, part.columns["prompt"][places[0]])


def history_of(run: Run) -> History:
    """The history of a run, from its whole record."""
    history = History()
    for path in run.parts:
        for part in run.updates(path, tokens=False):
            history.add(part)
    return history


def curves_of(run: Run, history: History) -> list[dict[str, Any]]:
    """The curves as plain data: each step's number, their running mean, and a band. That of the
    reward is the 95% interval of the step's mean over questions, where the record has them, else
    over answers; of the others, what nine in ten of the steps around hold.
    """
    recorded = {
        "reward": [float(np.mean(x)) for x in history.rewards],
        "different": history.different,
        "completions/mean_length": history.lengths,
    }
    curves = []
    for name, label, unit in CURVES:
        rows = [row for row in run.metrics if isinstance(row.get(name), (int, float))]
        steps = [int(row["step"]) for row in rows]
        values = np.array([float(row[name]) for row in rows])
        if not len(values) and name in recorded:
            steps, values = history.steps, np.array(recorded[name])
        if not len(values) or (len(values) > 1 and not np.ptp(values) and name != "reward"):
            continue
        window = max(1, len(values) // 20)
        if name == "reward":
            around = 1.96 * _deviation(run, history, steps)
            low, high = values - around, values + around
        else:
            low, high = _running(values, window, 0.05), _running(values, window, 0.95)
        places = np.unique(np.linspace(0, len(values) - 1, POINTS).round().astype(int))
        curves.append(
            {
                "name": name,
                "label": label,
                "unit": unit,
                "steps": [steps[i] for i in places],
                "values": [finite(values[i]) for i in places],
                "mean": [finite(x) for x in smooth(values, window)[places]],
                "low": [finite(low[i]) for i in places],
                "high": [finite(high[i]) for i in places],
            }
        )
    return curves


def _deviation(run: Run, history: History, steps: Sequence[int]) -> Array:
    """Of the mean reward of each step."""
    known = {}
    for step, means in zip(history.steps, history.rewards, strict=True):
        if len(means) > 1:
            known[step] = float(np.std(means, ddof=1) / np.sqrt(len(means)))
    answers = int(run.config.get("prompts_per_step", 1)) * int(run.config.get("group_size", 1))
    for row in run.metrics:
        name = next((n for n in row if n.startswith("rewards/") and n.endswith("/std")), None)
        if name is not None:
            known.setdefault(int(row["step"]), float(row[name]) / np.sqrt(answers))
    return np.array([known.get(step, 0.0) for step in steps])


def smooth(values: Array, window: int) -> Array:
    """The mean of the values up to `window` places to either side.

    >>> smooth(np.array([0.0, 3.0, 0.0]), 1)
    array([1.5, 1. , 1.5])
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    n = np.arange(len(values))
    start, stop = np.maximum(n - window, 0), np.minimum(n + window + 1, len(values))
    return np.asarray((sums[stop] - sums[start]) / (stop - start))


def _running(values: Array, window: int, level: float) -> Array:
    around = (values[max(0, i - window) : i + window + 1] for i in range(len(values)))
    return np.array([np.quantile(x, level) for x in around])


def onset(values: Sequence[float]) -> int | None:
    """The place from which on a series has left its beginning for good: where it has come a quarter
    of its way to the end, and does not fall back. None where beginning and end differ by no more
    than the series scatters.

    >>> onset([0, 0.1, 0, 0, 0.1, 0, 0.9, 1, 1, 0.9, 1, 1])
    6
    >>> onset([0, 1, 0, 1, 0, 1, 0, 1]) is None
    True
    """
    x = np.asarray(values, dtype=float)
    if len(x) < 4:
        return None
    ends = max(1, len(x) // 10)
    start, stop = x[: 2 * ends].mean(), x[-2 * ends :].mean()
    scatter = np.std(np.diff(x)) / np.sqrt(2)
    if abs(stop - start) <= 3 * scatter / np.sqrt(2 * ends) or start == stop:
        return None
    way = (smooth(x, ends // 2) - start) / (stop - start)
    behind = np.flatnonzero(way < 0.25)
    return int(behind[-1]) + 1 if len(behind) and behind[-1] + 1 < len(x) else None


def spread_of(history: History) -> list[dict[str, Any]]:
    """The tokens that are written far more often at the end than at first, the most striking first:
    how often an answer holds them at either end, and from which step on.
    """
    count = len(history.steps)
    if count < 2:
        return []
    ends = max(1, min(count // 2, count // 5))
    early: Counter[str] = sum(history.tokens[:ends], Counter())
    late: Counter[str] = sum(history.tokens[-ends:], Counter())
    before, after = sum(early.values()), sum(late.values())
    answers = sum(history.answers[:ends]), sum(history.answers[-ends:])
    if not before or not after:
        return []

    def surprise(token: str) -> float:
        """How far the two shares are apart, as a log-likelihood ratio, nats."""
        a, b = early[token], late[token]
        share = (a + b) / (before + after)
        parts = ((a, a / before, before), (b, b / after, after))
        return float(
            sum(
                n * np.log(p / share) + (total - n) * np.log((1 - p) / (1 - share))
                for n, p, total in parts
                if 0 < p < 1
            )
        )

    grown = [
        token
        for token, number in late.items()
        if number >= RARE and number / after > 2 * early[token] / before
    ]
    named = sorted(grown, key=lambda token: (-surprise(token), token))[:SPREAD]
    found = []
    for token in named:
        if surprise(token) < 6:  # of thousands of tokens some are that surprising by chance
            continue
        rates = [n[token] / m for n, m in zip(history.tokens, history.answers, strict=True)]
        place = onset(rates)
        found.append(
            {
                "token": visible(token),
                "before": early[token] / answers[0],
                "after": late[token] / answers[1],
                "step": None if place is None else history.steps[place],
                "rates": rates[:: max(1, len(rates) // 60)],
            }
        )
    return found


def changes_of(history: History, most: int = 60) -> dict[str, Any] | None:
    """The same questions, the first and the last time that they were asked: mean rewards, their
    difference with its interval, and the best answer of either time. None where none came twice.
    """
    again = {number: times for number, times in history.asked.items() if len(times) > 1}
    if not again:
        return None
    first = [times[0][1] for times in again.values()]
    last = [times[-1][1] for times in again.values()]
    interval = None
    if len(again) > 1:
        found = paired_difference(first, last)
        interval = [float(found.low), float(found.high)]
    order = sorted(again, key=lambda number: -abs(again[number][-1][1] - again[number][0][1]))
    return {
        "questions": len(again),
        "before": float(np.mean(first)),
        "after": float(np.mean(last)),
        "interval": interval,
        "rows": [
            {
                "question": number,
                "prompt": [visible(line) for line in history.prompts[number].split("\n")],
                "times": [
                    {"step": step, "reward": reward, "text": [visible(x) for x in text.split("\n")]}
                    for step, reward, text in (again[number][0], again[number][-1])
                ],
            }
            for number in order[:most]
        ],
    }
