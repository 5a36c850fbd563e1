"""The rows of the baselines of GN-IVO's Table 1; `read_in` says what was read of a source."""

from __future__ import annotations

from dataclasses import replace

from gnivo_edu.population import laws
from gnivo_edu.population.atlas.row import Row, biased, collapses, exact, family, other, tilt_at

MANY_STEPS = {"normaliser": "seq-mean-token-sum", "scale": "none"}
WIDE = {"clip_low": 0.999, "clip_high": 1e9}  # no clipping: where the surrogate itself leads
JOINT = ("logits", "values")


ROWS: list[Row] = [
    *family(
        "grpo",
        "GRPO, arXiv 2402.03300",
        read_in="code",
        rows=[
            other(
                "k3 in the loss, no std, one step",
                "alpha pi_ref/(alpha - A)",
                law=lambda c: laws.grpo_by_state(c.answers, c.alpha, K=c.K, scale=False),
                settings={"scale": "none"},
                sampling="current",
                alpha=2.0,
                problem="one step",
            ),
            other(
                "k3 in the loss, std, one step",
                "alpha pi_ref/(alpha - A)",
                law=lambda c: laws.grpo_by_state(c.answers, c.alpha, K=c.K, scale=True),
                settings={"scale": "group"},
                sampling="current",
                alpha=2.0,
                problem="one step",
            ),
            other(
                "k3 in the loss, no std, token sums",
                "alpha pi_ref/(alpha - (A(s,a) - E_pi A(s,.))) in every state",
                law=lambda c: laws.grpo_by_state(c.answers, c.alpha, K=c.K, scale=False),
                settings=MANY_STEPS,
                sampling="current",
                alpha=2.0,
            ),
            biased("as published: std, 1/T, k3", sampling="current", alpha=2.0),
            other(
                "KL of whole answers, no std, token sums",
                "pi* at alpha K/(K - 1)",
                law=lambda c: laws.tilt(c.answers, c.alpha * c.K / (c.K - 1)),
                settings={"kl": "sequence", **MANY_STEPS},
                sampling="current",
            ),
            other(
                "KL of whole answers, std, token sums",
                "pi_ref e^{A/alpha}/Z: a temperature per prompt",
                law=lambda c: laws.self_tilt(
                    c.answers, c.K, statistic=laws.centred_rewards(scale=True), temperature=c.alpha
                ),
                settings={"kl": "sequence", "normaliser": "seq-mean-token-sum"},
                sampling="current",
                alpha=1.0,
            ),
            other(
                "exact KL per token, no std, token sums",
                "VIMPO's pi_V at alpha K/(K - 1)",
                law=lambda c: laws.vimpo_law(c.answers, c.alpha * c.K / (c.K - 1)),
                settings={"kl": "exact", **MANY_STEPS},
                sampling="current",
            ),
            collapses("no KL", settings={"kl": "none"}, sampling="current"),
        ],
    ),
    *family(
        "dr_grpo",
        "Dr. GRPO, arXiv 2503.20783",
        read_in="code",
        rows=[
            collapses("no KL, as published", sampling="current"),
            other(
                "no KL, kl_to_initial (kl_gradient=states)",
                "VIMPO's pi_V at beta K/(K - 1), beta = 0.5",
                law=lambda c: laws.vimpo_law(c.answers, 0.5 * c.K / (c.K - 1)),
                sampling="current",
                anchor=0.5,
                anchor_gradient="states",
            ),
            other(
                "no KL, kl_to_initial (kl_gradient=answers)",
                "pi* at beta K/(K - 1), beta = 0.5",
                law=lambda c: laws.tilt(c.answers, 0.5 * c.K / (c.K - 1)),
                sampling="current",
                anchor=0.5,
            ),
            other(
                "KL of whole answers",
                "pi* at alpha K/(K - 1)",
                law=lambda c: laws.tilt(c.answers, c.alpha * c.K / (c.K - 1)),
                settings={"kl": "sequence"},
                sampling="current",
            ),
        ],
    ),
    *family(
        "gspo",
        "GSPO, arXiv 2507.18071",
        read_in="third party",
        rows=[collapses("as published: std, one ratio a response", sampling="current")],
    ),
    *family(
        "cispo",
        "CISPO, arXiv 2506.13585",
        read_in="third party",
        rows=[
            collapses("as published: std, token mean", sampling="current"),
            replace(
                collapses("stale samples, no std", settings={"scale": "none"}, sampling="uniform"),
                theory="no interior rest; one reward, not the best: the weights are cut off",
            ),
        ],
    ),
    *family(
        "dapo",
        "DAPO, arXiv 2503.14476",
        read_in="third party",
        rows=[collapses("as published: std, token mean, mixed groups", sampling="current")],
    ),
    *family(
        "rloo",
        "RLOO, arXiv 2402.14740",
        read_in="code",
        rows=[
            exact("k1 in the reward", sampling="current"),
            exact(
                "k1 in the reward, REINFORCE form", settings={"clip_low": None}, sampling="current"
            ),
            exact(
                "advantages normalised",
                settings={"normalise": True},
                sampling="current",
                warm={"settings": {}},
            ),
            replace(
                collapses("stale samples, no clipping", settings=WIDE),
                theory="no interior rest; near a corner the push fades: one reward, by the start",
            ),
        ],
    ),
    *family(
        "ppo",
        "PPO, arXiv 1707.06347, KL in the reward",
        read_in="code",
        rows=[
            exact(
                "lam=1, a wrong critic",
                settings={"lam": 1.0},
                sampling="current",
                group_size=1,
                shift=0.3,
            ),
            exact(
                "lam=0.95, a critic that has learnt",
                settings={"whitened": False},
                sampling="current",
                group_size=1,
                free=JOINT,
            ),
            biased(
                "lam=0.95, a wrong critic",
                settings={"whitened": False},
                sampling="current",
                group_size=1,
                shift=0.3,
            ),
            replace(
                collapses(
                    "k3 in the reward",
                    settings={"lam": 1.0, "kl": "k3"},
                    sampling="current",
                    group_size=1,
                    random_starts=6,
                ),
                theory="no interior rest that attracts: what is rarer than under pi_ref is pushed "
                "out, and the start decides what that is",
            ),
        ],
    ),
    *family(
        "dro",
        "DRO, arXiv 2405.19107, Theorem 1 and Proposition 1",
        read_in="paper",
        rows=[
            exact("V learnt", group_size=1, free=JOINT),
            exact("V learnt, stale samples", group_size=1, sampling="uniform", free=JOINT),
            exact("a wrong V, on-policy", group_size=1, sampling="current", shift=-0.2),
            other(
                "a wrong V, stale samples",
                "alpha h = R - V - (pi/mu)(V^pi - V)",
                law=lambda c: laws.dro_wrong_value(
                    c.answers, c.alpha, value=c.value, sampler=c.sampler
                ),
                group_size=1,
                shift=-0.2,
            ),
        ],
    ),
    *family(
        "oreo",
        "OREO, arXiv 2412.16145, Theorem 2",
        read_in="paper",
        rows=[
            exact("V learnt, by token", group_size=1, free=JOINT),
            exact(
                "V learnt, by token, stale samples", group_size=1, sampling="uniform", free=JOINT
            ),
            exact(
                "V learnt, by response", settings={"level": "response"}, group_size=1, free=JOINT
            ),
            biased("a wrong V", group_size=1, shift=-0.2),
            biased(
                "a KL term, weight 0.01", settings={"kl_weight": 0.01}, group_size=1, free=JOINT
            ),
            biased(
                "a KL term, weight 0.05", settings={"kl_weight": 0.05}, group_size=1, free=JOINT
            ),
        ],
    ),
    *family(
        "online_dpo",
        "Online DPO, arXiv 2402.04792; IPO, arXiv 2310.12036",
        read_in="code",
        rows=[
            exact("Bradley-Terry labels, tau=1", settings={"labels": "soft"}),
            exact(
                "Bradley-Terry labels, stale samples",
                settings={"labels": "soft"},
                sampling="uniform",
            ),
            other(
                "Bradley-Terry labels, tau=0.5",
                "pi* at alpha tau",
                law=tilt_at(0.5),
                settings={"labels": "soft", "label_temperature": 0.5},
            ),
            collapses("hard labels, ties half and half", sampling="current"),
            collapses(
                "hard labels, ties half and half, stale samples", sampling="uniform", group_size=2
            ),
            other(
                "IPO, hard labels",
                "pi_ref e^{P/alpha}/Z, P the chance to beat a sample",
                law=lambda c: laws.preference_tilt(c.answers, c.alpha, sampler=c.sampler),
                settings={"form": "ipo"},
            ),
        ],
    ),
    *family(
        "sft_winning",
        "a baseline of GN-IVO (ICLR 2026); the recipe was not found",
        read_in="third party",
        rows=[
            other(
                "best of K, one round, ties shared",
                "F(r)^K - F(r-)^K",
                law=lambda c: laws.best_of(c.answers, c.K, sampler=c.sampler),
            ),
            other(
                "threshold 0.5, one round",
                "pi_ref given R >= 0.5",
                law=lambda c: laws.above(c.answers, 0.5, sampler=c.sampler),
                settings={"rule": "threshold", "threshold": 0.5},
                group_size=2,
            ),
            collapses("best of K of the policy itself", sampling="current"),
        ],
    ),
]
