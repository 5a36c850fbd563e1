# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 · Tilt, don't win
#
# **Claim.** The best policy is the reference times $e^{R/\alpha}$, and
# $\alpha$ goes all the way from copying to greed.
#
# *Learner time: about 40 minutes. Run time: seconds, on any laptop, no GPU,
# no torch.*
#
# **So far we know** (notebook 01) how to list every answer of a policy with
# its probability. **We still cannot** say which policy we would rather have.
#
# After this notebook you can
#
# - say why "win as often as you can" is not yet a goal;
# - write the best policy in one line, and normalise it without overflow;
# - read the reward-KL plane, and say what no training run can ever reach;
# - choose $\alpha$ for the number of nats you are willing to spend.
#
# Three new symbols: the best policy $\pi^*$, the objective $J$, and the
# distance $\mathrm{KL}$ from the reference. The temperature $\alpha$ and the
# sum $Z$ come back from notebook 00.

# %% [markdown]
# ## A writer who is rarely right
#
# Here is the bracket writer of notebook 01, with room for one more token. An
# answer earns 1 if its brackets balance and it stops in time, otherwise 0.
# The writer's habits are our *reference*: they come from before any training.

# %%
from dataclasses import replace

import numpy as np

import toy_envs
from gnivo_edu import exact, figures
from gnivo_edu.course import check

mdp = toy_envs.Brackets(horizon=5)
habits = exact.random_reference(mdp.vocab_size, mdp.horizon, seed=3)
tree = exact.enumerate_tree(mdp, habits)
answers = list(tree.answers())
logps = tree.prefix_logps[-1][tree.reachable(5)]
rewards = tree.rewards[tree.reachable(5)]
winners = np.flatnonzero(rewards)
print(f"{len(answers)} answers, {len(winners)} of them right:")
for i in winners:
    print(f"  {mdp.decode(answers[i]):<6} written {np.exp(logps[i]):.1%}")
print(f"the writer is right {np.exp(logps) @ rewards:.1%} of the time")

# %% [markdown]
# **Predict.** You may change the writer's habits as you please, but every
# change costs something. Which of the right answers will the improved writer
# prefer? Will it still write all of them? What if changes become cheap?
#
# **Run.** Below, $\alpha$ is the price of change. On each edge stands the
# chance of a token before and after; thick lines lead to right answers.

# %%
def best_tree(alpha):
    key = exact.solve(tree, alpha)
    return figures.prefix_tree(
        key, mdp.vocabulary, key.optimal_step_logps, nodes=10, scale=2.0,
        keep=[answers[i] for i in winners],
        reference="random habits", policy_name="π*",
    )


prices = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 2.0, 5.0)
figures.slide(best_tree, prices, still=[1.0, 0.3, 0.15])

# %% [markdown]
# **Explain.** With a high price the new writer is nearly the old one. With a
# low price it is nearly always right, but look: it did not pick a champion.
# All the right answers survive, in the old proportions. That is the whole
# idea of this notebook. The best policy does not *win*, it *tilts*.
#
# ## What "best" means
#
# "Be right as often as possible" does not single out a policy. The writer
# who only ever writes `().` is always right, and so is anyone who mixes the
# right answers. For a language model it is worse: nothing keeps a policy
# that hunts reward alone from forgetting how to write. So we ask for reward
# *and* charge for distance:
#
# $$J(\pi) = \mathbb{E}_{\pi}[R] - \alpha\, \mathrm{KL}(\pi \,\|\,
# \pi_{\text{ref}}), \qquad \mathrm{KL}(\pi \,\|\, \pi_{\text{ref}}) =
# \sum_y \pi(y) \log \frac{\pi(y)}{\pi_{\text{ref}}(y)}. \tag{2.1}$$
#
# KL counts in nats how far $\pi$ has moved. The temperature $\alpha$ says
# what one nat costs, in units of reward. The best policy then has a formula:
#
# $$\pi^*(y) = \frac{\pi_{\text{ref}}(y)\, e^{R(y)/\alpha}}{Z}, \qquad
# Z = \sum_y \pi_{\text{ref}}(y)\, e^{R(y)/\alpha}. \tag{2.2}$$
#
# Take the old habits, multiply, divide by what makes it sum to one. We start
# with the divisor.
#
# ### Exercise 3 · log Z (6 minutes, easy, important)
#
# Given `logps`, the reference's log-probabilities of all complete answers,
# and their `rewards`, return $\log Z$ in nats. Mind small `alpha`: at 0.001
# the number $e^{1/\alpha}$ does not fit into a float, but its logarithm is
# quite ordinary. Stuck? `check.log_z.hint()`.

# %%
def log_z(logps, rewards, alpha):
    ### BEGIN SOLUTION
    exponents = logps + rewards / alpha
    largest = exponents.max()
    return largest + np.log(np.exp(exponents - largest).sum())
    ### END SOLUTION


check.log_z(log_z)

# %% [markdown]
# Our writer, at three prices. The last column is $\alpha \log Z$, in units of
# reward; we will need it in a moment.

# %%
for alpha in (1.0, 0.3, 0.15):
    ours = log_z(logps, rewards, alpha)
    same = abs(ours - exact.solve(tree, alpha).log_z) < 1e-12
    print(f"alpha {alpha:<4}: log Z = {ours:6.3f}, as the library: {same};"
          f"  alpha log Z = {alpha * ours:.3f}")

# %% [markdown]
# ### Exercise 4 · The tilted policy (7 minutes, easy, important)
#
# Now (2.2) itself, for several prompts at once. Row `x` of `logps` and of
# `rewards` belongs to prompt `x`; return $\log \pi^*$ in the same shape. Each
# prompt has a $Z$ of its own.

# %%
def tilted_policy(logps, rewards, alpha):
    ### BEGIN SOLUTION
    tilted = logps + rewards / alpha
    return tilted - np.logaddexp.reduce(tilted, axis=1, keepdims=True)
    ### END SOLUTION


check.tilted_policy(tilted_policy)

# %% [markdown]
# **Predict.** Between two right answers, what does the tilt do to the *ratio*
# of their probabilities? And between a right one and a wrong one?
#
# **Run.**

# %%
shown = [*winners, answers.index((2,))]
laws = {"reference": logps}
for a in (1.0, 0.3, 0.15):
    laws[f"alpha {a}"] = tilted_policy(logps[None], rewards[None], a)[0]
print("answer" + "".join(f"{name:>12}" for name in laws))
for i in shown:
    print(f"{mdp.decode(answers[i]):<6}"
          + "".join(f"{np.exp(law[i]):12.4f}" for law in laws.values()))
first, second = winners[0], winners[-1]
ratios = [np.exp(law[second] - law[first]) for law in laws.values()]
print("ratio of two right answers:",
      " ".join(f"{ratio:.3f}" for ratio in ratios))

# %% [markdown]
# **Explain.** Equal rewards, equal factors: the ratio of two right answers
# never moves. That is what a tilt is. It cannot tell two answers apart that
# the reward does not tell apart, and leaves that question to the reference.
# The two ends of the dial follow:
#
# $$\pi^* \to \pi_{\text{ref}} \;\; (\alpha \to \infty), \qquad
# \pi^* \to \pi_{\text{ref}}(\,\cdot \mid R = \max R) \;\; (\alpha \to 0).
# \tag{2.3}$$
#
# Copying at one end. At the other end greed, and even greed is polite: it is
# the reference, *given* that the answer is among the best.
#
# ## Nobody does better
#
# Is (2.2) really the best? There is a one-line reason. For *any* policy
# $\pi$,
#
# $$J(\pi) = \alpha \log Z - \alpha\, \mathrm{KL}(\pi \,\|\, \pi^*).
# \tag{2.4}$$
#
# (Put $\log \pi_{\text{ref}} = \log \pi^* - R/\alpha + \log Z$ into (2.1) and
# watch $R$ cancel.) A KL is never negative, and zero only for $\pi = \pi^*$.
# So the best score is $\alpha \log Z$, and whatever a policy is short of it
# is $\alpha$ times its distance to the best. Let us ask some rivals.

# %%
def kl(p, q):
    return p @ np.log(p / q)


alpha, rng = 0.3, np.random.default_rng(0)
reference = np.exp(logps)
star = np.exp(tilted_policy(logps[None], rewards[None], alpha)[0])
best = alpha * log_z(logps, rewards, alpha)
rivals = rng.dirichlet(np.full(len(answers), 0.3), size=1000) + 1e-12
rivals /= rivals.sum(axis=1, keepdims=True)
near = star * np.exp(0.3 * rng.standard_normal((1000, len(answers))))
rivals = np.vstack([rivals, near / near.sum(axis=1, keepdims=True)])
scores = np.array([p @ rewards - alpha * kl(p, reference) for p in rivals])
short = np.array([alpha * kl(p, star) for p in rivals])
print(f"best possible {best:.4f}, best of {len(rivals)} rivals "
      f"{scores.max():.4f}")
print("equation (2.4) within 1e-12 for every rival:",
      abs(scores + short - best).max() < 1e-12)

# %% [markdown]
# ## The plane of what is possible
#
# Two numbers describe a policy: what it earns, and how far it went. Sweep
# $\alpha$ and the best policies draw a curve, the **frontier**. Nothing is
# above it.
#
# Let us put two popular rivals into the plane. *One answer*: always write
# the likeliest right answer. *Best of 4*: let the old writer write four
# answers and keep the best. We need no sampling for that: the best of $K$ is
# a given answer when all $K$ are no better and not all of them are worse.

# %%
def best_of(tree, count):
    p, r = np.exp(tree.prefix_logps[-1]), tree.rewards
    law = np.zeros_like(p)
    for level in np.unique(r[p > 0]):
        no_better, worse = p[r <= level].sum(), p[r < level].sum()
        same = (r == level) & (p > 0)
        law[same] = p[same] * (no_better**count - worse**count)
        law[same] /= no_better - worse
    return law


def as_tables(tree, law):
    """A law over whole answers, as choices token by token."""
    width, tables = tree.vocab_size, []
    for t, habit in enumerate(tree.step_logps):
        here = law.reshape(width**t, -1).sum(axis=1, keepdims=True)
        below = law.reshape(width ** (t + 1), -1).sum(axis=1)
        table = habit.copy()  # where the law never goes, nothing changes
        written = here[:, 0] > 0
        with np.errstate(divide="ignore"):
            table[written] = np.log(
                below.reshape(-1, width)[written] / here[written])
        tables.append(table)
    return tables

# %% [markdown]
# **Predict.** Where will the rivals lie: on the curve, or below it? (Best of
# 16 comes along.)
#
# **Run.**

# %%
always = np.zeros(3**5)
always[tree.index((0, 1, 2, 2, 2))[1]] = 1
figures.reward_kl_plane(
    tree,
    {"one answer": as_tables(tree, always),
     "best of 4": as_tables(tree, best_of(tree, 4)),
     "best of 16": as_tables(tree, best_of(tree, 16))},
    named=(1.0, 0.3, 0.15, 0.0), reference="random habits",
)

# %% [markdown]
# **Explain.** *One answer* wins every time, and so does the end of the
# curve, which got there for less: picking a champion is money thrown away.
# *Best of K* sits exactly on the curve. That is no accident. With rewards 0
# and 1 it gives all right answers one factor and all wrong ones another, so
# it *is* a tilt, and we can say which $\alpha$ it stands for.

# %%
for count in (2, 4, 16, 64):
    law = best_of(tree, count)[tree.reachable(5)]
    factor = law / np.exp(logps)
    right, wrong = factor[winners[0]], factor[answers.index((2,))]
    a = 1 / np.log(right / wrong)
    tilt = np.exp(tilted_policy(logps[None], rewards[None], a)[0])
    print(f"best of {count:<2} is the tilt at alpha = {a:.3f}: "
          f"{abs(tilt - law).max() < 1e-12}")

# %% [markdown]
# With more than two levels of reward the luck ends. Say an answer with two
# pairs of brackets earns 1 and the short one only a tenth.
#
# **Predict.** Will best of $K$ leave the curve? **Run.**

# %%
mild = np.zeros(3**5)
for i in winners:
    place = tree.reachable(5)[i]
    mild[place] = 0.1 if len(answers[i]) == 3 else 1.0
graded = replace(tree, rewards=mild)
figures.reward_kl_plane(
    graded,
    {f"best of {n}": as_tables(graded, best_of(graded, n))
     for n in (4, 16, 64)},
    named=(1.0, 0.3, 0.15, 0.0), reference="random habits",
)

# %% [markdown]
# **Explain.** It does. Best of $K$ sees only the *order* of the rewards, so
# it spends nats on the short answer as if a tenth were a prize. The tilt
# looks at the sizes, and spends where it pays.
#
# ## Alpha is a price tag
#
# One more thing can be read off the plane: the slope. Along the frontier,
#
# $$\frac{d\,\mathbb{E}_{\pi^*}[R]}{d\,\mathrm{KL}(\pi^* \,\|\,
# \pi_{\text{ref}})} = \alpha. \tag{2.5}$$
#
# At the margin, one more nat of distance buys $\alpha$ of reward. The first
# nats are cheap, the last ones dear.

# %%
for alpha in (1.0, 0.5, 0.3, 0.2, 0.1):
    left, right = (exact.solve(tree, alpha * f) for f in (1.001, 0.999))
    slope = ((right.expected_reward - left.expected_reward)
             / (right.kl - left.kl))
    print(f"alpha {alpha:.1f}: slope of the frontier {slope:.4f}")

# %% [markdown]
# So a budget of nats fixes $\alpha$, and people who train language models
# often have such a budget in mind.
#
# ### Exercise 11 · Alpha for a KL budget (12 minutes, medium, useful)
#
# Find the $\alpha$ at which $\mathrm{KL}(\pi^* \| \pi_{\text{ref}})$ of whole
# answers is `kl_budget` nats. Here `logps` comes token by token, shape
# `[n, T]`. The KL falls all the way as $\alpha$ grows, so bisection between
# 0.001 and 1000 will find it.

# %%
def alpha_for_kl_budget(logps, rewards, kl_budget):
    ### BEGIN SOLUTION
    reference = logps.sum(axis=1)
    low, high = 1e-3, 1e3
    for _ in range(60):
        alpha = np.sqrt(low * high)
        tilted = reference + rewards / alpha
        log_ratio = rewards / alpha - np.logaddexp.reduce(tilted)
        kl = np.exp(reference + log_ratio) @ log_ratio
        if kl > kl_budget:
            low = alpha
        else:
            high = alpha
    return alpha
    ### END SOLUTION


check.alpha_for_kl_budget(alpha_for_kl_budget)

# %% [markdown]
# ## A control that must fail
#
# Three ways to write the tilt that look fine at a glance: leave out the
# reference; multiply by $\alpha$ where we should divide; tilt each *token* by
# the reward it brings on the spot, and normalise there. The last one is
# tempting, because a policy is a list of token choices:

# %%
def token_by_token(alpha):
    law = np.ones(1)
    for t, habit in enumerate(tree.step_logps):
        # the leaves that are all end tokens from here on
        closed = 3 ** (4 - t) * np.arange(1, 3 ** (t + 1) + 1) - 1
        gain = tree.rewards[closed].reshape(-1, 3)
        gain[:, :2] = 0  # only the end token is paid on the spot
        step = np.exp(habit + gain / alpha)
        step /= step.sum(axis=1, keepdims=True)
        law = (law[:, None] * step).ravel()
    return law[tree.reachable(5)]

# %% [markdown]
# **Predict.** Which of the three is closest to $\pi^*$? TV, total variation,
# is half the sum of the absolute differences: zero for equal laws, at most
# one.

# %%
alpha = 0.3
star = np.exp(tilted_policy(logps[None], rewards[None], alpha)[0])
best = alpha * log_z(logps, rewards, alpha)
controls = {
    "no reference": np.exp(rewards / alpha),
    "alpha R": reference * np.exp(alpha * rewards),
    "token by token": token_by_token(alpha),
}
for name, law in controls.items():
    law = law / law.sum()
    tv = abs(law - star).sum() / 2
    score = law @ rewards - alpha * kl(law, reference)
    print(f"{name:<15} TV to π* {tv:.3f}, J falls short by "
          f"{best - score:.3f}")
    assert tv > 0.1
    assert abs(best - score - alpha * kl(law, star)) < 1e-9

# %% [markdown]
# **Explain.** All three fail, and (2.4) knows the bill of each to the last
# digit. The token-by-token tilt ends its answers well, once it is there; but
# it never learns to *go* there, because the tokens on the way are paid
# nothing on the spot. What should they be multiplied by instead? That is the
# question of notebook 03.
#
# ## Play
#
# You have some nats to spend. Change the budget and, before you run, guess
# the reward it buys. Where does more budget stop helping, and what happens
# if you ask for more than that?

# %%
budget = 1.0  # nats for a whole answer

tokens = np.zeros((len(answers), 5))
for i, answer in enumerate(answers):
    for t in range(len(answer)):
        number = tree.index(answer[:t])[1]
        tokens[i, t] = tree.step_logps[t][number, answer[t]]
alpha = alpha_for_kl_budget(tokens, rewards, budget)
key = exact.solve(tree, alpha)
print(f"{budget} nats: alpha = {alpha:.4f}, KL = {key.kl:.4f}, "
      f"right {key.expected_reward:.1%} of the time")

# %% [markdown]
# ## What we did not show
#
# - The formula needs $Z$, a sum over all answers. Nobody can add those up for
#   a language model; notebook 04 gets around it.
# - Nothing was trained. We computed where training *should* end, not whether
#   a given loss gets there; that is for 08.
# - An answer the reference never writes stays unwritten, whatever its reward.
# - The reward is taken at its word. If it can be fooled, a small $\alpha$
#   will fool it.
#
# **The credit table.**
#
# | question | answer so far |
# |---|---|
# | What is one step worth? | $V(s_t) - V(s_{t-1})$ |
# | What are the probabilities of all answers? | products of choices; they sum to 1 |
# | What does the best policy look like? | $\pi_{\text{ref}}\, e^{R/\alpha} / Z$: a tilt, not a win |
# | Why is credit $\log \pi^*/\pi_{\text{ref}}$? | *notebook 03* |
# | How can groups find it without a critic? | *notebook 04* |
# | How can a model learn it from samples? | *notebook 05* |
#
# **Links.** The objective of the poster of *Group-Normalized Implicit Value
# Optimization for Language Models* (Choi et al., ICLR 2026);
# `gnivo_edu/exact/solution.py`, the same $\pi^*$ for trees with many more
# answers; `gnivo_edu/figures/plane.py`, the plane.
#
# **Next.** 03, *The missing factor is e^V*: the tilt of a whole answer is
# $e^{R/\alpha}$. What is the tilt of half an answer?
