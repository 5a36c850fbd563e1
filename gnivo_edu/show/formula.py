"""The formula of a run's objective for the tokens of an update, and what other methods would have
given to the same answers.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch, MissingField
from gnivo_edu.objectives import LossOutput
from gnivo_edu.objectives.formulas import SIGNAL, Line, Sheet
from gnivo_edu.objectives.surrogate import suffix_sums
from gnivo_edu.objectives.terms import sheet_of
from gnivo_edu.training.field_gradients import coefficients


def sheet_of_run(
    batch: GroupBatch, config: Mapping[str, Any], depths: Tensor | None = None
) -> Sheet | None:
    """The sheet of a run's objective, its numbers of each token; by its `level`, and with its
    `kl_to_initial`. None where the objective is not one of the registry, or what it needs is not on
    record.
    """
    name = config.get("objective", "")
    if name not in objectives.names():
        return None
    options = dict(config.get("objective_options") or {})
    if options.get("prefixes") == "given" and depths is not None:
        options["depths"] = depths
    by_step = config.get("level") == "step"
    try:
        sheet = sheet_of(name, batch.by_step() if by_step else batch, **options)
    except (MissingField, AssertionError):
        return None
    if by_step and batch.step_ids is not None:
        sheet = _at_tokens(sheet, batch.step_ids.masked_fill(batch.outside, 0))
    price = config.get("kl_to_initial") or 0.0
    if price and config.get("kl_gradient") == "answers" and batch.policy_kl is not None:
        kl = batch.policy_kl.masked_fill(batch.outside, 0.0)
        last = sheet.lines.pop()
        sheet.lines.append(Line("own", last.expression, last.words))
        sheet.number("price", price, "kl_to_initial, reward per nat")
        sheet.number("later", suffix_sums(kl, 1.0) - kl, "KL to the initial model of later tokens")
        sheet.line(SIGNAL, "own - price*later/(N*K)", "less what the token's consequences cost")
    return sheet


def _at_tokens(sheet: Sheet, ids: Tensor) -> Sheet:
    """The sheet of a batch of steps for its tokens: what a step has, each of its tokens has. A
    step's log-probabilities have a name of their own, beside those of its tokens.
    """

    def renamed(text: str) -> str:
        return re.sub(r"\b(logp|old|ref)\b", r"\1_step", text)

    spread = Sheet(scored=sheet.scored)
    for symbol, x in sheet.numbers.items():
        words = sheet.words[symbol].replace("this token", "this step")
        spread.number(renamed(symbol), x.gather(2, ids) if x.dim() == 3 else x, words)
    for line in sheet.lines:
        words = line.words.replace("this token", "this step")
        spread.line(line.symbol, renamed(line.expression), words)
    return spread


def equation_of(name: str) -> str:
    """The equation of an objective, as its docstring has it; "" where there is none.

    >>> equation_of("gvpo").split()[:2]
    ['L', '=']
    """
    if name not in objectives.names():
        return ""
    paragraphs = inspect.cleandoc(objectives.get(name).__doc__ or "").split("\n\n")
    equations = [p for p in paragraphs if p.startswith("    ")]
    return inspect.cleandoc(equations[0]) if equations else ""


def signals_of(batch: GroupBatch, config: Mapping[str, Any]) -> dict[str, Tensor]:
    """What each method gives to each token, - dL/d log_prob [N, K, T], by name: the run's own with
    its options, the others with their defaults at its alpha; without those that need what the batch
    does not hold, or that give nothing.
    """
    own = config.get("objective", "")
    options = config.get("objective_options") or {}
    signals = {}
    for name in objectives.names():
        chosen = dict(options) if name == own else _defaults(name, options, batch)
        if chosen.get("prefixes") == "given":
            chosen["prefixes"] = "all"  # the average over the depths that may be drawn
        objective = objectives.get(name)
        if name == own and config.get("level") == "step":
            objective = _by_step(objective)
        try:
            taken = coefficients(objective, batch, live=("policy_logps",), **chosen)
        except (ValueError, TypeError):
            continue
        signal = -taken.by_field["policy_logps"]
        if name == own or bool(signal.any()):
            signals[name] = signal
    return signals


def _by_step(objective: Callable[..., LossOutput]) -> Callable[..., LossOutput]:
    return lambda batch, **options: objective(batch.by_step(), **options)


def _defaults(name: str, options: Mapping[str, Any], batch: GroupBatch) -> dict[str, Any]:
    """Options of a method that is not the run's: its alpha, and the largest reward of the task."""
    known = inspect.signature(objectives.get(name)).parameters
    chosen: dict[str, Any] = {}
    if "alpha" in options and "alpha" in known:
        chosen["alpha"] = options["alpha"]
    if "reward_max" in known:
        chosen["reward_max"] = options.get("reward_max", float(batch.rewards.max()))
    if name == "vimpo" and batch.policy_kl is None:
        chosen["kl"] = "k3"
    return chosen
