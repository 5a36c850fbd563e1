# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 · Never pay for log Z
#
# **Claim.** Comparing answers within a group gives $V$ up to one constant per
# depth, and writing the value through a policy pins that constant, so nobody
# ever has to estimate $\log Z$.
#
# *Learner time: about 45 minutes. Run time: seconds, on any laptop, no GPU,
# no torch.*
#
# **So far we know** (notebook 03) that the missing factor between the best
# policy and the reference is $e^{V}/Z$, so that credit is
# $\log \pi^*/\pi_{\text{ref}}$. **We still cannot** get at $V$ without
# listing all answers, and every formula drags a $\log Z$ along.
#
# After this notebook you can
#
# - say what an estimate of $\log Z$ costs, and why a group does not need it;
# - compute what a group of answers pushes up and down, and show that the push
#   stops at $V$ plus any constant;
# - measure how far a fitted value is from "right up to a shift";
# - say what a squared error on the value would have to be told;
# - pin the shift, and read off the true credit of every step;
# - break the method in two ways, and say why the last step never notices.
#
# Three new symbols: the fitted value $V_\theta$, the weight $w_i$ of an
# answer, and the shift $\log C_t$ of a depth.

# %% [markdown]
# ## The bill
#
# Suppose you want to fit $V$ of the poster's problem, and you take notebook
# 03 literally: $V(s_t) = \log Z + \log \pi^*/\pi_{\text{ref}}$. Then you need
# $\log Z$. You draw answers from the reference, average $e^{R/\alpha}$, and
# take a logarithm. How many answers will that take?

# %%
import itertools

import numpy as np

import toy_envs
from gnivo_edu import exact, figures
from gnivo_edu.course import check

problem = toy_envs.PosterProblem()
tree = exact.enumerate_tree(problem)
alpha = 0.5
key = exact.solve(tree, alpha)
chance = key.success_probability(())
print(f"log Z = {key.log_z:.4f}; the writer ends right {chance:.0%} of the"
      " time")

# %% [markdown]
# **Predict.** To know this $\log Z$ to 0.01 nats: a hundred answers? a
# thousand? And for a harder problem, which the writer solves one time in
# fifty, at $\alpha = 0.1$, where a reward weighs more?
#
# **Run.** Each point is a typical error: the root mean square over many
# repetitions. Theory predicts a slope of minus one half.

# %%
rng = np.random.default_rng(0)
counts = [1_000, 3_000, 10_000, 30_000, 100_000]


def typical_error(chance, alpha, count):
    right = rng.binomial(count, chance, size=2000)
    truth = np.log1p(chance * np.expm1(1 / alpha))
    estimates = np.log1p(right / count * np.expm1(1 / alpha))
    return np.sqrt(np.mean((estimates - truth) ** 2))


errors = {
    "this problem, alpha = 0.5":
        [typical_error(chance, 0.5, n) for n in counts],
    "a hard one, alpha = 0.1":
        [typical_error(0.02, 0.1, n) for n in counts],
}
figures.scaling_plot(
    counts, errors, dict.fromkeys(errors, -0.5),
    "answers drawn", "error of log Z, nats",
    "log Z estimated from answers; reference: the initial model, and one "
    "that is right 2% of the time; alpha as named",
)

# %% [markdown]
# **Explain.** Ten times the precision costs a hundred times the answers. The
# bill comes for every prompt, and again whenever the reference moves. And
# what is it for? A number that is the same for all answers to a prompt. It
# says nothing about which of them is better.

# %%
cases = {"this problem": (chance, 0.5), "a hard one": (0.02, 0.1)}
for name, (p, a) in cases.items():
    weight = np.array([1.0, np.exp(1 / a)])
    mean = np.array([1 - p, p]) @ weight
    spread = np.sqrt(np.array([1 - p, p]) @ (weight - mean) ** 2) / mean
    print(f"{name:<12} {(spread / 0.01) ** 2:8,.0f} answers for 0.01 nats")

# %% [markdown]
# ## The way out: compare
#
# Put $K$ prefixes side by side and take a softmax of their values. Whatever
# they have in common falls out:
#
# $$\frac{e^{V_i + c}}{\sum_j e^{V_j + c}} = \frac{e^{V_i}}{\sum_j e^{V_j}}.
# \tag{4.1}$$
#
# So let a free table of numbers $V_\theta(s_t)$, one per prefix, be judged by
# its softmax within a group. Draw $K$ answers from the reference, give answer
# $i$ the weight $w_i = e^{R_i/\alpha}$, cut all of them after $t$ steps, and
# make this small:
#
# $$L_t = \mathbb{E}\Big[-\sum_i w_i \Big(V_\theta(s_t^i)
# - \log \sum_j e^{V_\theta(s_t^j)}\Big)\Big]. \tag{4.2}$$
#
# No $\log Z$ anywhere. What does one group push on? Take the slope of the
# bracket in (4.2) with respect to $V_\theta(s_t^i)$, and turn its sign round.
# With $W = \sum_j w_j$, and $q_i$ for member $i$'s share in the softmax,
#
# $$\text{push on member } i \;=\; w_i - W q_i. \tag{4.3}$$
#
# ### Exercise 14 · What a group pushes on (10 minutes, medium, important)
#
# Compute (4.3) for all depths at once. `scores` has one row per answer and
# one column per depth: here $V_\theta$, in notebook 05 a log-ratio called
# $\rho$, which is the name the check uses. `rewards` are the $R_i$. A score
# may be as large as 1000. Stuck? `check.gnivo_gradient_weights.hint()`.

# %%
def gnivo_gradient_weights(scores, rewards, alpha):
    ### BEGIN SOLUTION
    weights = np.exp(rewards / alpha)[:, None]
    q = np.exp(scores - np.logaddexp.reduce(scores, axis=0))
    return weights - weights.sum() * q
    ### END SOLUTION


check.gnivo_gradient_weights(gnivo_gradient_weights)

# %% [markdown]
# Notice that each column adds up to zero: what one member of a group gains,
# the others lose. That is (4.1) again, seen from below.
#
# ## Where does the pushing stop?
#
# One group pushes somewhere almost always. But averaged over *all* groups?
# The problem is small enough to walk through every pair of answers, with its
# probability, and add up your pushes prefix by prefix.

# %%
law = np.exp(tree.prefix_logps[-1])
number = np.arange(tree.num_sequences)


def mean_push(values):
    """Expected push on every prefix, per chance of meeting it."""
    scores = np.stack(
        [values[t][number >> (7 - t)] for t in range(1, 8)], axis=1)
    total = np.zeros_like(scores)
    for i, j in itertools.product(number, repeat=2):
        push = gnivo_gradient_weights(
            scores[[i, j]], tree.rewards[[i, j]], alpha)
        total[i] += law[i] * law[j] * push[0]
        total[j] += law[i] * law[j] * push[1]
    return [total[:, t - 1].reshape(2**t, -1).sum(axis=1)
            / law.reshape(2**t, -1).sum(axis=1) for t in range(1, 8)]


# %% [markdown]
# **Predict.** Three candidates for $V_\theta$: all zeros; the true $V$; and
# the true $V$ with a different constant added at each depth. Which of them
# are still being pushed?
#
# **Run.** It takes a few seconds: there are many pairs.

# %%
shifts = [0.0, 3.0, -1.0, 7.0, 0.5, -4.0, 2.0, 10.0]
candidates = {
    "zeros": [np.zeros_like(v) for v in key.values],
    "V": key.values,
    "V + a constant per depth": [
        v + c for v, c in zip(key.values, shifts, strict=True)],
}
for name, values in candidates.items():
    push = max(np.abs(p).max() for p in mean_push(values))
    still = "rests" if push < 1e-10 else f"is pushed, by up to {push:.1f}"
    print(f"{name:<25} {still}")

# %% [markdown]
# **Explain.** Cut an answer after $t$ steps and keep its weight: then the
# weight is a lottery ticket, and its mean price is exactly what we look for,
#
# $$\mathbb{E}_{\text{ref}}\big[w \mid s_t\big] = e^{V(s_t)}. \tag{4.4}$$
#
# Averaged over tickets, $w_i - W q_i$ vanishes when the shares of
# $e^{V_\theta}$ match those of $e^{V}$, and shares do not see constants. One
# reward at the end of a *whole* answer has taught us about a *beginning*.
#
# ## Let it run
#
# Now the fit itself, from a standing start, never told $V$. For more points
# to look at we take a wider tree: four tokens, four steps, a reward of its
# own for every answer, and a writer with random habits. The library can take
# expectations over groups exactly; all it needs is the mean ticket (4.4).

# %%
wide = toy_envs.RandomTree(vocab_size=4, horizon=4)
habits = exact.random_reference(4, 4, seed=3)
forest = exact.enumerate_tree(wide, habits)
truth = exact.solve(forest, alpha=0.2)


def fit_values(tree, law, weights, raw=True, rng=None):
    """V_theta at every depth, fitted to all pairs; `law` of the answers."""
    fitted = []
    for t in range(1, tree.horizon + 1):
        rows = (tree.vocab_size**t, -1)
        reach = law.reshape(rows).sum(axis=1)
        ticket = (law * weights).reshape(rows).sum(axis=1) / reach
        total = ticket if raw else None
        loss = exact.GroupObjective(reach, ticket, 2, total)
        start = np.zeros(len(reach))
        if rng is not None:
            start = 2 * rng.standard_normal(len(reach))
        fitted.append(loss.fit(start))
    return fitted


# %%
forest_law = np.exp(forest.prefix_logps[-1])
tickets = np.exp(forest.rewards / 0.2)
rng = np.random.default_rng(3)
fits = {"from zero": fit_values(forest, forest_law, tickets)}
for name in ("random start", "another one"):
    fits[name] = fit_values(forest, forest_law, tickets, rng=rng)

# %% [markdown]
# **Predict.** Plot fitted against true values. A perfect estimate lies on the
# diagonal. Where will these points lie?
#
# **Run.** One marker per depth; the thin lines have slope 1 exactly.

# %%
import matplotlib.pyplot as plt

from gnivo_edu.figures.lines import styles


def against_truth(panels, note=""):
    figure, axes = plt.subplots(
        1, 3, figsize=(10.8, 4.0), sharey=True, layout="constrained")
    for axis, (name, fitted) in zip(axes, panels.items(), strict=True):
        for t, look in enumerate(styles(4), start=1):
            v, f = truth.values[t], fitted[t - 1]
            ends = np.array([v.min(), v.max()])
            axis.plot(ends, ends + (f - v).mean(), color="#777777", lw=0.8)
            axis.plot(v, f, look.marker, color=look.colour, ms=4.5,
                      mec="white", mew=0.4, label=f"t = {t}")
        axis.set(title=name, xlabel="true V, nats")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("fitted $V_\\theta$, nats")
    axes[0].legend(frameon=False)
    caption = "reference: random habits; alpha = 0.2; groups of 2" + note
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=9)
    plt.show()


against_truth(fits)

# %% [markdown]
# **Explain.** Straight lines of slope 1, all of them; only their heights
# differ, by depth and by start. That is Theorem 2:
#
# $$V_\theta(s_t) = V(s_t) + \log C_t \quad\text{for every prefix } s_t.
# \tag{4.5}$$
#
# The shift $\log C_t$ is whatever the start happened to leave there. The loss
# cannot see it, so it never moves it.
#
# ### Exercise 15 · Right up to a shift (8 minutes, easy, important)
#
# "Looks straight" is not a number. At each depth, return the plain mean of
# $V_\theta - V$, and its largest minus its smallest, over the prefixes that
# the reference can reach (`prefix_logps > -inf`).

# %%
def shift_and_spread(v_theta, values, prefix_logps):
    ### BEGIN SOLUTION
    gaps = [(fitted - true)[logps > -np.inf]
            for fitted, true, logps
            in zip(v_theta, values, prefix_logps, strict=True)]
    shifts = np.array([gap.mean() for gap in gaps])
    return shifts, np.array([gap.max() - gap.min() for gap in gaps])
    ### END SOLUTION


check.shift_and_spread(shift_and_spread)

# %%
for name, fitted in fits.items():
    shifts, spreads = shift_and_spread(
        fitted, truth.values[1:], forest.prefix_logps[1:])
    line = " ".join(f"{shift:+6.2f}" for shift in shifts)
    print(f"{name:<13} shift {line}   all spreads below 1e-9:",
          bool(spreads.max() < 1e-9))

# %% [markdown]
# ## A policy knows more
#
# Up to a constant per depth: is that good enough? It ranks siblings, since
# they share a depth. But credit is $V(s_t) - V(s_{t-1})$, across depths, and
# there the shifts would go straight into the answer.
#
# A policy cannot be shifted. Write $\pi_\theta(s_t) = \pi_{\text{ref}}(s_t)\,
# e^{V_\theta(s_t)}$: the probabilities of all prefixes of one depth sum to
# one, and so
#
# $$\mathbb{E}_{\text{ref}}\big[e^{V_\theta(s_t)}\big] = 1
# \quad\text{at every depth.} \tag{4.6}$$
#
# ### Exercise 16 · Pin the shift (10 minutes, medium, essential)
#
# Subtract from $V_\theta$, at each depth, the one constant that makes (4.6)
# true. Mind large values: `np.logaddexp.reduce` is your friend.

# %%
def pin_the_shift(v_theta, prefix_logps):
    ### BEGIN SOLUTION
    return [values - np.logaddexp.reduce(logps + values)
            for values, logps in zip(v_theta, prefix_logps, strict=True)]
    ### END SOLUTION


check.pin_the_shift(pin_the_shift)

# %% [markdown]
# **Predict.** Three starts gave three different sets of shifts. After
# pinning, what is left of them? Which constant could it be?

# %%
print(f"minus log Z is {-truth.log_z:+.4f}")
for name, fitted in fits.items():
    pinned = pin_the_shift(fitted, forest.prefix_logps[1:])
    shifts, _ = shift_and_spread(
        pinned, truth.values[1:], forest.prefix_logps[1:])
    print(f"{name:<13} shift", " ".join(f"{s:+.4f}" for s in shifts))

# %% [markdown]
# **Explain.** There is $\log Z$, at every depth, for nothing. We never
# estimated it and never put it in. It is the same at all depths, so in a
# difference of two depths it falls out:
#
# $$V_\theta(s_t) - V_\theta(s_{t-1}) = V(s_t) - V(s_{t-1})
# \quad\text{once pinned.} \tag{4.7}$$
#
# Back to the poster's problem, and to the answer that went wrong at step 3.
# Same fit, free and pinned, beside the exact credits.

# %%
answer = problem.examples["wrong at 3"]
free = fit_values(tree, law, np.exp(tree.rewards / alpha),
                  rng=np.random.default_rng(1))
pinned = pin_the_shift(free, tree.prefix_logps[1:])


def credits(fitted):
    places = [tree.index(answer[:t]) for t in range(1, 8)]
    return np.diff([0.0, *(fitted[t - 1][row] for t, row in places)])


rows = {"free": credits(free), "pinned": credits(pinned),
        "exact": key.step_credit(answer)}
words = [problem.vocabulary[token] for token in answer]
full = np.abs(rows["exact"]).max()
figures.CreditStrips(
    dict.fromkeys(rows, words), rows, problem.step_names,
    f"credit in nats; reference: the initial model; alpha = {alpha:g}; "
    f"full colour at ±{full:.2f}", scale=full,
)

# %% [markdown]
# The free row is noise: it shows where the fit started. The pinned row *is*
# the exact row. And a language model is a policy already: nobody has to pin
# it. That is why GN-IVO trains the policy itself, in notebook 05.

# %%
gap = np.abs(rows["pinned"] - rows["exact"]).max()
print("pinned and exact credits agree within 1e-9 nats:", bool(gap < 1e-9))

# %% [markdown]
# ## The road not taken: a squared error
#
# Why not simply ask for it? A policy implies a value (notebook 03). Square
# its distance from the true one. This is where the poster begins:
#
# $$L_{\text{MSE}}(Z, \theta) = \mathbb{E}_{\text{ref}}\Big[\Big(\log Z
# + \log \frac{\pi_\theta(s_t)}{\pi_{\text{ref}}(s_t)}
# - V(s_t)\Big)^2\Big]. \tag{4.8}$$
#
# Two unknowns. The bracket is zero everywhere if $Z$ is the true one and
# $\pi_\theta = \pi^*$, and nowhere else: that is the minimiser. But somebody
# has to bring $\log Z$, or a second network has to learn it beside the
# policy.
#
# **Predict.** Say that $\log Z$ is off by 0.2 nats. That is one constant for
# all prefixes, and constants did no harm so far. Does the policy come out
# right all the same?
#
# **Run.** The wide tree at $t = 2$, gradient descent from the reference. The
# log-ratio is kept a log-ratio: its prefixes' probabilities sum to one. In
# the last line $V$ itself is not known, and the rewards of the answers, one
# sample each, are put in its place.

# %%
reach = np.exp(forest.prefix_logps[2])  # sixteen prefixes, of two tokens
value = truth.values[2]
tilted = value - truth.log_z  # log pi*/pi_ref


def fit_squares(target, log_z, learn=False):
    free = np.zeros(len(reach))
    for _ in range(5_000):
        ratio = free - np.log(reach @ np.exp(free))
        gap = log_z + ratio - target
        free -= 0.2 * (gap - (reach @ gap) * np.exp(ratio))
        log_z -= 0.5 * learn * (reach @ gap)
    return free - np.log(reach @ np.exp(free))


def given_prefix(numbers):
    """Mean over the answers that begin with each prefix of two tokens."""
    return (forest_law * numbers).reshape(16, -1).sum(axis=1) / reach


# %%
# A square sees only the mean of the rewards that follow a prefix.
rewards = given_prefix(forest.rewards / 0.2)
for name, ratio in {
    "log Z known": fit_squares(value, truth.log_z),
    "log Z learnt": fit_squares(value, 0.0, learn=True),
    "log Z 0.2 too small": fit_squares(value, truth.log_z - 0.2),
    "log Z 0.2 too large": fit_squares(value, truth.log_z + 0.2),
    "learnt, R in place of V": fit_squares(rewards, 0.0, learn=True),
}.items():
    miss = np.abs(ratio - tilted).max()
    print(f"{name:<24} misses log π*/π_ref by up to",
          f"{miss:.3f}" if miss > 1e-9 else "0")

# %% [markdown]
# **Explain.** A policy cannot be shifted, so a wrong $\log Z$ has nowhere to
# go: no policy makes all brackets zero, and the one that makes their squares
# small is bent. With the right $\log Z$, or one that is learnt until it is
# right, all is well. (Nor need it be learnt: for a given policy the best
# $\log Z$ is the mean of what the bracket leaves of $V$ and the log-ratio.
# Put it in, and (4.8) is a *variance*. That road leads to GVPO, in notebook
# 07.)
#
# The last line is worse, since learning does not mend it. A square is small
# at the *mean* of its targets, and the mean of $R/\alpha$ is not $V$: the
# logarithm stands outside the mean in $V$. In (4.2) the ticket $e^{R/\alpha}$
# stands bare, and its mean is what is wanted (4.4). So the comparison does
# away with two bills at once.
#
# At the words "mean-squared error" the poster points to two references, [1]
# and [2]; the copy that we read does not print them. Of this form are DRO,
# which learns one value per prompt for complete answers, and OREO, which
# learns one for every state. Both are among its baselines, and in notebook
# 08.

# %% [markdown]
# ## A control that must fail
#
# The fit rests on (4.4). Two changes touch it, and look harmless.
#
# - **Softmax weights**: divide each $w_i$ by the group's sum, so that big
#   rewards cannot explode. (By its reviews, the paper's own experiments do
#   this.) Now a ticket's price depends on who else played.
# - **Stale samples**: draw the answers from another policy than the
#   reference, say last week's, and keep the weights.
#
# **Predict.** Which depths suffer: early ones, late ones, all?
#
# **Run.** Heights are free, so we set the lines apart.

# %%
share = tickets[:, None] / (tickets[:, None] + tickets[None, :])
softened = share @ forest_law

stale = np.zeros(1)
for table in exact.random_reference(4, 4, seed=10_007):
    stale = (stale[:, None] + table).ravel()

broken = {
    "raw weights": fits["from zero"],
    "softmax weights": fit_values(forest, forest_law, softened, raw=False),
    "stale samples": fit_values(forest, np.exp(stale), tickets),
}
against_truth({
    name: [f - f.mean() + 2 * t for t, f in enumerate(fitted)]
    for name, fitted in broken.items()
}, note="; lines set apart")

# %%
for name, fitted in broken.items():
    _, spreads = shift_and_spread(
        fitted, truth.values[1:], forest.prefix_logps[1:])
    print(f"{name:<16} spread at t = 1..4:",
          " ".join(f"{s:.3f}" for s in spreads))
    assert spreads[-1] < 1e-9
    assert name == "raw weights" or spreads[:-1].min() > 0.1

# %% [markdown]
# **Explain.** At $t = T$ both are harmless: a complete answer has one reward,
# its ticket is no lottery, and only the comparison is left. Before that, the
# mean price is taken over the *rest* of the answer. Softmax weights average
# the wrong price; stale samples average over the wrong rest.
#
# So completions have to come from the reference. And the *prefixes*? They may
# come from anywhere: they only say which comparisons are made, not what a
# ticket is worth.

# %%
anywhere = exact.verify_constant_shift(
    forest, alpha=0.2, group_size=2,
    prefix_sampler=exact.random_reference(4, 4, seed=10_007))
print("prefixes from another policy, completions from the reference:",
      "holds" if anywhere.passed else "fails")
assert anywhere.passed

# %% [markdown]
# ## A question the poster leaves open
#
# The poster sums its targets from $j = 1$ and its model from $j = 0$. Which
# one is meant? We list every group of three prefixes and try each reading. A
# reading makes sense if its targets sum to one, the shift is one constant,
# and the gradient rests at $V$.

# %%
question = exact.index_question(tree, alpha, t=2, group_size=3)
print("targets from j, model from j:  sum of targets   spread of log C   "
      "push at V")
for row in question.table:
    a, b, total, spread, push = row.values()
    spread, push = (x if x > 1e-12 else 0.0 for x in (spread, push))
    print(f"{a:>14}, {b:>12} {total:>16.3f} {spread:>17.3f} {push:>11.3f}")

# %% [markdown]
# Only the first reading meets all three: both sums run over the whole group,
# from $j = 0$. (The targets' index alone moves no minimum, which is why the
# slip is easy to make. The model's index does.)
#
# There is a second slip in the same equation. Between the sum of all
# $e^{V_j}$ and the cross-entropy of the shares our copy of the poster has a
# *minus* sign, where the step to (4.2) needs *times*.
#
# **Predict.** Does it matter, as long as $V$ itself is in the formula? And
# once a ticket $e^{R/\alpha}$ stands in the place of $e^V$?

# %%
odds = np.exp(value)[:, None] / np.add.outer(np.exp(value), np.exp(value))
for name, target, total in (
        ("times, V known  ", np.exp(value), np.exp(value)),
        ("times, a ticket ", given_prefix(tickets), given_prefix(tickets)),
        ("minus, V known  ", odds @ reach, None),
        ("minus, a ticket ", given_prefix(softened), None)):
    loss = exact.GroupObjective(reach, target, 2, total)
    push, scale = (np.abs(loss.gradient(v)).max()
                   for v in (value, np.zeros(16)))
    print(f"{name} push at V, relative to V = 0:",
          f"{push / scale:.3f}" if push > 1e-9 * scale else "0")

# %% [markdown]
# **Explain.** With $V$ known it does not matter: each group has its shares
# right or wrong, and a factor in front of all of them only says how loudly.
# With tickets it does. *Times* multiplies the shares' denominator away and
# leaves bare weights $w_i$. *Minus* leaves it in place: these are the softmax
# weights that failed above.
#
# ## Play
#
# Does a larger group heal softmax weights? And what does $\alpha$ do? Change
# the numbers, and find a corner where the shortcut costs next to nothing.

# %%
for a in (0.1, 0.2, 0.5, 2.0):
    misses = [exact.softmax_weights(forest, a, k).violation
              for k in (2, 4, 8, 16)]
    print(f"alpha {a}: groups of 2, 4, 8, 16 miss V by",
          " ".join(f"{miss:.3f}" for miss in misses))

# %% [markdown]
# ## What we did not show
#
# - All expectations were exact. From a few sampled groups the tickets are
#   noisy, most of all at small $\alpha$: notebook 05 is about that.
# - One table entry per prefix. A network shares its parameters between
#   prefixes, and then Theorem 2 promises less.
# - With answers of unequal length, how the depths are counted matters; that
#   too comes in notebook 05.
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
# | How can a model learn it from samples? | *notebook 05* |
#
# **Links.** `gnivo_edu/exact/groups.py`, expectations over groups of any size
# without listing them; `gnivo_edu/exact/theorems.py`, Theorem 2 as a
# certificate (`gnivo-edu verify`); `gnivo_edu/exact/controls.py`, the two
# switches; `gnivo_edu/objectives/value_mse.py`, (4.8) as a loss; the poster
# of GN-IVO, Theorem 2 and Equations 7 and 8.
#
# **Next.** 05, *GN-IVO learns where it went wrong*: the same comparison, with
# a policy, from samples.
