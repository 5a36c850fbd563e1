"""The rows of VIMPO: its value loss, the options of its code, its two actors."""

from __future__ import annotations

from dataclasses import replace

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.population import laws
from gnivo_edu.population.atlas.row import (
    Row,
    biased,
    collapses,
    exact,
    family,
    other,
    tilt_at,
)
from gnivo_edu.population.moving import refreshed


def vimpo_actor(batch: GroupBatch, alpha: float) -> LossOutput:
    """The actor branch of VIMPO alone, not whitened."""
    both = objectives.vimpo(batch, alpha, actor=1.0, whitened=False).loss
    return LossOutput(both - objectives.vimpo(batch, alpha, actor=0.0).loss)


ROWS: list[Row] = [
    *family(
        "vimpo",
        "VIMPO, arXiv 2606.20008",
        read_in="code",
        rows=[
            other(
                "value loss, leave-one-out mean",
                "pi_V: pi_ref e^{Q/alpha}, Q raw under pi_V",
                law=lambda c: laws.vimpo_law(c.answers, c.alpha),
                settings={"actor": 0.0, "baseline": "leave_one_out"},
                sampling="current",
            ),
            other(
                "value loss, group mean",
                "pi_V at alpha K/(K - 1)",
                law=lambda c: laws.vimpo_law(c.answers, c.alpha * c.K / (c.K - 1)),
                settings={"actor": 0.0},
                sampling="current",
            ),
            exact(
                "value loss, leave-one-out mean, one step",
                settings={"actor": 0.0, "baseline": "leave_one_out"},
                sampling="current",
                problem="one step",
            ),
            other(
                "value loss, leave-one-out mean, 3 refreshes of the reference",
                "pi_0 e^{(Q_1 + Q_2 + Q_3)/alpha}, Q_k raw under the policy of refresh k",
                law=lambda c: c.answers.law(refreshed(c.answers, c.alpha, times=3)),
                settings={"actor": 0.0, "baseline": "leave_one_out"},
                sampling="current",
                refreshes=3,
            ),
            other(
                "value loss, leave-one-out mean, one step, 3 refreshes",
                "pi_0 e^{3R/alpha}/Z",
                law=tilt_at(1 / 3),
                settings={"actor": 0.0, "baseline": "leave_one_out"},
                sampling="current",
                problem="one step",
                refreshes=3,
            ),
            biased(
                "value loss, stale samples", settings={"actor": 0.0, "baseline": "leave_one_out"}
            ),
            other(
                "value loss, KL not detached, leave-one-out mean",
                "pi_V: pi_ref e^{Q/alpha}, Q raw under pi_V",
                law=lambda c: laws.vimpo_law(c.answers, c.alpha),
                settings={"actor": 0.0, "baseline": "leave_one_out", "detached": False},
                sampling="current",
            ),
            exact(
                "soft value, leave-one-out mean",
                settings={"actor": 0.0, "baseline": "leave_one_out", "value": "soft"},
                sampling="current",
            ),
            other(
                "soft value, group mean",
                "pi_ref e^{Q/a}, a = alpha K/(K - 1), Q the expected R - alpha KL of later tokens",
                law=lambda c: laws.vimpo_law(c.answers, c.alpha * c.K / (c.K - 1), price=c.alpha),
                settings={"actor": 0.0, "value": "soft"},
                sampling="current",
            ),
            biased(
                "value loss, group mean, capped at 0.4",
                settings={"actor": 0.0, "cap": 0.4},
                sampling="current",
            ),
            replace(
                collapses(
                    "actor loss alone climbs the KL",
                    function=vimpo_actor,
                    sampling="current",
                    random_starts=6,
                ),
                theory="pi_ref is a rest that repels; from elsewhere one answer, whatever it earns",
            ),
            biased(
                "value and whitened actor loss",
                settings={"actor": 0.01},
                sampling="current",
                warm={"settings": {"actor": 0.0}},
            ),
            other(
                "value and whitened actor loss, one step",
                "pi_ref e^{(1 - 1/K) R/c}/Z, c = alpha - actor/sd(A)",
                law=lambda c: laws.vimpo_one_step(c.answers, c.alpha, actor=0.01, K=c.K),
                settings={"actor": 0.01},
                sampling="current",
                problem="one step",
                warm={"settings": {"actor": 0.0}},
            ),
            other(
                "value loss and GRPO's actor, one step",
                "pi_ref e^{((1 - 1/K) R + actor A/alpha)/alpha}/Z",
                law=lambda c: laws.vimpo_with_grpo(c.answers, c.alpha, actor=0.01, K=c.K),
                settings={"actor": 0.01, "advantages": "group"},
                sampling="current",
                problem="one step",
            ),
        ],
    ),
]
