"""When the reference moves: what a swap, a refresh, a partial refresh and a lower alpha do.

By enumeration; notebooks/theorems.md proves it, notebooks/moving_reference.md tells it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from gnivo_edu import objectives
from gnivo_edu.population import Answers, Expected, Population, expect, laws, point_at

Policy = Float[Tensor, "S V"]
Average = Literal["log-probabilities of answers", "logits", "probabilities of answers"]

value_loss = partial(objectives.vimpo, actor=0.0, baseline="leave_one_out")


def change_by_token(answers: Answers, policy: Policy, reference: Policy, alpha: float) -> Policy:
    """What each token adds to the implied value after a swap, less what it added before, reward.

    The value of a prefix is V_0 + the sum over its tokens of alpha (log pi/pi_ref - KL(pi||pi_ref)
    of the state). Seen from the reference of `answers`; `reference` replaces it.
    """

    def term(seen: Answers) -> Policy:
        logratio = (policy - seen.reference).masked_fill(~seen.legal, 0.0)
        return alpha * (logratio - seen.kl(policy)[:, None])

    return term(replace(answers, reference=reference)) - term(answers)


def along_answers(answers: Answers, by_token: Policy) -> Float[Tensor, "n T"]:
    """The sums after 1..T tokens of every answer; a finished answer stays where it is."""
    return answers.token_logps(by_token).cumsum(1)


def refreshes(answers: Answers, alpha: float, times: int) -> Iterator[tuple[Answers, Policy]]:
    """VIMPO at its rest, its reference then set to it, and so on: each reference (as answers seen
    from it) with the policy that rests there.
    """
    seen = answers
    for _ in range(times):
        policy = answers.from_law(laws.vimpo_law(seen, alpha))
        yield seen, policy
        seen = replace(seen, reference=policy)


def refreshed(answers: Answers, alpha: float, times: int) -> Policy:
    """The policy after so many refreshes of VIMPO."""
    *_, (_, policy) = refreshes(answers, alpha, times=times)
    return policy


def value_at(answers: Answers, policy: Policy, group_size: int, alpha: float) -> Expected:
    """VIMPO's value loss and its gradient on answers of the policy itself."""
    population = Population.of(answers, group_size, sampler="current")
    return expect(value_loss, population, point_at(answers, alpha, policy=policy), alpha=alpha)


def both_kls(answers: Answers, old: Policy, new: Policy) -> float:
    """KL(old || new) + KL(new || old) of the next token, nats, summed over the states that the old
    policy visits.
    """
    by_state = answers.kl(old, new) + answers.kl(new, old)
    return float(answers.visits(old) @ by_state)


def partly_refreshed(
    answers: Answers, alpha: float, times: int, rate: float, average: Average
) -> laws.Law:
    """The reference after so many partial refreshes of GN-IVO or GVPO: each goes `rate` of the way
    from the reference to pi* as seen from it, in one of three averages.
    """
    seen = answers
    for _ in range(times):
        old, new = answers.law(seen.reference), laws.tilt(seen, alpha)
        if average == "logits":  # of a table: every state by itself
            best = answers.from_law(new)
            reference = answers.policy((1 - rate) * seen.reference + rate * best)
        elif average == "log-probabilities of answers":
            logs = (1 - rate) * old.log() + rate * new.log()
            reference = answers.from_law(logs.softmax(0))
        else:
            reference = answers.from_law((1 - rate) * old + rate * new)
        seen = replace(seen, reference=reference)
    return answers.law(seen.reference)
