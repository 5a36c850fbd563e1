# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # E1 · What you differentiate is not what you estimate
#
# **Claim.** Of three formulas for the same KL, two are right on average and
# neither of these two may be differentiated: in the loss k1 teaches nothing,
# and k3 pulls towards another KL.
#
# *Learner time: about 40 minutes. Run time: seconds on a laptop, no GPU. This
# is an elective: notebooks 01, 02 and 05 are enough to read it.*
#
# **So far we know** (notebook 02) what the KL is for: the best policy earns
# reward and pays $\alpha$ for every nat by which it leaves the reference.
# With all answers on a list, that KL is one sum. **We still cannot** have it
# for a language model. We have samples, and three famous formulas to average
# over them.
#
# After this notebook you can
#
# - say what k1, k2 and k3 estimate, and with how much noise;
# - predict what a policy learns from each, in the loss and in the reward;
# - write a KL term whose gradient is right, and mend one whose gradient is
#   not;
# - recognise a KL that was written upside down.
#
# Three new symbols: the log-ratio of a sampled answer,
# $x = \log \pi(y)/\pi_{\text{ref}}(y)$ (notebook 05 called it $\rho_T$); an
# estimator $k(x)$; and, once, a number $\lambda$ that makes probabilities sum
# to one.

# %% [markdown]
# ## Three formulas
#
# We need no long answers for this. Three answers of one token each, A, B and
# C, a reference that prefers A, and a policy that has moved towards C:

# %%
import matplotlib.pyplot as plt
import numpy as np
import torch

import toy_envs
from gnivo_edu import exact
from gnivo_edu.course import check
from gnivo_edu.figures.lines import styles
from gnivo_edu.population.kl_laboratory import INVERTED, kl_laboratory

torch.set_num_threads(1)
reference = np.array([0.6, 0.3, 0.1])
policy = np.array([0.2, 0.3, 0.5])
x = np.log(policy / reference)
for name, old, new, ratio in zip("ABC", reference, policy, x):
    print(f"{name}: reference {old:.1f}, policy {new:.1f}, "
          f"x = {ratio:+.3f} nats")

# %% [markdown]
# Draw answers from the *policy*, compute $x$ for each, and average one of
#
# $$k_1(x) = x, \qquad k_2(x) = \frac{x^2}{2}, \qquad
# k_3(x) = e^{-x} - 1 + x. \tag{E1.1}$$
#
# Here they are, with their slopes beside them. The marks stand at our three
# answers. (A slope is what a loss hands to the policy. Keep an eye on the
# right-hand picture.)

# %%
heights = {"k1": lambda x: x, "k2": lambda x: x**2 / 2,
           "k3": lambda x: np.exp(-x) - 1 + x}
slopes = {"k1": np.ones_like, "k2": lambda x: x,
          "k3": lambda x: 1 - np.exp(-x)}


def two_pictures():
    figure, axes = plt.subplots(
        1, 2, figsize=(10, 3.8), layout="constrained")
    line = np.linspace(-1.3, 1.9, 200)
    titles = "height: what you estimate", "slope: what you differentiate"
    for axis, curves, title in zip(axes, (heights, slopes), titles):
        for (name, f), look in zip(curves.items(), styles(3)):
            axis.plot(line, f(line), color=look.colour, ls=look.dashes)
            axis.plot(x, f(x), look.marker, color=look.colour, label=name)
        for name, place in zip("ABC", x):
            axis.axvline(place, color="#bbbbbb", lw=0.8, zorder=0)
            axis.text(place + 0.04, -2.55, name)
        axis.set(title=title, xlabel="x, nats", ylim=(-2.7, 3.0))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, loc="upper left")
    plt.show()


two_pictures()

# %% [markdown]
# **Predict.** One of the three can be negative, although no KL is. One looks
# asymmetric for no obvious reason. Which of them has the right average?
#
# **Run.** No sampling noise: three answers, three probabilities.

# %%
kl = policy @ x
print(f"KL(policy || reference) = {kl:.4f} nats")
for name, k in heights.items():
    mean = policy @ k(x)
    noise = np.sqrt(policy @ (k(x) - mean) ** 2)
    off = mean - kl
    verdict = "exact" if abs(off) < 1e-12 else f"off by {off:+.4f}"
    print(f"{name}: average {mean:.4f} ({verdict}), "
          f"noise of one sample {noise:.4f}")

# %% [markdown]
# **Explain.** The average of $k_1$ *is* the definition of the KL. That of
# $k_3$ is the same, since $e^{-x} = \pi_{\text{ref}}/\pi$ averages to one,
# and what $k_3$ adds cancels much of the noise. It is never negative, either.
# And $k_2$ is simply wrong: close for policies that are close, and no closer.
#
# So $k_3$ looks like the winner, and a lot of code has crowned it: GRPO adds
# $\alpha\, k_3$ to its loss. Let us do that. But a loss is not averaged. It
# is *differentiated*.
#
# ## What reaches the policy
#
# The samples are fixed once drawn; a loss can only move the $x$ of what it
# got. So what the policy receives on average is (with $\nabla$ for the slopes
# by its logits)
#
# $$\mathbb{E}_{y \sim \pi}\big[\nabla k(x)\big]
# = \mathbb{E}_{y \sim \pi}\big[k'(x)\, \nabla \log \pi(y)\big]. \tag{E1.2}$$
#
# The height of $k$ has dropped out.
#
# ### Exercise 23 · KL in the loss (10 minutes, medium, essential)
#
# Find the $k$ for which (E1.2) is the gradient of
# KL$(\pi \| \pi_{\text{ref}})$, with $k'(0) = 0$. It may be one of the three,
# or none of them. Then write what it pushes, for answers of any length:
# `policy_logps` and `reference_logps` hold one row per answer and one
# log-probability per token; only the first `lengths` of a row are real. With
# $x_i$ added up over the tokens of answer $i$, the loss is the mean of
# $k(x_i)$ over the $K$ answers. Return its slope by each token's
# log-probability, 0 after the end. Stuck? `check.kl_in_the_loss.hint()`.

# %%
def kl_in_the_loss(policy_logps, reference_logps, lengths):
    ### BEGIN SOLUTION
    written = np.arange(policy_logps.shape[1]) < lengths[:, None]
    logratio = np.where(written, policy_logps - reference_logps, 0.0)
    total = logratio.sum(axis=1, keepdims=True)
    return np.where(written, total, 0.0) / len(lengths)
    ### END SOLUTION


check.kl_in_the_loss(kl_in_the_loss)

# %% [markdown]
# Does it hold here? We move the three logits of the policy a little, one
# after the other, and watch the KL itself. Beside it: your slopes, averaged
# over the three answers as the policy draws them.

# %%
def law_of(logits):
    return np.exp(logits - np.logaddexp.reduce(logits))


def kl_at(logits):
    law = law_of(logits)
    return law @ np.log(law / reference)


one = np.array([1])
yours = np.array([kl_in_the_loss(np.log([[p]]), np.log([[q]]), one)[0, 0]
                  for p, q in zip(policy, reference)])
score = np.eye(3) - policy  # row y: gradient of log pi(y) by the logits
for name, row, push in zip("ABC", np.eye(3), (policy * yours) @ score):
    up, down = (kl_at(np.log(policy) + h * row) for h in (1e-5, -1e-5))
    print(f"logit of {name}: the KL's slope {(up - down) / 2e-5:+.6f}, "
          f"yours on average {push:+.6f}")

# %% [markdown]
# ## Three losses, differentiated
#
# Now all three formulas, and we leave the calculus to torch. Two suspects to
# compare them with: the KL we want, KL$(\pi \| \pi_{\text{ref}})$, called the
# *reverse* one; and KL$(\pi_{\text{ref}} \| \pi)$, the *forward* one, which
# averages over the reference instead and punishes a policy for everything it
# has stopped writing.
#
# **Predict.** For each of $k_1$, $k_2$, $k_3$: the reverse KL, the forward
# KL, nothing at all, or something else?

# %%
fixed = torch.tensor(policy)  # the chance of drawing each answer
ref = torch.tensor(reference)
logits = torch.log(fixed).requires_grad_()


def gradient(loss):
    """Of loss(log pi), by the logits."""
    value = loss(logits.log_softmax(-1))
    return torch.autograd.grad(value, logits)[0].numpy()


formulas = {"k1": lambda x: x, "k2": lambda x: x**2 / 2,
            "k3": lambda x: torch.exp(-x) - 1 + x}
reverse = gradient(lambda logp: logp.exp() @ (logp - ref.log()))
forward = gradient(lambda logp: ref @ (ref.log() - logp))
in_loss = {name: gradient(lambda logp, k=k: fixed @ k(logp - ref.log()))
           for name, k in formulas.items()}
suspects = {"0": 0 * reverse, "reverse KL": reverse, "forward KL": forward}
for name, push in in_loss.items():
    same = [suspect for suspect, known in suspects.items()
            if np.abs(push - known).max() < 1e-12]
    print(f"{name} in the loss:", push.round(4) + 0.0, "=", *same)

# %% [markdown]
# **Explain.** In (E1.2), slope by slope. A slope of 1 averages $\nabla \log
# \pi$, and that is the gradient of $\sum_y \pi(y) = 1$: nothing. A slope of
# $x$ is the derivative of the KL. And in $1 - \pi_{\text{ref}}/\pi$ the ratio
# turns the average over $\pi$ into one over $\pi_{\text{ref}}$:
#
# $$\mathbb{E}[\nabla k_1] = 0, \qquad
# \mathbb{E}[\nabla k_2] = \nabla\, \text{KL}(\pi \| \pi_{\text{ref}}), \qquad
# \mathbb{E}[\nabla k_3] = \nabla\, \text{KL}(\pi_{\text{ref}} \| \pi).
# \tag{E1.3}$$
#
# The one poor estimate among the three makes the only right loss. The two
# perfect ones fail, each in its own way, and $k_1$ is the more treacherous:
# it prints a perfect KL on your screen, and holds nothing.
#
# ## The other half
#
# How can an average stand still, if what it averages is right? Because an
# average has two reasons to move: the terms change, and so do the *chances*
# of the terms. A loss sees the first. The second is the business of a
# reward: keep $k$ as a constant, charge it to the answer, and reinforce.
#
# $$\nabla\, \mathbb{E}[k] = \underbrace{\mathbb{E}[\nabla k]}_{\text{in the
# loss}} + \underbrace{\mathbb{E}[k\, \nabla \log \pi]}_{\text{in the reward}}
# \tag{E1.4}$$
#
# **Predict.** In the reward, which of the three is right? You can read it off
# (E1.3) and (E1.4).

# %%
in_reward = {name: (policy * k(x)) @ score for name, k in heights.items()}
print(" " * 16, "   A       B       C")
print("reverse KL      ", *(f"{g:+.4f}" for g in reverse))
for name, push in in_reward.items():
    print(f"{name} in the reward", *(f"{g:+.4f}" for g in push))
print("k1: it is the reverse KL:",
      bool(np.abs(in_reward["k1"] - reverse).max() < 1e-12))
print("k3: it is reverse minus forward:",
      bool(np.abs(in_reward["k3"] - (reverse - forward)).max() < 1e-12))

# %% [markdown]
# **Explain.** With $k_1$ everything is in the second half, and exactly right:
# that is what RLOO does, and PPO in its usual form. With $k_3$ the loss has
# taken a forward KL, and the reward is left with the rest:
#
# $$\mathbb{E}[k_3\, \nabla \log \pi]
# = \nabla\, \text{KL}(\pi \| \pi_{\text{ref}})
# - \nabla\, \text{KL}(\pi_{\text{ref}} \| \pi). \tag{E1.5}$$
#
# Close to the reference the two KLs are almost the same, so their difference
# is almost nothing: $k_3$ in the reward does not hold a policy where holding
# would be easy.

# %%
print("way from the reference   pull of k2, k3 in the reward, as a share")
for share in (0.5, 0.1, 0.02):
    law = law_of((1 - share) * np.log(reference) + share * np.log(policy))
    ratio = np.log(law / reference)
    pull = {name: np.linalg.norm((law * k(ratio)) @ (np.eye(3) - law))
            for name, k in heights.items()}
    print(f"{share:>22.0%}   k2 {pull['k2'] / pull['k1']:6.1%}"
          f"   k3 {pull['k3'] / pull['k1']:6.1%}")

# %% [markdown]
# ## Where training ends
#
# Enough of arrows; let them run. Rewards 0, ½ and 1 for A, B and C, and one
# policy per recipe. Each climbs the exact $\mathbb{E}[R]$ minus $\alpha$
# times its own idea of a KL, from the reference on, for as long as it likes.
# (On three answers, $\mathbb{E}[k\,\nabla \log \pi]$ is simply
# $\pi\,(k - \mathbb{E}[k])$, and in the loss $k'$ stands in the place of
# $k$.)
#
# **Predict.** Five recipes, of which two are right. Where do the other three
# end up?

# %%
rewards, alpha = np.array([0.0, 0.5, 1.0]), 0.5


def train(charge, steps=5_000):
    """All laws on the way, until one answer is as good as gone."""
    logits, laws = np.log(reference), [reference]
    while len(laws) < steps and laws[-1].min() > 1e-6:
        law = laws[-1]
        gain = rewards - alpha * charge(np.log(law / reference))
        logits = logits + 0.5 * law * (gain - law @ gain)
        laws.append(law_of(logits))
    return np.array(laws)


recipes = {
    "k1 in the reward": heights["k1"], "k2 in the loss": slopes["k2"],
    "k3 in the loss": slopes["k3"], "k1 in the loss": slopes["k1"],
    "k3 in the reward": heights["k3"]}
runs = {name: train(charge) for name, charge in recipes.items()}
for name, laws in runs.items():
    shares = "  ".join(f"{a} {p:6.1%}" for a, p in zip("ABC", laws[-1]))
    print(f"{name:<17} {shares}   after {len(laws) - 1:>6,} steps")

# %% [markdown]
# The same as a map. Every point of the triangle is a policy: the nearer to a
# corner, the more of that answer. The grey lines are levels of what we wanted
# to climb, $J = \mathbb{E}[R] - \alpha\, \text{KL}(\pi \| \pi_{\text{ref}})$.

# %%
corners = np.array([[0.0, 0.0], [0.5, np.sqrt(0.75)], [1.0, 0.0]])


def level_lines(axis):
    grid = np.random.default_rng(0).dirichlet(np.ones(3), 4_000)
    j = grid @ rewards - alpha * (grid * np.log(grid / reference)).sum(1)
    axis.tricontour(*(grid @ corners).T, j, 14, colors="#cccccc",
                    linewidths=0.7, linestyles="solid")
    axis.plot(*corners[[0, 1, 2, 0]].T, color="#777777", lw=1)
    for name, place, shift in zip("ABC", corners, (-0.06, 0, 0.06)):
        up = 0.05 if name == "B" else 0.0
        axis.text(place[0] + shift, place[1] + up, name, fontsize=13,
                  ha="center", va="center")
    axis.set(aspect="equal", xlim=(-0.12, 1.12))
    axis.axis("off")


# %%
def triangle(groups, title):
    """One path per group, named, and a mark where it ends."""
    figure, axis = plt.subplots(figsize=(9, 6.4), layout="constrained")
    level_lines(axis)
    for (name, (law, place)), look in zip(groups.items(), styles(5)):
        path = law @ corners
        axis.plot(*path.T, color=look.colour, ls=look.dashes, lw=1.8)
        axis.plot(*path[-1], look.marker, color=look.colour, ms=9)
        axis.annotate(
            name, path[-1], place, ha="center", va="center", fontsize=10,
            arrowprops={"arrowstyle": "-", "color": look.colour, "lw": 0.6},
            bbox={"fc": "white", "ec": look.colour, "boxstyle": "round"})
    start = reference @ corners
    axis.plot(*start, "X", color="#1a1a1a", ms=10)
    axis.annotate("reference", start, (0.2, -0.07), ha="center",
                  arrowprops={"arrowstyle": "-", "lw": 0.6})
    figure.supxlabel(title, fontsize=9, color="#444444")
    plt.show()


# %%
right = runs["k2 in the loss"]
triangle({
    "k1 in the reward\nk2 in the loss": (right, (0.1, 0.6)),
    "k3 in the loss": (runs["k3 in the loss"], (0.5, 0.1)),
    "k1 in the loss": (runs["k1 in the loss"], (0.9, -0.07)),
    "k3 in the reward": (runs["k3 in the reward"], (0.95, 0.4)),
}, "same start, reward and alpha = 0.5; each recipe's own idea of a KL")

# %% [markdown]
# **Explain.** Two recipes reach the top of the hill, $\pi^*$. With $k_1$ in
# the loss the KL was never there: the policy goes for the best answer as if
# $\alpha$ were zero, while a KL meter on the screen would read perfectly. And
# $k_3$ in the reward is no brake but a second engine: to an answer that the
# policy hardly writes any more it charges $\pi_{\text{ref}}/\pi$, a huge fee
# on the very answer that ought to come back.
#
# Most interesting is $k_3$ in the loss. It does come to rest, at a sensible
# place, only not at ours: it likes C best, where $\pi^*$ prefers B. One line
# of algebra from (E1.3) says where,
#
# $$\pi(y) = \frac{\alpha\, \pi_{\text{ref}}(y)}{\lambda - R(y)}
# \quad\text{instead of}\quad
# \pi^*(y) = \frac{\pi_{\text{ref}}(y)\, e^{R(y)/\alpha}}{Z}, \tag{E1.6}$$
#
# where $\lambda$ is the number above all rewards that makes it sum to one.

# %%
def hyperbolic():
    low, high = rewards.max(), rewards.max() + alpha
    for _ in range(100):
        middle = (low + high) / 2
        total = (alpha * reference / (middle - rewards)).sum()
        low, high = (middle, high) if total > 1 else (low, middle)
    return alpha * reference / (middle - rewards)


star = reference * np.exp(rewards / alpha)
star /= star.sum()
for name, law in (("k1 in the reward", star), ("k2 in the loss", star),
                  ("k3 in the loss", hyperbolic())):
    gap = np.abs(runs[name][-1] - law).max()
    print(f"{name:<17} ends where (E1.6) says, within 1e-9:",
          bool(gap < 1e-9))

# %% [markdown]
# ## Answers with more than one token
#
# Real answers are long, and there are two ways to count: one $x$ for the
# whole answer, or one $x_t$ for each token, estimated token by token and
# added up. For $k_1$ that is the same number. For the others it is not even
# the same question: the loss of a token cannot see that the token decides
# which prefixes come next. So, per token, the prefixes $s$ stand still:
#
# $$\mathbb{E}\Big[\sum_t \nabla k_3(x_t)\Big] = \sum_s \pi(s)\, \nabla\,
# \text{KL}\big(\pi_{\text{ref}}(\cdot \mid s) \,\|\, \pi(\cdot \mid s)\big)
# \quad\text{with } \pi(s) \text{ held fixed,} \tag{E1.7}$$
#
# and for $k_2$ the same with the reverse KL. The library has all of this as a
# laboratory. We give it the brackets of notebook 01 (up to three tokens, some
# answers shorter), a random reference and a random policy. It lists every
# answer, and says of every expected gradient what it is.
#
# **Predict.** Only one of these recipes holds *whole answers* to the
# reference, as $J$ wants it, both ways of counting alike. Which?

# %%
brackets = toy_envs.Brackets(horizon=3)
habits = [exact.random_reference(3, 3, seed) for seed in (1, 2, 9)]
tree = exact.enumerate_tree(brackets, habits[0])
report = kl_laboratory(tree, habits[1])
print(f"{report.answers} answers, KL {report.kl:.4f}, "
      f"forward KL {report.forward_kl:.4f} nats\n")
print(f"{'':<18}{'per token':<22} per answer")
for place in ("loss", "reward"):
    for k in ("k1", "k2", "k3"):
        each, whole = (report[k, place, level].equals
                       for level in ("token", "sequence"))
        print(f"{k + ' in the ' + place:<17} {each:<22} {whole}")
assert report.passed

# %% [markdown]
# **Explain.** $k_1$ in the reward. ("Per state" is (E1.7); "none of these" is
# neither zero nor any of the four KLs.) $k_2$ of the whole answer is right as
# well: one number per answer, pushed on all its tokens.
#
# GRPO, before its averages over length, is the row "$k_3$ in the loss, per
# token". That is no scandal: the forward KL in each state is a decent leash.
# It is only not the one whose optimum you found in notebook 02.
#
# ## Stale samples, and a mend
#
# Everything so far was on-policy: the answers came from the very policy that
# was trained. A little later they come from $\pi_{\text{old}}$. Then (E1.2)
# averages over the wrong law, and (E1.3) has no reason left to hold.
#
# One mend helps against both troubles. Multiply each $k$ by
# $\pi/\pi_{\text{old}}$, and differentiate the *product*:
#
# $$\mathbb{E}_{y \sim \pi_{\text{old}}}\Big[\nabla\Big(
# \frac{\pi(y)}{\pi_{\text{old}}(y)}\, k(x)\Big)\Big]
# = \nabla\, \mathbb{E}_{y \sim \pi}\big[k(x)\big]. \tag{E1.8}$$
#
# On-policy the factor is 1, so it looks like nothing at all; but its gradient
# is $\nabla \log \pi$, the missing half of (E1.4).
#
# ### Exercise 30 · A weight with a slope (8 minutes, medium, important)
#
# Write the slopes of the mean of $\pi/\pi_{\text{old}}\; k_3$, both of whole
# answers, by each token's log-probability under $\pi$. The arrays are those
# of exercise 23, with `old_logps` for the law that drew the answers.
# Something pleasant happens at the end of the calculation.

# %%
def stale_kl_in_the_loss(policy_logps, old_logps, reference_logps, lengths):
    ### BEGIN SOLUTION
    written = np.arange(policy_logps.shape[1]) < lengths[:, None]
    ratios = policy_logps - np.stack([old_logps, reference_logps])
    log_weight, total = np.where(written, ratios, 0.0).sum(-1)
    push = np.exp(log_weight) * total
    return np.where(written, push[:, None], 0.0) / len(lengths)
    ### END SOLUTION


check.stale_kl_in_the_loss(stale_kl_in_the_loss)

# %% [markdown]
# $k_3$ has vanished: $\pi/\pi_{\text{old}}$ times its height plus its slope
# is just $\pi/\pi_{\text{old}}$ times $x$. On-policy that is your exercise
# 23.
#
# **Predict.** What survives stale samples? And what if the factor is taken
# per token, as some libraries do?

# %%
stale = kl_laboratory(tree, habits[1], behaviour=habits[2])
for level, title in (("sequence", "per answer"), ("token", "per token")):
    print(f"{title:<19} {'on-policy':<22} stale samples")
    for k, place in (("k1", "reward"), ("k2", "loss"), ("k1", "weighted"),
                     ("k2", "weighted"), ("k3", "weighted")):
        fresh, old = (r[k, place, level].equals for r in (report, stale))
        words = k + (" " if place == "weighted" else " in the ") + place
        print(f"  {words:<17} {fresh:<22} {old}")
assert stale.passed

# %% [markdown]
# **Explain.** Weighted per answer, (E1.8) gives $k_1$ and $k_3$ the exact
# gradient of the KL, whoever drew the answers. Weighted $k_2$ follows *its
# own* average, faithfully, and that is not the KL. And per token the weight
# mends the token but not the road to it: each state gets its own reverse KL,
# in the proportions in which the sampler walked there.
#
# ## A control that must fail
#
# All three formulas want $\log \pi - \log \pi_{\text{ref}}$. It is easy to
# hand them the opposite; then k1 becomes $-x$, and k3 becomes
# $e^{x} - 1 - x$. The code of a much-read book on the subject did so when we
# read it (see the links), and the functions' names do not tell.
#
# **Predict.** Which of the two is caught by looking at the printed KL, and
# which by looking at the gradient?

# %%
upside_down = kl_laboratory(tree, habits[1], estimators=INVERTED)
print(f"KL {upside_down.kl:.4f}, "
      f"chi-square - KL {upside_down.chi_square - upside_down.kl:.4f}")
for k in ("k1", "k3"):
    for place in ("loss", "reward"):
        row = upside_down[k, place, "sequence"]
        pull = "none" if row.cosine is None else f"{row.cosine:+.3f}"
        print(f"{k} upside down, in the {place:<6}  "
              f"average {row.value:+.4f}   {row.equals:<13}   "
              f"cosine with the reverse KL {pull}")
        assert not row.estimates_kl
print("does the laboratory let it pass?", upside_down.passed)
assert not upside_down.passed

# %%
mistakes = {"k1 in the reward": lambda x: -x,
            "k3 in the loss": lambda x: np.exp(x) - 1}
lost = {name: train(charge) for name, charge in mistakes.items()}
triangle({
    "k1 in the reward\nk2 in the loss": (right, (0.1, 0.6)),
    "k3 in the loss,\nupside down": (lost["k3 in the loss"], (0.85, 0.62)),
    "k1 in the reward,\nupside down": (lost["k1 in the reward"], (1, 0.35)),
}, "same start, reward and alpha = 0.5; the ratio upside down")
for name, laws in lost.items():
    gap = np.abs(laws[-1] - star).max()
    print(f"{name}, upside down, ends {gap:.3f} from the best policy")
    assert gap > 0.05

# %% [markdown]
# **Explain.** k1 upside down averages to *minus* the KL, and any meter shows
# it, since no KL is negative. In the reward it pays the policy for leaving.
# k3 upside down is the sly one: never negative, small when the policies are
# close, and it does pull back towards the reference. But it averages to the
# chi-square, $\mathbb{E}[\pi/\pi_{\text{ref}}] - 1$, minus the KL, and comes
# to rest somewhere else. (k2 is even in $x$: it cannot be held upside down at
# all.) It takes two numbers to catch them all, the average and the gradient,
# on a problem small enough to list.
#
# ## Play
#
# An expected gradient of zero is not a gradient of zero. How far is the
# gradient of *one batch* of answers from its own average, as a multiple of
# the length of the true gradient? **Predict** the first column, then change
# the batch sizes.

# %%
draw = np.random.default_rng(0)
pushes = {f"{name} in the loss": f(x) for name, f in slopes.items()}
pushes["k1 in the reward"] = heights["k1"](x)
print("answers  ", "  ".join(pushes))
for batch in (1, 16, 256, 4096):
    counts = draw.multinomial(batch, policy, size=2_000) / batch
    cells = []
    for name, push in pushes.items():
        off = ((counts - policy) * push) @ score
        error = np.linalg.norm(off, axis=1).mean()
        cells.append(f"{error / np.linalg.norm(reverse):>{len(name)}.2f}")
    print(f"{batch:>7}  ", "  ".join(cells))

# %% [markdown]
# **Explain.** k1 in the loss is the noisiest of them, and buys nothing with
# its noise. And the two right recipes have the same column, because they are
# the same: to charge $x$ in the reward, to differentiate $x^2/2$, or to
# weight k3, all push a fresh answer by $x\, \nabla \log \pi(y)$. Behind the
# many names there was only one recipe.
#
# ## What we did not show
#
# - No network and no long answers: everything was listed. What carries over
#   is the calculus, not the sizes.
# - With the logits at hand, a library can sum the KL of the next token over
#   *all* tokens instead of estimating it from one. That takes out noise; per
#   token the prefixes still stand still.
# - Clipping, group normalisation and averages over length come on top in
#   practice, and each changes the gradient once more.
#
# **The credit table.** The first act's, with a row from this elective:
#
# | question | answer so far |
# |---|---|
# | What is one step worth? | $V(s_t) - V(s_{t-1})$ |
# | What are the probabilities of all answers? | products of choices; they sum to 1 |
# | What does the best policy look like? | $\pi_{\text{ref}}\, e^{R/\alpha} / Z$: a tilt, not a win |
# | Why is credit $\log \pi^*/\pi_{\text{ref}}$? | because $\pi^* = \pi_{\text{ref}}\, e^{V}/Z$ at every prefix |
# | How can groups find it without a critic? | by comparing: $V$ up to a shift, which a policy pins |
# | How can a model learn it from samples? | shared prefixes, different rewards: the average finds the step |
# | How do samples hold a policy to its reference? | k1 in the reward; in the loss k2 of the whole answer, or a weighted k1 or k3 |
#
# **Links.** `gnivo_edu/population/kl_laboratory.py`, the laboratory;
# `gnivo_edu/objectives/surrogate.py`, the three formulas as the objectives
# use them; `gnivo_edu/objectives/rloo.py`, k1 in the reward;
# `gnivo_edu/objectives/grpo.py`, k3 in the loss, with `kl="exact"` and
# `kl="sequence"` beside it. The three formulas are from J. Schulman's note
# *Approximating KL Divergence* (joschu.net/blog/kl-approx.html). On their
# gradients: OpenRLHF pull request 1309; TRL pull request 4638, the weight per
# token. The functions upside down: `code/policy_gradients/loss.py` of
# natolambert/rlhf-book at commit 0c2ba9c.
#
# **Next.** Another elective, or on to the second act: what a critic is for.
