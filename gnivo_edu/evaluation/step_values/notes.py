"""What a reader of step values has to know, in sentences."""

from __future__ import annotations

from collections.abc import Mapping

from gnivo_edu.evaluation.step_values.estimate import Estimate
from gnivo_edu.evaluation.step_values.record import AnswerValues, StepValues
from gnivo_edu.figures.style import nats, number, percent, signed

ABOUT_CRITIC = (
    "The critic is drawn as it was trained, in reward units over this alpha: that of DRO and OREO "
    "is fitted to the soft value of its own alpha, that of PPO to the mean reward that is still to "
    "come, less the price of the KL."
)


def notes_of(
    one_model: bool,
    pinned: bool,
    log_z: Estimate,
    estimates: Mapping[tuple[int, ...], Estimate],
    level: float,
) -> list[str]:
    """Sentences about the models, the pin, and the means; `estimates`: by beginning."""
    about_models = (
        "The optimal policy is that of this alpha and this reference: one that was trained at "
        "another alpha, or against a reference that moved on, is not meant to match it."
    )
    if one_model:
        about_models = (
            "Policy and reference are the same model, so that what the policy has learned, its "
            "implicit credits, is 0 everywhere: the credits here are those of the values under it. "
            "Give the model it started from as the reference to see what it learned."
        )
    about_pin = "The implicit values start from the exact log Z."
    if not pinned:
        about_pin = (
            f"The implicit values start from an estimate of log Z, {log_z.value:.2f} nats (its "
            f"{level:.0%} interval: {log_z.low:.2f} to {log_z.high:.2f}): the whole line moves "
            "with it, the credits do not."
        )
    about_means = (
        f"Each Monte-Carlo value is the log of a mean over {_count(estimates)} fresh "
        "continuations of the reference, too low on average; its interval holds V with chance "
        f"{level:.0%}, roughly, and so does that of a Monte-Carlo credit, the change of it."
    )
    notes = [about_models, about_pin, about_means]
    if any(estimate.low == estimate.high for estimate in estimates.values()):
        notes.append(
            "An interval of no length says that all continuations from there earned the same, and "
            "no more."
        )
    return notes


def _count(estimates: Mapping[tuple[int, ...], Estimate]) -> str:
    """How many continuations each beginning had, as words."""
    counts = sorted(estimate.samples for estimate in estimates.values())
    return str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"


def verdict(values: StepValues, answer: AnswerValues) -> str:
    """Where the value of an answer first falls, in one sentence."""
    if values.all_alike:
        return "Nothing tells its steps apart."
    s = answer.first_fall
    if s is None:
        return _undecided(values, answer)
    before, after = answer.monte_carlo[s], answer.monte_carlo[s + 1]
    fall = answer.monte_carlo_credits[s]
    chances = ""
    if values.binary_reward:
        high, low = (percent(values.chance(estimate.value)) for estimate in (before, after))
        chances = f": the chance of ending right goes from {high} to {low}"
    return (
        f"The value first falls at step {s + 1} of {len(answer.step_texts)}, by "
        f"{nats(-fall.value)} nats ({nats(-fall.high)} to {nats(-fall.low)}){chances}."
    )


def _undecided(values: StepValues, answer: AnswerValues) -> str:
    """What is said of an answer where no interval lies below 0: the step that may be it."""
    none = f"No step lowers the value by more than its {values.level:.0%} interval"
    s = answer.lowest_step
    fall = answer.monte_carlo_credits[s]
    if not answer.loses or fall.value > -0.005:  # what rounds to nothing is no fall
        return f"{none}."
    samples = max(estimate.samples for estimate in answer.monte_carlo)
    return (
        f"{none}; the largest fall is at step {s + 1} of {len(answer.step_texts)}, by "
        f"{nats(-fall.value)} nats ({signed(-fall.high)} to {signed(-fall.low)}). To settle it, "
        f"draw more: --continuations {8 * samples}, or --seconds 60."
    )


def alike(values: StepValues) -> str:
    """Why there is nothing to explain, and what to change; empty where there is something."""
    if not values.all_alike:
        return ""
    reward = number(values.answers[0].reward)
    samples = sum(estimate.samples for a in values.answers for estimate in a.monte_carlo)
    return (
        f"All answers and all {samples:,} continuations earned {reward}: no step can be told from "
        "another. Draw more (a larger group, more continuations, more seconds), take an easier or "
        "a harder question, a longer horizon, a higher temperature, or a reward that is finer."
    )
