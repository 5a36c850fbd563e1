# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07 · Three ways to fire the critic
#
# **Claim.** GVPO forgives old data, GN-IVO does not (before the last step),
# and VIMPO aims elsewhere.
#
# *Learner time: about 45 minutes. Run time: seconds on a laptop, no GPU. We
# use torch.*
#
# **So far we know** (notebook 06) that a trained policy knows the value by
# itself, so that a critic may be let go; GN-IVO (notebook 05) never had one,
# but its answers came fresh from the reference. **We still cannot** say what
# happens when they do not, or whether others who work without a critic end at
# the same policy.
#
# After this notebook you can
#
# - write the loss of GVPO, and say why nobody has to know $\log Z$;
# - tell which objective may be fed with other people's answers, and why;
# - write the residual of VIMPO, and compute the policy that makes it zero;
# - check any such claim yourself, over all groups of a small problem.
#
# Three new symbols: $\mu$, the policy that *wrote* the answers; $\kappa_t$,
# the KL that is paid at step $t$; and $\pi_V$, the policy VIMPO aims at. (And
# $h$ is short for the $\rho_T$ of notebook 05, the log-ratio of a whole
# answer.)

# %% [markdown]
# ## Fifteen answers
#
# Old data are cheap: last week's answers, another model's answers, people's
# answers. Which methods can learn from them? To find out we need a place
# where *everything* can be counted. Two letters and a full stop, at most
# three tokens: fifteen answers, some short, some long. Each has a reward of
# its own, and the writer has random habits.

# %%
from functools import partial

import numpy as np
import torch

import toy_envs
from gnivo_edu import exact, figures, objectives
from gnivo_edu.course import check
from gnivo_edu.population import (
    Answers, Population, expect, point_at, total_variation)
from gnivo_edu.population.roots import rest

torch.set_num_threads(1)
prizes = np.random.default_rng(1).random((3, 3, 3))


def reward(tokens, lengths):
    written = np.arange(3) < lengths[:, None]
    first, second, third = np.where(written, tokens, 2).T
    return prizes[first, second, third]


# %%
words = toy_envs.TokenMDP(3, 3, reward, 2, vocabulary=("a", "b", "."))
habits = exact.random_reference(3, 3, seed=1)
tree = exact.enumerate_tree(words, habits)
alpha = 0.3
key = exact.solve(tree, alpha)
figures.prefix_tree(
    key, words.vocabulary, key.optimal_step_logps, "credit", nodes=15,
    reference="random habits", policy_name="π*",
)

# %% [markdown]
# The best policy $\pi^*$ likes "aba" and would rather not start with "b". All
# this we know because we counted. Now three methods that do not count.
#
# ## GVPO: whatever is the same for all, subtract it
#
# Take logarithms of the tilt (2.2). At the best policy, for every answer,
#
# $$R(y) - \alpha\, h(y) = \alpha \log Z,
# \qquad h(y) = \log \frac{\pi^*(y)}{\pi_{\text{ref}}(y)}. \tag{7.1}$$
#
# On the right stands the number nobody can compute. But look what kind of
# number it is: the *same* one for every answer. So do not compute it. Ask
# that the left side be the same, whatever it is. GVPO takes a group and asks
# for no variance:
#
# $$L = \frac{1}{2(K-1)} \sum_i \Big( \big(R_i - \bar R\big)
# - \alpha \big(h_i - \bar h\big) \Big)^2. \tag{7.2}$$
#
# ### Exercise 21 · The loss of GVPO (8 minutes, medium, important)
#
# One group. The log-probabilities have one row per answer; `mask` says which
# entries are tokens. What stands elsewhere may be anything, even nan. Both
# means are over the whole group. Stuck? `check.gvpo_loss.hint()`.

# %%
def gvpo_loss(policy_logps, reference_logps, mask, rewards, alpha):
    ### BEGIN SOLUTION
    h = np.where(mask, policy_logps - reference_logps, 0.0).sum(axis=1)
    left = (rewards - rewards.mean()) - alpha * (h - h.mean())
    return (left**2).sum() / (2 * (len(rewards) - 1))
    ### END SOLUTION


check.gvpo_loss(gvpo_loss)

# %% [markdown]
# **Predict.** We put your function to every group of 2, 3 and 4 answers, with
# the probability of that group, and take the mean. Bigger groups: bigger
# loss, smaller loss, the same? And with $1/K$ in place of $1/(K-1)$?
#
# **Run.**

# %%
answers = Answers.of(tree)
best = answers.tilted(answers.rewards / alpha)
start, optimum = (
    point_at(answers, alpha, p) for p in (answers.reference, best))


def mean_loss(size, point):
    batch = Population.of(answers, size).batch(point)
    fields = (batch.policy_logps, batch.reference_logps, batch.mask,
              batch.rewards)
    groups = zip(*(x.detach().numpy() for x in fields), strict=True)
    losses = [gvpo_loss(*group, alpha) for group in groups]
    return batch.group_weight.numpy() @ losses


for size in (2, 3, 4):
    mean = mean_loss(size, start)
    print(f"groups of {size}: at the reference {mean:.6f}, with 1/K "
          f"{mean * (size - 1) / size:.6f}; at the best policy zero:",
          mean_loss(size, optimum) < 1e-20)
law = answers.law(answers.reference).numpy()
spread = np.cov(answers.rewards.numpy(), aweights=law, ddof=0)
print(f"half the variance of R:          {spread / 2:.6f}")

# %% [markdown]
# **Explain.** The same for every $K$. That is what $K - 1$ is for: a group
# measures its variance around its own mean, and with $K - 1$ the mistake
# evens out. So on average, groups or no groups,
#
# $$\mathbb{E}[L] = \tfrac{1}{2} \operatorname{Var}_{\mu}
# \big[R - \alpha h\big]. \tag{7.3}$$
#
# Now look where the writer $\mu$ of the answers appears: only in the weights
# of a variance. A variance is zero if nothing varies, however you weigh it.
# The slope says the same,
#
# $$\nabla\, \mathbb{E}[L] = \alpha \operatorname{Cov}_{\mu}
# \big[\alpha h - R,\; \nabla \log \pi_\theta\big], \tag{7.4}$$
#
# and at $\pi^*$ the left partner is a constant. Any writer will do.
#
# **Predict.** Any? Two writers besides the reference: one who picks tokens
# uniformly, and a stranger with other habits. We look at the push at $\pi^*$;
# and then let the policy loose at the reference and see where it comes to
# rest, by Newton's method on the exact expected gradient. How far from
# $\pi^*$?

# %%
stranger = exact.random_reference(3, 3, seed=7)
writers = {"reference": "reference", "uniform writer": "uniform",
           "stranger": stranger}


def miss(policy):
    """Total variation from the best policy, over whole answers."""
    return total_variation(answers.law(policy), answers.law(best))


def report(loss):
    for name, writer in writers.items():
        population = Population.of(answers, 2, writer)
        at_best = expect(loss, population, optimum, alpha=alpha)
        push = float(at_best.gradient["logits"].abs().max())
        at_rest = rest(loss, population, start, alpha=alpha)
        far = miss(answers.policy(at_rest.point.logits))
        push, far = (0.0 if x < 1e-9 else x for x in (push, far))
        print(f"answers by the {name:<14}  push at π* {push:.3f}, "
              f"rests {far:.3f} from π*")


report(objectives.gvpo)

# %% [markdown]
# **Explain.** Zero everywhere (what is below $10^{-9}$ is printed as zero).
# That is a rare thing in reinforcement learning, and it took one subtraction.
#
# There is small print. Suppose the writer *never* begins with "b". Then we
# may move probability between "b..." and the rest of the answers, as much as
# we like, and scramble what follows "b": does the loss notice?

# %%
shy = [table.copy() for table in habits]
shy[0][0, 1] = -700.0  # the chance of "b", a logarithm
shy[0][0] -= np.logaddexp.reduce(shy[0][0])
no_b = Population.of(answers, 2, shy)
begins_with_b = answers.tokens[:, 0] == 1

for share in (0.01, 0.3, 0.9):
    moved = best.clone()  # state 0 is the empty answer, state 2 is "b"
    moved[0] += torch.log((1 - share) / (1 - best[0, 1].exp()))
    moved[0, 1] = np.log(share)
    moved[2] = answers.reference[2]  # after "b": as before training
    loss = expect(objectives.gvpo, no_b,
                  point_at(answers, alpha, moved), alpha=alpha).loss
    begun = float(answers.law(moved)[begins_with_b].sum())
    print(f"{begun:4.0%} begin with b, {miss(moved):.3f} from π*, "
          f"loss is zero: {loss < 1e-20}")

# %% [markdown]
# It cannot. What is never written is never compared. GVPO forgives old data,
# as long as every answer turns up in them now and then.
#
# ## GN-IVO: who finishes the answer?
#
# GN-IVO compares prefixes, and pays each with the reward of the answer it
# became: a lottery ticket, in the words of notebook 04. Its mean price was
# right because the reference wrote the rest. Let $\mu$ write instead, and the
# price at depth $t$ is $\mathbb{E}_\mu[e^{R/\alpha} \mid s_t]$. So the loss
# of depth $t$ comes to rest where
#
# $$\pi_\theta(s_t) \;\propto\; \pi_{\text{ref}}(s_t)\;
# \mathbb{E}_{\mu}\big[e^{R/\alpha} \,\big|\, s_t\big]. \tag{7.5}$$
#
# Read it slowly. Who wrote the *prefix* does not appear. Who *finished* it
# does. **Predict** the four lines that follow before you run.

# %%
uniform = exact.uniform_reference(3, 3)


def prefix_law(policy, t):
    """Probability of each prefix of t tokens; a finished answer stays."""
    laws = torch.zeros(answers.num_ends, dtype=torch.float64)
    return laws.index_add(0, answers.ends[:, t - 1], answers.law(policy))


for first, then in ((uniform, habits), (habits, uniform)):
    who = ("uniform, then reference" if first is uniform
           else "reference, then uniform")
    for t in (1, 2):
        population = Population.of(answers, 2, [*first[:t], *then[t:]])
        depths = torch.full((len(population.choice),), t)
        loss = partial(objectives.gnivo, prefixes="given", depths=depths)
        at_rest = rest(loss, population, start, alpha=alpha)
        ours = prefix_law(answers.policy(at_rest.point.logits), t)
        far = total_variation(ours, prefix_law(best, t))
        print(f"t = {t}, {who}: prefixes miss π* by "
              f"{far if far > 1e-9 else 0:.4f}")

# %% [markdown]
# **Explain.** Prefixes may come from anywhere. Completions may not. And at
# the last step nothing is left to complete: a whole answer has one reward,
# and no lottery. So GN-IVO with the last step only should forgive as GVPO
# does, and with all its steps it should not.

# %%
print("last step only")
report(partial(objectives.gnivo, prefixes="last"))
print("all prefixes")
report(objectives.gnivo)

# %% [markdown]
# It is a trade. Before the last step, an objective that learns about the
# *middle* of an answer must be told how answers go on, and somebody has to
# write that. GVPO never asks about the middle.
#
# ## VIMPO: a price at every step
#
# The third way. Suppose a policy does, at each step, what is best for some
# value of the prefix it leads to: $\pi(a \mid s) \propto \pi_{\text{ref}}(a
# \mid s)\, e^{V(s, a)/\alpha}$, here with $V$ in units of reward. Take
# logarithms, and average both sides over $\pi$ to get rid of the normaliser.
# If $V(s)$ is the plain *mean* of what follows, what remains is
#
# $$V(s_t) - V(s_{t-1}) = \alpha\, (\rho_t - \rho_{t-1}) - \alpha\, \kappa_t,
# \qquad \kappa_t = \mathrm{KL}\big(\pi_\theta \,\|\, \pi_{\text{ref}}\big)
# (s_{t-1}). \tag{7.6}$$
#
# So a policy carries a value in itself, no critic and no $\log Z$. Add up
# over an answer: the last value is $R$, the first is the mean reward, for
# which VIMPO takes the mean of the group. The error of answer $i$ is
#
# $$e_i = \sum_t \alpha\, (\rho_t^i - \rho_{t-1}^i - \kappa_t^i)
# - \big(R_i - \bar R\big), \qquad L = \frac{1}{2K} \sum_i e_i^2. \tag{7.7}$$
#
# ### Exercise 22 · The residual of VIMPO (10 minutes, hard, important)
#
# Return the errors $e_i$ and the slope of $L$ in every log-probability of
# $\pi_\theta$. One rule of VIMPO matters for the slopes: $\kappa$ is computed
# and then *held constant*. Padding has slope 0.

# %%
def vimpo_residual(policy_logps, reference_logps, policy_kl, mask,
                   rewards, alpha):
    ### BEGIN SOLUTION
    step = np.where(mask, policy_logps - reference_logps - policy_kl, 0.0)
    errors = alpha * step.sum(axis=1) - (rewards - rewards.mean())
    slopes = np.where(mask, alpha * errors[:, None] / len(rewards), 0.0)
    return errors, slopes
    ### END SOLUTION


check.vimpo_residual(vimpo_residual)

# %% [markdown]
# Notice the slopes: one number per answer, at all of its tokens. (Steps are
# told apart as in notebook 05, by averaging over answers with a common
# beginning.)
#
# ## Where is the error zero?
#
# Look again at what we assumed: $V(s)$ is the *mean* of what follows. Rewards
# only; the KL that is still to be paid is not in it. So go back one token at
# a time, as in notebook 03, with a mean where the soft backup (3.2) stood:
#
# $$\pi_V(a \mid s) \propto \pi_{\text{ref}}(a \mid s)\, e^{Q(s, a)/\alpha},
# \qquad Q(s, a) = \mathbb{E}_{\pi_V}\big[R \mid s, a\big]. \tag{7.8}$$

# %%
def vimpo_target(tree, alpha):
    value, tables = tree.rewards, []
    for log_reference in reversed(tree.step_logps):
        q = value.reshape(log_reference.shape)
        table = log_reference + q / alpha
        table -= np.logaddexp.reduce(table, axis=1, keepdims=True)
        tables.insert(0, table)
        value = (np.exp(table) * q).sum(axis=1)  # a mean, not a soft value
    return tables


def errors_of(policy):
    """Your residual of all fifteen answers, as one large group."""
    kl = answers.kl(policy)[answers.states]
    given = (answers.token_logps(policy),
             answers.token_logps(answers.reference), kl, answers.mask)
    given = [x.numpy() for x in (*given, answers.rewards)]
    return vimpo_residual(*given, alpha)[0]


# %% [markdown]
# We put all fifteen answers into one group. Its plain mean of rewards is not
# the mean reward of any policy, so the errors of a policy that fits are not
# zero; but they are the *same* number for all fifteen.
#
# **Predict.** Three policies: the reference, $\pi^*$, and $\pi_V$. For which
# of them do all errors agree, that is, have no spread?

# %%
pi_v = answers.from_tables(vimpo_target(tree, alpha))
for name, policy in (("the reference", answers.reference),
                     ("π*", best), ("π_V", pi_v)):
    spread = np.ptp(errors_of(policy))
    spread = spread if spread > 1e-12 else 0.0
    print(f"{name:<14} spread of errors {spread:.3f}   distance from π* "
          f"{miss(policy):.3f}")

# %% [markdown]
# **Explain.** Not for $\pi^*$. VIMPO's value loss is not a clumsy way to
# $\pi^*$, it is an exact way to somewhere else. The difference is foresight.
# $\pi^*$ knows that a prefix will cost KL later on and takes that off its
# value; $\pi_V$ pays step by step and is surprised every time. With answers
# of one step there is no later, and the two agree.
#
# ## Does the value end at R, or at 0?
#
# VIMPO's paper keeps other books. At the end no reward remains to be had, so
# it sets $V(s_T) = 0$ and pays $R$ on the way, with the last token. We let
# the last value *be* $R$. With $r_t$ for what is paid with token $t$, (7.6)
# has one more term,
#
# $$V(s_t) - V(s_{t-1}) + r_t = \alpha\, (\rho_t - \rho_{t-1})
# - \alpha\, \kappa_t, \qquad V(s_T) = R - \sum_t r_t.$$
#
# Ours is $r_t = 0$; theirs is $r_T = R$. One could also pay in equal parts.
#
# **Predict.** At $\pi_V$ the anchor holds in our books. In which others? And
# at the reference, where it does not hold: who sees the larger error?

# %%
def books(policy, paid):
    """By how much V misses its anchor, for all fifteen answers."""
    log_ratio = answers.token_logps(policy) - start_logps
    kl = answers.kl(policy)[answers.states]
    step = alpha * (log_ratio - kl).where(answers.mask, zero) - paid
    value = answers.law(policy) @ answers.rewards + step.cumsum(1)
    return value[:, -1] - (answers.rewards - paid.sum(1))


start_logps = answers.token_logps(answers.reference)
zero = torch.zeros(15, 3, dtype=torch.float64)
gains = answers.rewards[:, None]
last = torch.arange(3) == answers.lengths[:, None] - 1
ways = {"nothing, V(s_T) = R": zero, "R with the last token": gains * last,
        "R in equal parts": gains * answers.mask / answers.lengths[:, None]}
ours = books(answers.reference, zero)
for name, paid in ways.items():
    at_rest, elsewhere = (
        books(policy, paid) for policy in (pi_v, answers.reference))
    print(f"paid on the way: {name:<22} anchor holds at π_V:",
          bool(at_rest.abs().max() < 1e-12),
          "  same errors elsewhere:",
          bool((elsewhere - ours).abs().max() < 1e-12))

# %% [markdown]
# **Explain.** They are one and the same. Add up the steps: whatever was paid
# on the way is missing at the end, and (7.7) remains. Values *on the way*
# differ by what has been paid so far, which is bookkeeping and no foresight.
# (Pay $R$ with the last token and anchor at $R$ as well, and it is counted
# twice.)
#
# This is also why no environment here pays token by token. As long as nothing
# is discounted, $\pi^*$, (7.2) and (7.7) see the sum and nothing else.
#
# ## Left out of one's own mean
#
# A smaller thing hides in $R_i - \bar R$. The mean has $R_i$ itself in it,
# and so
#
# $$\mathbb{E}\big[R_i - \bar R \,\big|\, y_i\big]
# = \Big(1 - \frac{1}{K}\Big)\big(R_i - \mathbb{E}R\big): \tag{7.9}$$
#
# a reward that is too small by $1 - 1/K$, or an $\alpha$ too large by
# $K/(K-1)$. We try the group's mean and the mean of the *others*
# ("leave-one-out"), at two policies: $\pi_V$ for $\alpha$, and $\pi_V$ for
# $\alpha K/(K-1)$. The answers are written by the policy itself.

# %%
for size in (2, 3, 4):
    own = Population.of(answers, size, "current")
    for baseline in ("mean", "leave_one_out"):
        pushes = []
        for a in (alpha, alpha * size / (size - 1)):
            policy = answers.from_tables(vimpo_target(tree, a))
            expected = expect(
                objectives.vimpo, own, point_at(answers, alpha, policy),
                alpha=alpha, actor=0.0, baseline=baseline)
            push = float(expected.gradient["logits"].abs().max())
            pushes.append("rests" if push < 1e-12 else f"{push:.6f}")
        print(f"groups of {size}, {baseline:<14} push at α: {pushes[0]:<8}"
              f"   at α K/(K-1): {pushes[1]}")

# %% [markdown]
# Leave yourself out, and the shrinking is gone. (The published loss uses the
# group's mean, with groups of 8; leave-one-out is our variant. GVPO has no
# such problem: it centres $h$ by the same kind of mean as $R$.)
#
# ## The actor that climbs
#
# The value loss is one half of VIMPO. The other half turns the steps of (7.6)
# into advantages, $A_t = \sum_{l \ge t} \alpha (\rho_l - \rho_{l-1} -
# \kappa_l)$, and pushes each token by its own: at last something that differs
# from step to step. What does it push towards? On average, over answers of
# the policy itself,
#
# $$\mathbb{E}\Big[\sum_t A_t \nabla \log \pi_\theta(y_t \mid s_{t-1})\Big]
# = +\,\alpha \sum_s \Pr(s)\; \nabla\,
# \mathrm{KL}\big(\pi_\theta \,\|\, \pi_{\text{ref}}\big)(s). \tag{7.10}$$
#
# Mind the sign. **Predict:** towards the reference, or away from it?

# %%
own = Population.of(answers, 2, "current")


def actor_push(policy, lam):
    value_only, with_actor = (
        expect(objectives.vimpo, own, point_at(answers, alpha, policy),
               alpha=alpha, actor=weight, lam=lam, whitened=False)
        for weight in (0.0, 1.0))
    push = value_only.gradient["logits"] - with_actor.gradient["logits"]
    # the library's actor loss is a mean over tokens, (7.10) a sum
    return push * (answers.law(policy) @ answers.lengths.double())


def climb(policy):
    logits = point_at(answers, alpha, policy).logits.requires_grad_()
    kl = answers.kl(answers.policy(logits))
    slope, = torch.autograd.grad(answers.visits(policy) @ kl, logits)
    return alpha * slope


# %%
def uphill(policy):
    """Where the regularised goal E[R] - alpha KL grows."""
    logits = point_at(answers, alpha, policy).logits.requires_grad_()
    law = answers.law(answers.policy(logits))
    h = torch.log(law / answers.law(answers.reference))
    goal = law @ (answers.rewards - alpha * h)
    return torch.autograd.grad(goal, logits)[0]


for name, policy in (("π*", best), ("π_V", pi_v),
                     ("stranger", answers.from_tables(stranger))):
    gap = max(float((actor_push(policy, lam) - climb(policy)).abs().max())
              for lam in (0.0, 0.5, 1.0))
    print(f"at {name:<9} the actor is the climb (7.10), within 1e-12: "
          f"{gap < 1e-12};   its size {float(climb(policy).norm()):.3f}")
places = {f"{share:.0%} of the way": answers.tilted(
    share * answers.rewards / alpha) for share in (0.25, 0.5, 0.75)}
for name, policy in (places | {"at π_V": pi_v}).items():
    cosine = torch.cosine_similarity(
        climb(policy).flatten(), uphill(policy).flatten(), 0)
    print(f"{name:<14} cosine of the climb with the goal {cosine:+.3f}")

# %% [markdown]
# **Explain.** Away, for every $\lambda$ (the `lam` of notebook 06; (7.10) is
# written for $\lambda = 1$). The actor never sees a reward. That does not
# make it useless: on the way to $\pi^*$ the log-ratios point where the
# rewards are, and to amplify them is nearly the way uphill (the cosines near
# 1). It does not know when to stop. At $\pi_V$ it points away from the goal.
# In the mean it raises the KL, which the value loss holds down, and where the
# two balance $\alpha$ looks smaller than it was set. On the plane of notebook
# 02:

# %%
def vimpo_with_actor(weight):
    at_rest = rest(objectives.vimpo, own, point_at(answers, alpha, pi_v),
                   alpha=alpha, actor=weight, baseline="leave_one_out")
    assert at_rest.converged
    return answers.to_tables(answers.policy(at_rest.point.logits))


figures.reward_kl_plane(
    tree,
    {"VIMPO, value loss": answers.to_tables(pi_v),
     "VIMPO, group mean of 2": vimpo_target(tree, 2 * alpha),
     "VIMPO, with actor 0.02": vimpo_with_actor(0.02)},
    named=(1.0, 0.6, 0.3, 0.2, 0.0), reference="random habits",
)

# %% [markdown]
# All three lie very nearly on the frontier, only not where $\alpha = 0.3$ is.
# For answers of one step, and leave-one-out, we can even say where. There $A$
# is $\alpha$ times a centred log-ratio, it is divided by its standard
# deviation $\sigma$ ("whitened"), and with actor weight $c$ the policy rests
# at the tilt of
#
# $$\alpha' = \alpha - \frac{c}{\sigma}. \tag{7.11}$$

# %%
single = exact.enumerate_tree_from_rewards([0.1, 0.4, 0.5, 0.9], 4)
one_step = Population.of(single, 2, "current")
for weight in (0.0, 0.01, 0.02, 0.04):
    tilt = one_step.answers.tilted(one_step.answers.rewards / alpha)
    at_rest = rest(objectives.vimpo, one_step,
                   point_at(one_step.answers, alpha, tilt),
                   alpha=alpha, actor=weight, baseline="leave_one_out")
    policy = one_step.answers.policy(at_rest.point.logits)[0]
    h = (policy - one_step.answers.reference[0]).numpy()
    fitted = float((single.rewards[3] - single.rewards[0]) / (h[3] - h[0]))
    p = policy.exp().numpy()
    sigma = alpha * np.sqrt(np.cov(h, aweights=p / p.sum(), ddof=0))
    print(f"actor {weight:.2f}: rests at the tilt of {fitted:.4f}; "
          f"(7.11) says {alpha - weight / sigma:.4f}")

# %% [markdown]
# ## The race
#
# Now all together. More and more of the answers are written by the uniform
# writer instead of the right one: the reference for GVPO and GN-IVO, the
# policy itself for VIMPO. Each of the six comes to rest somewhere, and we
# measure how far that is from $\pi^*$.
#
# **Predict.** Which lines are flat at zero? Which start at zero and rise?
# Which start above it? Does old data always make things worse?
#
# **Run.** A few seconds. (All start at the reference, and go on from where
# they last rested.)

# %%
value_loss = partial(objectives.vimpo, actor=0.0)
racers = {
    "GVPO": (objectives.gvpo, "reference"),
    "GN-IVO, last step only": (
        partial(objectives.gnivo, prefixes="last"), "reference"),
    "GN-IVO, all prefixes": (objectives.gnivo, "reference"),
    "GN-IVO, softmax weights": (
        partial(objectives.gnivo, weights="softmax"), "reference"),
    "VIMPO, group mean": (value_loss, "current"),
    "VIMPO, leave-one-out": (
        partial(value_loss, baseline="leave_one_out"), "current"),
}
shares = (0.0, 0.25, 0.5, 0.75, 1.0)


def distances(loss, right_writer):
    point, misses = start, []
    for share in shares:
        mixture = {right_writer: 1 - share, "uniform": share}
        ended = rest(loss, Population.of(answers, 2, mixture), point,
                     alpha=alpha)
        assert ended.converged
        point = ended.point
        misses.append(miss(answers.policy(point.logits)))
    return misses


# %%
from gnivo_edu.figures.distance import distance_curves

ends = {name: distances(*racer) for name, racer in racers.items()}
distance_curves(
    shares, ends, alpha, reference="random habits",
    note="groups of 2; off-policy: a uniform writer")

# %% [markdown]
# **Explain.** Two lines lie on the floor: both look at whole answers only.
# GN-IVO with all its prefixes starts at the floor and leaves it with the
# first old answer. With softmax weights it never was there. And VIMPO starts
# at its own target; what old data do to it has no fixed direction. The
# leave-one-out line even comes nearer for a while: luck, not virtue.
#
# Why does VIMPO mind old data at all, if it looks at whole answers, too? By
# (7.6) the first value is the mean reward of *the policy*. The mean of a
# group is the mean reward of *the writer*. A wrong constant, no more; but we
# know a cure for constants. Centre the errors, as GVPO does, and see where it
# rests then:

# %%
def centred_vimpo(batch, alpha):
    step = batch.logratio - batch.policy_kl.detach()
    left = batch.rewards - alpha * step.sum(-1)
    left = left - left.mean(1, keepdim=True)
    return objectives.LossOutput(
        batch.group_mean(left.square().sum(1)) / 2)


for name, writer in writers.items():
    population = Population.of(answers, 2, writer)
    at_rest = rest(centred_vimpo, population, start, alpha=alpha)
    law = answers.law(answers.policy(at_rest.point.logits))
    far = total_variation(law, answers.law(pi_v))
    print(f"answers by the {name:<14}  rests "
          f"{far if far > 1e-9 else 0:.3f} from π_V")

# %% [markdown]
# Now VIMPO forgives, as well. (This loss is ours, not the paper's.) Where a
# method *aims* is one question, and whose answers it can *use* another. The
# second one is decided by a subtraction.

# %% [markdown]
# ## A control that must fail
#
# Two shortcuts. The first goes back to GVPO and leaves that subtraction out,
# $L = \frac{1}{2} (R - \alpha h)^2$. Is it not a mere baseline, and do
# baselines not leave the mean push alone? **Predict:** where does it rest
# on-policy, and where off-policy?

# %%
def uncentred(batch, alpha):
    left = batch.rewards - alpha * batch.sequence_logratio
    loss = batch.group_mean(left.square().mean(1)) / 2
    return objectives.LossOutput(loss)


for writer in ("current", "reference", "uniform"):
    population = Population.of(answers, 2, writer)
    at_rest = rest(uncentred, population, optimum, alpha=alpha)
    far = miss(answers.policy(at_rest.point.logits))
    assert at_rest.converged and (far < 1e-9 if writer == "current"
                                  else far > 0.1)
    print(f"uncentred, answers by: {writer:<10} rests "
          f"{far if far > 1e-9 else 0:.3f} from π*")

# %% [markdown]
# On-policy it *is* a mere baseline. Off-policy it is the whole trick: even
# answers from the reference itself are off-policy as soon as training has
# moved.
#
# The second shortcut saves VIMPO the sum over the vocabulary. One token is an
# unbiased sample of the KL: why not take $\log \pi_\theta/\pi_{\text{ref}}$
# of that token for $\kappa_t$? (This estimator is known as k1.)

# %%
def errors_with_k1(policy):
    ours = answers.token_logps(policy).numpy()
    theirs = answers.token_logps(answers.reference).numpy()
    return vimpo_residual(ours, theirs, ours - theirs, answers.mask.numpy(),
                          answers.rewards.numpy(), alpha)[0]


at_reference = errors_with_k1(answers.reference)
for name, policy in (("π*", best), ("π_V", pi_v),
                     ("stranger", answers.from_tables(stranger))):
    change = np.abs(errors_with_k1(policy) - at_reference).max()
    print(f"at {name:<9} errors as at the reference, within 1e-12:",
          change < 1e-12)
    assert change < 1e-12

# %% [markdown]
# **Explain.** It subtracts the log-ratio from itself. Every policy has the
# same errors, $\bar R - R_i$: the loss no longer knows which policy it is
# judging. Unbiased, and useless. (The library refuses `kl="k1"` for that
# reason.)
#
# ## A reference that moves
#
# One more thing about old data. GVPO's published code takes as reference the
# policy *at the time of writing*, so the reference moves along with training.
# Each round forgives; but does the whole? We minimise exactly, refresh, and
# again, with a gentle $\alpha = 1$.

# %%
moving = tree
for n in range(1, 5):
    population = Population.of(moving, 2)
    here = point_at(population.answers, 1.0)
    at_rest = rest(objectives.gvpo, population, here, alpha=1.0)
    policy = population.answers.policy(at_rest.point.logits)
    moving = exact.enumerate_tree(
        words, population.answers.to_tables(policy))
    compounded = answers.law(answers.tilted(n * answers.rewards))
    far = total_variation(population.answers.law(policy), compounded)
    mean = float(compounded @ answers.rewards)
    print(f"round {n}: at π_0 e^(nR/α) / Z_n within 1e-9: {far < 1e-9}, "
          f"expected reward {mean:.3f}")

# %% [markdown]
# That is (5.6) once more: each round is another helping of $R/\alpha$, and
# $\alpha$ no longer says where it ends. The number that counts is $\alpha/n$.
# GVPO's paper says as much: by its Theorem 3.3, $n$ steps, each anchored at
# the policy before, solve a problem with a KL to the first one, too. It is
# the problem at $\alpha/n$, and the rounds above confirm it to nine digits:
# $\pi_0\, e^{nR/\alpha}/Z_n$ is its optimum. What moves is the question, not
# the quality of the answer.
# (VIMPO takes another way: [when the reference moves](moving_reference.md).)
#
# ## Play
#
# How much does all this matter? Turn $\alpha$ up and every detour shrinks,
# but not all at the same speed. **Predict** which column shrinks fastest.
# Then change the seeds of the rewards and the habits at the top.

# %%
softened = partial(objectives.gnivo, weights="softmax")
print("         GN-IVO, uniform writer   softmax weights   VIMPO's target")
for a in (0.3, 0.6, 1.2):
    tilt, row = answers.tilted(answers.rewards / a), []
    goal = answers.law(tilt)
    for loss, writer in ((objectives.gnivo, "uniform"),
                         (softened, "reference")):
        at_rest = rest(loss, Population.of(answers, 2, writer),
                       point_at(answers, a, tilt), alpha=a)
        policy = answers.policy(at_rest.point.logits)
        row.append(total_variation(answers.law(policy), goal))
    policy = answers.from_tables(vimpo_target(tree, a))
    row.append(total_variation(answers.law(policy), goal))
    print(f"alpha {a:.1f} {row[0]:17.4f} {row[1]:20.4f} {row[2]:16.4f}")

# %% [markdown]
# ## What we did not show
#
# - Expectations were exact. A loss that forgives in the mean may still be
#   noisy: answers the policy would hardly write have huge log-ratios.
# - One small tree, a table for a policy. Signs and zeros are theorems; the
#   digits belong to this tree.
# - Newton's method finds *a* place where nothing pushes. That it is the only
#   one is clear where the loss is zero there and nowhere else; off-policy,
#   VIMPO might have others.
# - Clipping never acts here, and whitening only in (7.11) and in the plane.
#   VIMPO's success in practice is not refuted by where its mean loss rests.
#
# **The credit table.**
#
# | question | answer so far |
# |---|---|
# | What is one step worth? | $V(s_t) - V(s_{t-1})$ |
# | What are the probabilities of all answers? | products of choices; they sum to 1 |
# | What does the best policy look like? | $\pi_{\text{ref}}\, e^{R/\alpha} / Z$: a tilt, not a win |
# | Why is credit $\log \pi^*/\pi_{\text{ref}}$? | because $\pi^* = \pi_{\text{ref}}\, e^{V}/Z$ at every prefix |
# | How can groups find it without a critic? | by comparing: $V$ up to a shift, which a policy pins |
# | How can a model learn it from samples? | shared prefixes, different rewards: the average finds the step |
# | What is a critic for? | not for the mean push, which needs none: for less noise, if it is right and believed |
# | What may replace the critic? | a group's mean, if whole answers are enough; the reference's completions, if steps matter; a KL per step, for another optimum |
#
# **Links.** `gnivo_edu/objectives/gvpo.py`, `gnivo_edu/objectives/gnivo.py`
# and `gnivo_edu/objectives/vimpo.py`, with what each departs from;
# `gnivo_edu/population/roots.py`, where an objective comes to rest;
# `gnivo_edu/figures/distance.py`, the figure of the race. GVPO: arXiv
# 2504.19599, known second-hand, and its code, read. VIMPO: arXiv 2606.20008,
# likewise; its end points, (7.8) to (7.11), are derived here.
#
# **Next.** 08, *Where does each loss end up?*: the same question for every
# loss of the library, on one map.
