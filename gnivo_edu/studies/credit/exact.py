"""Credit where it can be counted: a table learns the poster's problem, 128 answers, by a method,
and its implicit credits are held against the exact ones.
"""

from __future__ import annotations

import shutil
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from gnivo_edu import exact
from gnivo_edu.policies import TabularLM, tabulate
from gnivo_edu.statistics import Array
from gnivo_edu.studies.credit.measures import ALPHA, hit
from gnivo_edu.studies.rewards import Reward
from gnivo_edu.training import fine_tune, load_config
from toy_envs import PosterProblem, TokenMDP
from toy_envs.core import Prefix

RATE, PROMPTS, K = 0.05, 8, 8  # the same for every method: a table of 254 numbers
ANSWERS = tuple(product((0, 1), repeat=7))


@cache
def key() -> exact.Solution:
    """Exact values of the poster's problem under its own reference, at `ALPHA`."""
    return exact.solve(exact.enumerate_tree(PosterProblem()), ALPHA)


def chances(answer: Prefix) -> Array:
    """Chance of ending right before each step of an answer and after the last, exact."""
    return np.array([key().success_probability(answer[:t]) for t in range(len(answer) + 1)])


def likelihood(answer: Prefix) -> float:
    """Probability of an answer under the reference."""
    tree = key().tree
    t, number = tree.index(answer)
    return float(np.exp(tree.prefix_logps[t][number]))


def facts() -> dict[str, float]:
    """Where the wrong answers of the reference go wrong, exact, weighed by their probability.

    `drop_nats` and `drop_chances`: how often the largest drop is that of the first mistake, in soft
    values at `ALPHA` and in chances of ending right; `last_chance`: how often the first mistake is
    the last missed chance, the step after which no continuation is right; `first_drop`: how often
    the first drop is the first mistake.
    """
    wrong = [answer for answer in ANSWERS if chances(answer)[-1] == 0]
    weights = np.array([likelihood(answer) for answer in wrong])
    shares: dict[str, list[float]] = {
        name: [] for name in ("drop_nats", "drop_chances", "first_drop", "last_chance")
    }
    for answer in wrong:
        first, credits, change = (
            answer.index(1),
            key().step_credit(answer),
            np.diff(chances(answer)),
        )
        shares["drop_nats"].append(hit(credits, first))
        shares["drop_chances"].append(hit(change, first))
        shares["first_drop"].append(float(np.flatnonzero(change < 0)[0] == first))
        missed = np.flatnonzero((chances(answer)[:-1] > 0) & (chances(answer)[1:] == 0))
        shares["last_chance"].append(float(missed[-1] == first))
    return {name: float(np.average(share, weights=weights)) for name, share in shares.items()}


def train_table(setting: str, reward: Reward, steps: int, seed: int, folder: Path) -> list[Array]:
    """Implicit credits log pi/pi_ref of every step of the 128 answers, after training a table that
    starts at the reference.
    """
    problem: TokenMDP = _Coins(seed) if reward == "random" else PosterProblem()
    config = load_config(
        setting=setting,
        learning_rate=RATE,
        prompts_per_step=PROMPTS,
        group_size=K,
        steps=steps,
        seed=seed,
        report_questions=0,
        completions_every=1_000_000,
        save_every=1_000_000,
        out=str(folder),
    )
    run = fine_tune(config, policy=TabularLM.from_mdp(problem), task=problem)
    shutil.rmtree(folder)
    return implicit_credits(run.policy)


def implicit_credits(policy: nn.Module) -> list[Array]:
    """log pi/pi_ref of every step of the 128 answers."""
    tables, tree = tabulate(policy, PosterProblem()), key().tree
    credits = []
    for answer in ANSWERS:
        places = [(*tree.index(answer[:t]), token) for t, token in enumerate(answer)]
        credits.append(np.array([tables[t][n, a] - tree.step_logps[t][n, a] for t, n, a in places]))
    return credits


class _Coins(PosterProblem):
    """The same problem paid by a fair coin."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = np.random.default_rng([seed, 0x504C])

    def _score(self, tokens: Any, *_: Any) -> Any:
        return self.rng.integers(2, size=len(tokens)).astype(np.float64)


def against_exact(credits: list[Array]) -> dict[str, Any]:
    """Implicit credits of the 128 answers beside exact ones, every step weighed by how likely the
    reference is to take it.

    `correlation`: Pearson's, with the exact credits in nats; `in_chances`: with the exact changes
    of the chance of ending right; `inverse_alpha`: the slope, times 1/`ALPHA`, of the
    implicit credits on the exact ones; `drop`: how often the lowest implicit credit of a wrong
    answer is the exact one's step; `first_mistake`: how often it is the first mistake; `examples`:
    the credits of the poster's four answers.
    """
    weights = np.repeat([likelihood(answer) for answer in ANSWERS], 7)
    implicit, true = np.concatenate(credits), np.concatenate([*map(key().step_credit, ANSWERS)])
    changes = np.concatenate([np.diff(chances(answer)) for answer in ANSWERS])
    (a, c), (_, b) = np.cov(implicit, true, aweights=weights)
    (_, d), (_, e) = np.cov(implicit, changes, aweights=weights)
    spread = a if a > 0 else np.nan  # of credits that are all alike no correlation is known
    wrong = [i for i, answer in enumerate(ANSWERS) if chances(answer)[-1] == 0]
    masses = [likelihood(ANSWERS[i]) for i in wrong]
    drops = [hit(credits[i], int(key().step_credit(ANSWERS[i]).argmin())) for i in wrong]
    firsts = [hit(credits[i], ANSWERS[i].index(1)) for i in wrong]
    return {
        "correlation": float(c / np.sqrt(spread * b)),
        "in_chances": float(d / np.sqrt(spread * e)),
        "inverse_alpha": float(c / b) / ALPHA,
        "drop": float(np.average(drops, weights=masses)),
        "first_mistake": float(np.average(firsts, weights=masses)),
        "examples": {
            name: credits[ANSWERS.index(answer)].round(3).tolist()
            for name, answer in PosterProblem.examples.items()
        },
    }
