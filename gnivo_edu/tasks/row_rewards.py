"""Rewards that see the row: functions with the signature that TRL's users write, several of them
with weights, tried out before a model is loaded.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.names import one_line, shown
from gnivo_edu.tasks.grading import Grade, Problem
from gnivo_edu.tasks.rewards import reward_function

OF_ALL = ("prompts", "completions", "completion_ids")
# What TRL passes besides; here there is nothing to put into them.
NOT_HERE = {"trainer_state": None, "log_extra": lambda *_: None, "log_metric": lambda *_: None}
REHEARSAL = 60.0  # seconds for one call on a few rows


class RowReward:
    """A function of answers and of the columns of their rows.

    Its parameters say what it is passed, by name: `prompts`, `completions` and `completion_ids`
    (lists, one entry an answer), any column of the rows, as such a list; `**kwargs` takes them all.
    Where the data's prompts are conversations, `prompts` and `completions` are lists of messages,
    as TRL passes them. A function whose only parameter has another name takes the texts. It may be
    asynchronous, and gives a number for each answer, or None where it does not apply to one.

    Raises ValueError, in one line, on a parameter that is none of these.
    """

    def __init__(self, name: str, function: Callable[..., Any], columns: Sequence[str]) -> None:
        self.name, self.function, self.columns = name, function, tuple(columns)
        known = {*OF_ALL, *NOT_HERE, *columns}
        parameters = inspect.signature(function).parameters.values()
        by_name = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        needed = [p.name for p in by_name if p.default is p.empty]
        strange = [name for name in needed if name not in known]
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self.names = known if takes_all else known.intersection(p.name for p in by_name)
        by_place = any(p.kind in (p.POSITIONAL_ONLY, p.VAR_POSITIONAL) for p in parameters)
        self.takes_texts = by_place or len(needed) == len(strange) == 1
        if strange and not self.takes_texts:
            raise ValueError(
                f"the reward {name} asks for {strange[0]!r}, which is no column of the data; "
                f"columns: {', '.join(columns)}; beside them: {', '.join(OF_ALL)}"
            )

    def __call__(
        self, texts: Sequence[str], problems: Sequence[Problem], ids: Sequence[Sequence[int]]
    ) -> NDArray[np.float64]:
        """Float64 [B], nan where it does not apply. Raises ValueError, in one line that names the
        reward, on whatever it does wrong.
        """
        try:
            values = _awaited(self._call(texts, problems, ids))
        except (Exception, SystemExit) as error:
            raise ValueError(f"the reward {self.name} raised {one_line(error)}") from error
        return _checked(self.name, values, len(texts))

    def _call(self, texts: Sequence[str], problems: Sequence[Problem], ids: Any) -> Any:
        if self.takes_texts:
            return self.function(list(texts))
        said = any(problem.turns for problem in problems)
        asked: dict[str, Any] = dict(NOT_HERE)
        asked["prompts"] = [p.messages() if said else p.question for p in problems]
        asked["completions"] = [
            [{"role": "assistant", "content": text}] if said else text for text in texts
        ]
        asked["completion_ids"] = [list(row) for row in ids]
        for column in self.columns:
            asked[column] = [problem.row.get(column) for problem in problems]
        return self.function(**{name: asked[name] for name in self.names})


@dataclass(frozen=True, eq=False)
class RowRewards:
    """A grader: the weighted sum of rewards, each where it applies; 0 where none does."""

    rewards: Sequence[RowReward]
    weights: Sequence[float]
    takes_ids = True

    def __call__(
        self,
        texts: Sequence[str],
        problems: Sequence[Problem],
        ids: Sequence[Sequence[int]],
    ) -> list[Grade]:
        """A grade for each text, "scored"."""
        if not texts:
            return []
        values = np.stack([reward(texts, problems, ids) for reward in self.rewards])
        total = np.nansum(values * np.asarray(self.weights)[:, None], axis=0)
        return [
            Grade(text=text, answer=text, gold=p.gold, status="scored", reward=float(reward))
            for text, p, reward in zip(texts, problems, total, strict=True)
        ]


def row_rewards(
    names: Sequence[str | Callable[..., Any]],
    columns: Iterable[str],
    weights: Sequence[float] | None = None,
) -> RowRewards:
    """Rewards by name, as `module:function`, or as functions, with their weights, 1 each unless
    told. Raises ValueError, in one line, on what is not there and on what does not fit.

    >>> def agrees(completions, answer):
    ...     return [float(text == gold) for text, gold in zip(completions, answer)]
    >>> rows = [Problem(question="2+2?", row={"answer": "4"})] * 2
    >>> [grade.reward for grade in row_rewards([agrees], ["answer"])(["4", "5"], rows, [[], []])]
    [1.0, 0.0]
    """
    weights = [1.0] * len(names) if weights is None else list(weights)
    if len(weights) != len(names):
        raise ValueError(
            f"one of reward_weights for each reward, got {len(weights)} for {len(names)}"
        )
    if not np.isfinite(weights).all():
        raise ValueError(f"reward_weights are finite numbers, got {shown(weights)}")
    columns = tuple(columns)
    rewards = []
    for name in names:
        function = reward_function(name) if isinstance(name, str) else name
        said = name if isinstance(name, str) else getattr(name, "__name__", "given")
        rewards.append(RowReward(said, function, columns))
    return RowRewards(rewards, weights)


def rehearse(rewards: RowRewards, problems: Sequence[Problem], seconds: float = REHEARSAL) -> None:
    """Try every reward on the first rows, each with its gold answer and with an empty one. Raises
    ValueError, in one line that names the reward, on what it does wrong, and where it has no answer
    after `seconds`.
    """
    few = [problem for problem in problems[:2] for _ in range(2)]
    texts = [text for problem in problems[:2] for text in (problem.gold or problem.question, "")]
    for reward in rewards.rewards:
        trial = _aside(partial(reward, texts, few, [[] for _ in texts]))
        try:
            trial.result(seconds)
        except TimeoutError:
            raise ValueError(
                f"the reward {reward.name} has given nothing for {len(texts)} short answers in "
                f"{seconds:g} s: it hangs, or is too slow to train with; what it has to load, load "
                "where its module is read"
            ) from None


def _aside(call: Callable[[], Any]) -> Future[Any]:
    """What a call will give or raise, in a thread that does not hold up the end of the process."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _awaited(values: Any) -> Any:
    """What a function gave, once it is there; in a thread of its own, as a notebook has a loop."""
    if not inspect.isawaitable(values):
        return values

    async def wait() -> Any:
        return await values

    return _aside(lambda: asyncio.run(wait())).result()


def _checked(name: str, values: Any, count: int) -> NDArray[np.float64]:
    """The numbers that a reward gave, nan for None."""
    within = values if isinstance(values, (list, tuple)) else [values]
    if any(getattr(value, "requires_grad", False) for value in within):
        raise ValueError(
            f"the reward {name} gave a tensor with a gradient: give numbers, such as .tolist()"
        )
    if isinstance(values, Mapping) or not hasattr(values, "__len__"):
        raise ValueError(
            f"the reward {name} must give a list of numbers, one for each answer, got "
            f"{shown(values)}"
        )
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    if len(listed) != count:
        raise ValueError(f"the reward {name} gave {len(listed)} numbers for {count} answers")
    numbers = np.full(count, np.nan)
    for place, value in enumerate(listed):
        if value is None:
            continue
        numbers[place] = _number(value)
        if not np.isfinite(numbers[place]):
            raise ValueError(
                f"the reward {name} gave {shown(value)} for an answer: rewards are finite numbers, "
                "or None where a reward does not apply"
            )
    return numbers


def _number(value: Any) -> float:
    """A number that a reward gave; nan for what is none, such as a text or a row."""
    try:
        return np.nan if isinstance(value, str) or np.ndim(value) else float(value)
    except (TypeError, ValueError, OverflowError):  # 1j, an object, 10**400
        return np.nan
