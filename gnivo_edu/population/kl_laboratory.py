"""The KL-estimator laboratory: what k1, k2, k3 estimate, and what their gradients do to a policy.

With x = log pi/pi_ref of a sample from pi, k1 = x, k2 = x^2/2 and k3 = e^{-x} - 1 + x are used in
three places:

    reward     E[ k(x) grad log pi ]           a constant of the sample, as a cost in its reward;
    loss       E[ grad k(x) ]                  differentiated, the samples held fixed;
    weighted   E[ grad (u k(x)) ]              differentiated together with u = pi/pi_b,

where pi_b is the behaviour policy: u is 1 on-policy, and its gradient is not 0.

An average has two reasons to move, since grad E[k] = E[grad k] + E[k grad log pi]: `loss` is the
first, `reward` the second, `weighted` both.

Source: the estimators are J. Schulman's (joschu.net/blog/kl-approx.html); that `loss` means 0,
reverse KL and forward KL, NVIDIA-NeMo/RL#2506 and OpenRLHF#1309; per-token weights,
huggingface/trl#4638. Every number here is enumerated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from gnivo_edu.exact.tree import Tables, TokenTree
from gnivo_edu.objectives.surrogate import kl_estimate
from gnivo_edu.population.answers import Answers

Estimator = Callable[[Tensor], Tensor]
LIMIT = 1e-10  # nats: two numbers closer than this are the same
MAX_ENTRIES = 2**24  # answers x logits: 128 MiB
PLACES = ("reward", "loss", "weighted")

ESTIMATORS: dict[str, Estimator] = {
    k: partial(kl_estimate, estimator=k) for k in ("k1", "k2", "k3")
}
# The control: log ref - log pi handed over where log pi - log ref is meant. k2 is even: it cannot
# tell.
INVERTED: dict[str, Estimator] = {
    "k1": lambda x: kl_estimate(-x, "k1"),
    "k3": lambda x: kl_estimate(-x, "k3"),
}
# What the expected gradient is on any tree; elsewhere it is none of the targets. Off-policy only
# "weighted" has a theory.
THEORY = {
    ("k1", "reward"): {"token": "reverse KL", "sequence": "reverse KL"},
    ("k1", "loss"): {"token": "zero", "sequence": "zero"},
    ("k1", "weighted"): {"token": "reverse KL per state", "sequence": "reverse KL"},
    ("k2", "loss"): {"token": "reverse KL per state", "sequence": "reverse KL"},
    ("k3", "loss"): {"token": "forward KL per state", "sequence": "forward KL"},
    ("k3", "weighted"): {"token": "reverse KL per state", "sequence": "reverse KL"},
}


@dataclass(frozen=True)
class KLRow:
    """One estimator in one place at one level: what it is worth on average, and where it pulls.

    `theory`: the target proven for it, or None. `value`: its mean, nats; `value_variance`: of one
    sample, nats^2; `value_error`: value - KL(pi || pi_ref). `gradient` [S, V]: the mean gradient by
    the logits of each reachable state; `gradient_variance`: trace of its covariance for one sample.
    `distances`: from each target, Euclidean; `equals`: the first target within 1e-10, or "none of
    these". `cosine`: with the reverse KL's gradient, None where either is zero.
    """

    estimator: str
    place: str
    level: str
    theory: str | None
    value: float
    value_error: float
    value_variance: float
    gradient: Float[Tensor, "S V"] = field(repr=False, compare=False)
    gradient_norm: float
    gradient_variance: float
    distances: dict[str, float]
    equals: str
    cosine: float | None

    @property
    def estimates_kl(self) -> bool:
        """Whether the mean is KL(pi || pi_ref)."""
        return abs(self.value_error) < LIMIT

    @property
    def holds(self) -> bool | None:
        """Whether the gradient is what theory says; None where theory says nothing."""
        return None if self.theory is None else self.distances[self.theory] < LIMIT

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain Python values."""
        return vars(self) | {
            "gradient": self.gradient.tolist(),
            "estimates_kl": self.estimates_kl,
            "holds": self.holds,
        }


@dataclass(frozen=True)
class KLReport:
    """All rows of one policy on one tree; `targets`: gradients [S, V] by name.

    `kl` = KL(pi || pi_ref) and `forward_kl` = KL(pi_ref || pi), nats, and `chi_square` =
    E_pi[pi/pi_ref] - 1 are over whole answers.
    """

    kl: float
    forward_kl: float
    chi_square: float
    on_policy: bool
    answers: int
    targets: dict[str, Tensor] = field(repr=False)
    rows: tuple[KLRow, ...]

    def __getitem__(self, key: tuple[str, str, str]) -> KLRow:
        """The row of (estimator, place, level)."""
        return next(row for row in self.rows if (row.estimator, row.place, row.level) == key)

    @property
    def passed(self) -> bool:
        """Whether every gradient is what theory says, and on-policy k1 and k3 average to the KL."""
        estimates = [row for row in self.rows if self.on_policy and row.estimator in ("k1", "k3")]
        as_proven = all(row.holds is not False for row in self.rows)
        return as_proven and all(row.estimates_kl for row in estimates)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain Python values."""
        return vars(self) | {
            "targets": {name: gradient.tolist() for name, gradient in self.targets.items()},
            "rows": [r.to_dict() for r in self.rows],
            "passed": self.passed,
        }

    def __str__(self) -> str:
        table = [["estimator", "place", "level", "mean", "mean - KL", "std", "gradient", "cosine"]]
        for r in self.rows:
            numbers = [f"{x:z.4f}" for x in (r.value, r.value_error, r.value_variance**0.5)]
            cosine = "" if r.cosine is None else f"{r.cosine:z.4f}"
            table.append([r.estimator, r.place, r.level, *numbers, r.equals, cosine])
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        padded = ([c.ljust(w) for c, w in zip(row, widths, strict=True)] for row in table)
        lines = ["  ".join(row).rstrip() for row in padded]
        what = f"nats, {self.answers:,} answers, {'on' if self.on_policy else 'off'}-policy"
        return "\n".join([f"KL {self.kl:.4f}, forward KL {self.forward_kl:.4f} {what}", *lines])


def kl_laboratory(
    tree: TokenTree,
    policy: Tables,
    behaviour: Tables | None = None,
    estimators: Mapping[str, Estimator] | None = None,
) -> KLReport:
    """Every estimator in every place, per token and per answer: exact moments and a verdict.

    At level "sequence" an estimator gets one number per answer, x = log pi(y)/pi_ref(y); at level
    "token" one per token, and the results are added up over the answer. In the reward the whole
    answer is charged either way. The reference is the tree's; `policy` and `behaviour` (who draws
    the answers, by default the policy itself) are tables [V**t, V], nats. Rewards play no part.
    `estimators`: functions of x; k1, k2, k3 unless given, and held to what is proven under these
    names: `INVERTED` is the control.

    Targets, by the logits: "zero"; "reverse KL", of KL(pi || pi_ref) over answers; "forward KL", of
    KL(pi_ref || pi); "... per state", of sum_s d(s) KL(next-token laws in s), with the chances d(s)
    to meet s, under who draws, held fixed. For one-step answers the latter two are the former two.
    Raises ValueError unless all three laws can write the same answers, if an estimator changes
    shapes, and on trees that are too large.

    >>> from gnivo_edu.exact import enumerate_tree_from_rewards, random_reference
    >>> tree = enumerate_tree_from_rewards([0, 0, 0], vocab_size=3)
    >>> report = kl_laboratory(tree, random_reference(3, 1, seed=0))
    >>> [report[k, "loss", "sequence"].equals for k in ("k1", "k2", "k3")]
    ['zero', 'reverse KL', 'forward KL']
    """
    answers = Answers.of(tree)
    if (size := len(answers.lengths) * answers.reference.numel()) > MAX_ENTRIES:
        raise ValueError(
            f"answers times logits are {size:,}, too many to list: take a smaller vocabulary or "
            "horizon"
        )
    current = _rows(answers, policy, name="policy")
    sampler = current if behaviour is None else _rows(answers, behaviour, name="behaviour")
    law, drawn = answers.law(current), answers.law(sampler)
    x = answers.token_logps(current) - answers.token_logps(answers.reference)
    h = x.sum(-1)
    targets = target_gradients(answers, current, sampler=sampler)
    kl = float(law @ h)
    log_u = answers.token_logps(current) - answers.token_logps(sampler)
    per_token = ("token", x, log_u, answers.mask)
    per_answer = ("sequence", h[:, None], log_u.sum(-1, True), answers.mask[:, :1])
    rows = []
    for name, estimator in (ESTIMATORS if estimators is None else estimators).items():
        for level, ratio, log_weight, inside in per_token, per_answer:
            value_and_slope = _value_and_slope(name, estimator, x=ratio)
            k, slope = (part.masked_fill(~inside, 0.0) for part in value_and_slope)
            u = log_weight.exp()
            # grad k(x) = k'(x) grad log pi and grad u = u grad log pi: in every place the gradient
            # is a push times the score of each token. The estimate is one sample's, of the KL.
            pushes = {"reward": k.sum(-1, True), "loss": slope, "weighted": u * (k + slope)}
            estimates = {"reward": k, "loss": k, "weighted": u * k}
            for place in PLACES:
                gradients = _per_answer(answers, current, push=pushes[place].expand_as(x))
                estimate = estimates[place].sum(-1)
                summary = _summary(estimate, gradients, drawn=drawn, kl=kl, targets=targets)
                proven = behaviour is None or place == "weighted"
                theory = THEORY.get((name, place), {}).get(level) if proven else None
                rows.append(KLRow(name, place, level=level, theory=theory, **summary))
    return KLReport(
        kl,
        forward_kl=float(-answers.law(answers.reference) @ h),
        chi_square=float(law @ torch.expm1(h)),
        on_policy=behaviour is None,
        answers=len(law),
        targets=targets,
        rows=tuple(rows),
    )


def target_gradients(
    answers: Answers, policy: Float[Tensor, "S V"], sampler: Float[Tensor, "S V"]
) -> dict[str, Float[Tensor, "S V"]]:
    """The gradients that an estimator may turn out to have, by autograd through the divergences."""
    logits = policy.masked_fill(~answers.legal, 0.0).detach().requires_grad_()
    pi = answers.policy(logits)
    ref = answers.reference
    visits = answers.visits(sampler)
    h = (answers.token_logps(pi) - answers.token_logps(ref)).sum(-1)
    losses = {
        "reverse KL": answers.law(pi) @ h,
        "forward KL": -answers.law(ref) @ h,
        "reverse KL per state": visits @ answers.kl(pi),
        "forward KL per state": visits @ answers.kl(ref, pi),
    }
    gradients = {
        name: torch.autograd.grad(loss, logits, retain_graph=True)[0]
        for name, loss in losses.items()
    }
    return {"zero": torch.zeros_like(policy)} | gradients


def _rows(answers: Answers, tables: Tables, name: str) -> Float[Tensor, "S V"]:
    """Checked rows [S, V] of a policy that can write exactly what the reference can."""
    shapes = [table.shape for table in answers.tree.step_logps]
    if [table.shape for table in tables] != shapes:
        raise ValueError(
            f"{name} must be tables of shapes {shapes}, got {[table.shape for table in tables]}"
        )
    rows = answers.from_tables(tables)
    if not bool(((rows.exp().sum(-1) - 1).abs() < 1e-9).all()):
        raise ValueError(
            f"the rows of {name} must be log-probabilities that sum to one: subtract their "
            "logsumexp"
        )
    if bool((rows.masked_fill(~answers.legal, 0.0) == -torch.inf).any()):
        raise ValueError(
            f"{name} never takes a token that the reference takes: the forward KL is infinite; "
            "smooth it"
        )
    return rows


def _value_and_slope(name: str, estimator: Estimator, x: Tensor) -> tuple[Tensor, Tensor]:
    """k(x) and dk/dx, by autograd."""
    leaf = x.detach().clone().requires_grad_()
    value = estimator(leaf)
    if value.shape != x.shape or not value.requires_grad:
        raise ValueError(f"estimator {name!r} must give one differentiable number for each x")
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]


def _per_answer(
    answers: Answers, policy: Tensor, push: Float[Tensor, "n T"]
) -> Float[Tensor, "n P"]:
    """sum_t push_t grad log pi(y_t | s_t) of each answer, by the logits, P = S V."""
    number, t = answers.mask.nonzero(as_tuple=True)
    states = answers.states[number, t]
    chosen = torch.nn.functional.one_hot(answers.tokens[number, t], policy.shape[1])
    score = chosen - policy[states].exp()  # d log softmax(z)_y / dz = one-hot(y) - softmax(z)
    out = policy.new_zeros(len(push), *policy.shape)
    out[number, states] = push[number, t, None] * score  # an answer meets a state once
    return out.flatten(1)


def _summary(
    estimate: Tensor, gradients: Tensor, drawn: Tensor, kl: float, targets: dict[str, Tensor]
) -> Any:
    """Mean and variance over the answers drawn, and which target the mean gradient is."""
    value = float(drawn @ estimate)
    mean = drawn @ gradients
    distances = {name: float((mean - target.flatten()).norm()) for name, target in targets.items()}
    reverse = targets["reverse KL"].flatten()
    both = float(mean.norm() * reverse.norm())
    hits = [name for name, distance in distances.items() if distance < LIMIT]
    return {
        "value": value,
        "value_error": value - kl,
        "value_variance": float(drawn @ (estimate - value).square()),
        "gradient": mean.view_as(targets["zero"]),
        "gradient_norm": float(mean.norm()),
        "gradient_variance": float(drawn @ (gradients - mean).square().sum(-1)),
        "distances": distances,
        "equals": next(iter(hits), "none of these"),
        "cosine": float(mean @ reverse) / both if both > LIMIT else None,
    }
