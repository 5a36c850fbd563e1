"""Claims recomputed from their papers' formulas, with no call to an objective or to a search: where
a claim reads a row of the atlas, its end must be a rest of the loss written here.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnivo_edu.population import Answers, total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.claims import all_claims
from gnivo_edu.population.claims.claim import entry

CLAIMS = {claim.name: claim for claim in all_claims()}
ALPHA = 0.5


class World:
    """The answers of a problem, and what a table of logits says of them."""

    def __init__(self, name: str) -> None:
        data: Answers = problem(name)
        self.tokens, self.states, self.mask = data.tokens, data.states, data.mask.double()
        self.R, self.lengths = data.rewards, data.lengths
        self.from_law = data.from_law
        self.reference = self.token_logps(data.reference)
        self.law_ref = self.reference.sum(1).exp()
        self.w = (self.R / ALPHA).exp()

    def token_logps(self, logits: Tensor) -> Tensor:
        """log pi of each token, [n, T]; 0 after the end."""
        return logits.log_softmax(-1)[self.states, self.tokens] * self.mask

    def tilt(self, nats: Tensor) -> Tensor:
        """pi_ref e^x/Z by answer."""
        return (self.law_ref.log() + nats).softmax(0)

    def leaf(self, law: Tensor) -> Tensor:
        """Logits of the policy with this law of answers, to differentiate by."""
        return self.from_law(law).clone().requires_grad_()

    def gradient(self, loss: Tensor, leaf: Tensor) -> Tensor:
        return torch.autograd.grad(loss, leaf)[0]

    def mean_by_state(self, x: Tensor, weight: Tensor) -> Tensor:
        """The weighted mean of x over the answers that pass each state, [n, T] like x."""
        mass, total = (
            torch.zeros(int(self.states.max()) + 1, dtype=torch.float64).index_put(
                (self.states,), part * weight[:, None] * self.mask, accumulate=True
            )
            for part in (torch.ones_like(x), x)
        )
        return (total / mass)[self.states] * self.mask

    def soft_values(self) -> Tensor:
        """alpha log E_ref[e^{R/alpha} | s] at the state before each token."""
        by_token = self.w[:, None].expand_as(self.mask)
        return ALPHA * self.mean_by_state(by_token, self.law_ref).clamp(min=1e-300).log()


@pytest.fixture(scope="module")
def tree() -> World:
    return World("tree")


@pytest.fixture(scope="module")
def one_step() -> World:
    return World("one step")


def test_zero_loss_leaves_the_gradient_of_the_mean_reward(tree):
    leaf = tree.leaf(tree.law_ref)
    slope = tree.gradient(tree.token_logps(leaf).sum(1).exp() @ tree.R, leaf)
    assert CLAIMS["zero-loss"].number() == pytest.approx(float(slope.norm()), rel=1e-9)


def test_equal_rewards_leave_gvpo_the_variance_of_log_ratios_and_grpo_k3(one_step):
    law = one_step.tilt(one_step.R / ALPHA)
    leaf = one_step.leaf(law)
    h = one_step.token_logps(leaf).sum(1) - one_step.reference.sum(1)
    variance = law @ h.square() - (law @ h).square()
    slope = one_step.gradient(ALPHA**2 * variance / 2, leaf)
    assert CLAIMS["equal-rewards"].number() == pytest.approx(float(slope.norm()), rel=1e-9)
    h = one_step.token_logps(leaf).sum(1) - one_step.reference.sum(1)
    slope = one_step.gradient(ALPHA * law @ ((-h).exp() - 1 + h), leaf)
    claim = CLAIMS["equal-rewards-grpo"]
    assert claim.counterfactual() == pytest.approx(float(slope.norm()), rel=1e-9)


def test_k1_costs_the_reverse_kl_in_the_reward_and_nothing_in_the_loss(one_step):
    law = one_step.tilt(one_step.R / ALPHA)
    leaf = one_step.leaf(law)
    logp = one_step.token_logps(leaf).sum(1)
    h = logp - one_step.reference.sum(1)
    kl = one_step.gradient(logp.exp() @ h, leaf)
    logp = one_step.token_logps(leaf).sum(1)
    in_reward = one_step.gradient((law * h.detach()) @ logp, leaf)
    in_loss = one_step.gradient(law @ one_step.token_logps(leaf).sum(1), leaf)
    assert float((in_reward - kl).norm()) < 1e-12
    assert float(in_loss.norm()) < 1e-12 < float(kl.norm())
    assert CLAIMS["k1-in-the-reward"].counterfactual() == pytest.approx(1.0, abs=1e-9)


def push_of_ppo(world: World, law: Tensor, lam: float, shift: float) -> Tensor:
    """Expected gradient of PPO's loss, a token's advantage by GAE from its own definition, the
    critic off by `shift` times one more than the tokens before."""
    leaf = world.leaf(law)
    logps = world.token_logps(leaf)
    depth = torch.arange(world.mask.shape[1])
    values = (world.soft_values() + shift * (1 + depth)) * world.mask
    rewards = -ALPHA * (logps.detach() - world.reference) * world.mask
    last = depth == (world.lengths - 1)[:, None]
    rewards = rewards + world.R[:, None] * last
    following = torch.cat([values[:, 1:], torch.zeros_like(values[:, :1])], 1)
    surprise = (rewards + following - values) * world.mask
    advantage = torch.zeros_like(surprise)
    for t in range(surprise.shape[1]):
        for later in range(t, surprise.shape[1]):
            advantage[:, t] += lam ** (later - t) * surprise[:, later]
    return world.gradient(-(law @ (advantage * logps * world.mask).sum(1)), leaf)


@pytest.mark.slow
def test_a_wrong_critic_moves_ppo_only_below_lam_1(tree):
    best = tree.tilt(tree.R / ALPHA)
    assert float(push_of_ppo(tree, best, lam=1.0, shift=0.3).norm()) < 1e-12
    assert float(push_of_ppo(tree, best, lam=0.95, shift=0.0).norm()) < 1e-12
    assert float(push_of_ppo(tree, best, lam=0.95, shift=0.3).norm()) > 1e-3
    end = entry("ppo", "lam=0.95, a wrong critic").law
    assert float(push_of_ppo(tree, end, lam=0.95, shift=0.3).norm()) < 1e-9
    assert CLAIMS["ppo-gae"].number() == pytest.approx(total_variation(end, best), abs=1e-12)


def push_of_dro(world: World, law: Tensor, drawn: Tensor, value: float) -> Tensor:
    leaf = world.leaf(law)
    h = world.token_logps(leaf).sum(1) - world.reference.sum(1)
    return world.gradient(drawn @ (value - world.R + ALPHA * h).square() / 2, leaf)


@pytest.mark.slow
def test_a_wrong_value_moves_dro_off_policy_only(tree):
    best, value = tree.tilt(tree.R / ALPHA), ALPHA * float((tree.law_ref @ tree.w).log()) - 0.2
    assert float(push_of_dro(tree, best, drawn=best, value=value).norm()) < 1e-12
    row = entry("dro", "a wrong V, stale samples")
    assert row.row.sampling == "reference"
    assert float(push_of_dro(tree, best, drawn=tree.law_ref, value=value).norm()) > 1e-3
    assert float(push_of_dro(tree, row.law, drawn=tree.law_ref, value=value).norm()) < 1e-9
    far = total_variation(row.law, best)
    assert CLAIMS["dro-baseline"].number() == pytest.approx(far, abs=1e-12)


def push_of_oreo(world: World, law: Tensor, weight: float) -> Tensor:
    """Expected gradient of OREO's policy loss and KL on answers of the reference, the critic being
    what fits best."""
    leaf = world.leaf(law)
    x = (world.token_logps(leaf) - world.reference) * world.mask
    to_go = x.detach().flip(1).cumsum(1).flip(1)
    share = world.law_ref / world.lengths
    target = world.R[:, None] - ALPHA * to_go
    values = world.mean_by_state(target, share)
    residual = (values - target) * world.mask
    loss = share @ (2 * residual * ALPHA * x).sum(1)
    rows = leaf.log_softmax(-1)
    reference = world.from_law(world.law_ref)
    kl = (rows.exp() * (rows - reference)).sum(-1)[world.states] * world.mask
    return world.gradient(loss + weight * (share @ kl.sum(1)), leaf)


@pytest.mark.slow
def test_a_kl_term_moves_oreo(tree):
    best, end = tree.tilt(tree.R / ALPHA), entry("oreo", "a KL term, weight 0.01").law
    assert float(push_of_oreo(tree, best, weight=0.0).norm()) < 1e-12
    assert float(push_of_oreo(tree, best, weight=0.01).norm()) > 1e-4
    assert float(push_of_oreo(tree, end, weight=0.01).norm()) < 1e-8
    assert CLAIMS["oreo-kl"].number() == pytest.approx(total_variation(end, best), abs=1e-12)


@pytest.mark.slow
def test_dividing_by_the_deviation_tilts_by_its_own_advantage(tree):
    """GRPO with the KL of whole answers, K = 3: pi_ref e^{A/alpha}, by groups listed here."""
    end = entry("grpo", "KL of whole answers, std, token sums")
    n, alpha = len(tree.R), end.row.alpha
    groups = torch.cartesian_prod(*[torch.arange(n)] * 3)
    rewards = tree.R[groups]
    A = (rewards[:, 0] - rewards.mean(1)) / (rewards.std(1) + 1e-4)
    weight = end.law[groups[:, 1:]].prod(1) * A
    mean = torch.zeros(n, dtype=torch.float64).index_add(0, groups[:, 0], weight)
    assert total_variation(end.law, tree.tilt(mean / alpha)) < 1e-9
    plain = tree.tilt(tree.R / (alpha * 3 / 2))
    far = total_variation(end.law, plain)
    assert CLAIMS["grpo-std"].number() == pytest.approx(far, abs=1e-12)


def test_a_group_softmax_of_two_is_a_label_of_bradley_and_terry(tree):
    law = tree.tilt(tree.R)
    pairs = torch.cartesian_prod(*[torch.arange(len(law))] * 2)
    chance, R = tree.law_ref[pairs].prod(1), tree.R[pairs]

    def slope(kind: str, temperature: float) -> Tensor:
        leaf = tree.leaf(law)
        h = (tree.token_logps(leaf).sum(1) - tree.reference.sum(1))[pairs]
        if kind == "softmax":
            terms = -((R / temperature).softmax(1) * h.log_softmax(1)).sum(1)
        else:
            label = torch.sigmoid((R[:, 0] - R[:, 1]) / temperature)
            margin = h[:, 0] - h[:, 1]
            right, left = (torch.nn.functional.logsigmoid(m) for m in (margin, -margin))
            terms = -(label * right + (1 - label) * left)
        return tree.gradient(chance @ terms, leaf)

    gnivo = slope("softmax", ALPHA)
    assert float((gnivo - slope("label", ALPHA)).abs().max()) < 1e-12
    other = float((gnivo - slope("label", 1.0)).abs().max())
    assert CLAIMS["dpo-is-gnivo"].counterfactual() == pytest.approx(other, rel=1e-9)
