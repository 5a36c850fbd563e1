# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 · What a critic is for
#
# **Claim.** On one prompt whose answers are right or wrong, REINFORCE, RLOO,
# GRPO and PPO blame the same answer in five ways and push, on average, in one
# and the same direction, unless a wrong critic is believed.
#
# *Learner time: about 45 minutes. Run time: under half a minute on a laptop,
# no GPU.*
#
# **So far we know** (notebook 05) that GN-IVO finds the step that went wrong
# from one reward per answer, because beginnings are shared and rewards
# differ. **We still cannot** say what that is worth. There are older ways to
# turn a reward into blame, and the most expensive of them trains a second
# model, a *critic*, for nothing else.
#
# After this notebook you can
#
# - say what REINFORCE does to every step on average, exactly;
# - take a baseline, RLOO's or GRPO's, and say what it changes and what not;
# - write GAE, and tell from $\lambda$ whether a wrong critic can do harm;
# - measure both things a critic trades, noise and bias, without sampling;
# - build a critic that teaches nothing at all, and one that blames twice.
#
# Three new symbols: the blame $A_t$ of a step, a critic's guess $\hat p$, and
# $\lambda$, how long a critic is distrusted.

# %% [markdown]
# ## The answer key, in another currency
#
# The methods of today do not think in nats. They think in rewards. For an
# answer that earns 1 or 0, all there is to know about a beginning is the
# chance $p(s_t)$ that it ends right, which you met in notebook 00; and what a
# step was worth is the change of it, $p(s_t) - p(s_{t-1})$.
#
# It is the same story in another currency: $e^{V} = 1 + p\,(e^{1/\alpha} -
# 1)$. Our answer that goes wrong at step 3 will tell it twice.

# %%
import math

import numpy as np
import torch

import toy_envs
from gnivo_edu import exact, figures, objectives, policies
from gnivo_edu.course import check
from gnivo_edu.figures.updates import update_strips
from gnivo_edu.population import (
    Answers, Population, expect, gradient_covariance, point_at)

torch.set_num_threads(1)
problem = toy_envs.PosterProblem()
tree = exact.enumerate_tree(problem)
alpha, wrong = 0.5, problem.examples["wrong at 3"]
key = exact.solve(tree, alpha)
words = [problem.vocabulary[token] for token in wrong]

# %%
chances = [key.success_probability(wrong[:t]) for t in range(8)]
print("chance of ending right:", " ".join(f"{p:.0%}" for p in chances))
update_strips(words, problem.step_names, {"what each step was worth": {
    "change of the chance": np.diff(chances),
    "alpha times the credit in nats": alpha * key.step_credit(wrong),
}}, alpha)

# %% [markdown]
# Both rows are exact, and they do not agree on who is worst. In chances the
# mistake at step 3 cost more; in nats the missed check at step 7 did, because
# a logarithm takes the last bit of hope very seriously. The upper row is
# today's answer key.
#
# ## REINFORCE: one number for everybody
#
# A policy gradient method pushes up the logarithm of what was written, each
# step as strongly as its $A_t$ says (and down, if that is negative):
#
# $$\text{push} \;=\; \sum_{t=1}^{T} A_t\, \nabla_\theta \log
# \pi_\theta(y_t \mid s_{t-1}). \tag{6.1}$$
#
# We call $A_t$ the *blame*, even when it is praise. REINFORCE, the
# simplest, gives every step the reward of the answer: $A_t = R$.
#
# **Predict.** Our wrong answer has $R = 0$. How much blame does its mistake
# get? And on average, over all answers that the writer might have written?
#
# **Run.** A few lines for the objective. The library lists all answers,
# weighs them by their chances, and differentiates: no sampling. We divide the
# push on a step by how often the step is taken, to see it per time.

# %%
def reinforce(batch, baseline=0.0):
    blame = batch.rewards - baseline
    loss = -(blame * batch.policy_logps.sum(-1)).mean(1)
    return objectives.LossOutput(batch.group_mean(loss), {})


answers = Answers.of(tree)
single = Population.of(answers, 1, sampler="current")
start = point_at(answers, alpha)
taken = (answers.visits(answers.reference)[:, None]
         * answers.reference.exp())
places = answers.state_numbers  # depth and number of every beginning
path = [places.index(tree.index(wrong[:t])) for t in range(7)]


def mean_push(objective, groups, **settings):
    """The exact mean push on every choice, at the start of training."""
    return -expect(objective, groups, start, **settings).gradient["logits"]


def strip(push):
    return (push / taken)[path, list(wrong)].numpy()


# %%
prefixes = [tree.prefix(*place) for place in places]
before = torch.tensor([key.success_probability(s) for s in prefixes],
                      dtype=torch.float64)
after = torch.tensor([[key.success_probability((*s, a)) for a in (0, 1)]
                      for s in prefixes], dtype=torch.float64)
truth = taken * (after - before[:, None])
print("exact key          ", strip(truth).round(4))
for baseline in (0.0, before[0].item(), 0.9):
    push = mean_push(reinforce, single, baseline=baseline)
    print(f"REINFORCE, R - {baseline:4.2f}", strip(push).round(4))
    print(f"    at all {len(places)} beginnings the key, within 1e-12:",
          bool((push - truth).abs().max() < 1e-12))

# %% [markdown]
# **Explain.** Zero for every step in our answer, and exactly right on
# average, at every beginning there is! The answer itself is never touched.
# But the *other* answers are: those that squared rightly are pushed up more
# often than those that squared wrongly, and probabilities have to share. A
# choice $a$ at a prefix $s$ rises by what it gets above the average choice
# there. Per time that it is made,
#
# $$\mathbb{E}\big[A_t \mid s, a\big] - \mathbb{E}\big[A_t \mid s\big]
# \;=\; p(s, a) - p(s). \tag{6.2}$$
#
# (Times the chance of coming by $s$ and choosing $a$, this is the slope of
# the mean reward along the logit of $a$ at $s$.) The left side also says what
# a *baseline* does: whatever is subtracted from $A_t$ without looking at $a$
# falls out of the difference. The mean push stays, whatever we subtract.
#
# Then why subtract anything? Because nobody sees the mean.
#
# ### Exercise 18 · Everybody against the others (6 minutes, easy, important)
#
# RLOO takes its baseline from the group: for each answer, the mean reward of
# the $K - 1$ *others*,
#
# $$A_i = R_i - \frac{1}{K - 1} \sum_{j \ne i} R_j. \tag{6.3}$$
#
# `rewards` has one row per prompt and one column per answer. Stuck?
# `check.rloo_advantage.hint()`.

# %%
def rloo_advantage(rewards):
    ### BEGIN SOLUTION
    others = rewards.sum(axis=1, keepdims=True) - rewards
    return rewards - others / (rewards.shape[1] - 1)
    ### END SOLUTION


check.rloo_advantage(rloo_advantage)

# %% [markdown]
# ## What a baseline buys
#
# Call the *noise* of a method the scatter of one answer's push around its
# mean: the variances of all its coordinates, added up. The library computes
# it over all groups. For groups of two we can list every pair of answers.
# Larger groups need no list, since RLOO is the average over all pairs in the
# group. Per answer, and with $\text{noise}_\infty$ for a writer who knows the
# mean $p(s_0)$,
#
# $$\text{noise}_K = \frac{(K - 2)\, \text{noise}_\infty + \text{noise}_2}
# {K - 1}. \tag{6.4}$$
#
# **Predict.** Three candidates: no baseline; the mean of everything; one
# single other answer ($K = 2$). Order them by noise.

# %%
def noise_per_answer(objective, groups, **settings):
    moments = gradient_covariance(objective, groups, start, **settings)
    return groups.group_size * moments[1].trace().item()


p0 = before[0].item()
pairs = Population.of(answers, 2, sampler="current")
plain = noise_per_answer(reinforce, single)
known = noise_per_answer(reinforce, single, baseline=p0)
two = noise_per_answer(objectives.rloo, pairs, alpha=alpha, clip_low=None)
push = mean_push(objectives.rloo, pairs, alpha=alpha, clip_low=None)
print("RLOO's mean push is REINFORCE's within 1e-12:",
      bool((push - truth).abs().max() < 1e-12))
print(f"no baseline      {plain:.3f}\nthe mean p(s_0)  {known:.3f}")
for size in (2, 4, 8, 32):
    each = ((size - 2) * known + two) / (size - 1)
    print(f"RLOO, K = {size:<2}     {each:.3f}")

# %% [markdown]
# **Explain.** The same push on average, and very different noise. A baseline
# that is itself a coin toss is worse than none; with eight answers RLOO is
# ahead of none, and with more it closes in on the mean that nobody knows.
#
# One detail is worth a look. If you forget to leave answer $i$ out of its own
# baseline, you get $R_i - \operatorname{mean} R$. A mistake? In every single
# group it is RLOO times $1 - 1/K$: a smaller step, nothing more.

# %%
rng = np.random.default_rng(0)
for size in (2, 4, 8):
    rewards = rng.uniform(size=(1000, size))
    own_mean = rewards - rewards.mean(axis=1, keepdims=True)
    gap = own_mean - (1 - 1 / size) * rloo_advantage(rewards)
    print(f"K = {size}: self-included = {1 - 1 / size:.3f} × RLOO in 1000 "
          "groups, within 1e-12:", bool(np.abs(gap).max() < 1e-12))
push = mean_push(objectives.dr_grpo, pairs)
print("and Dr. GRPO's mean push, K = 2, is half of REINFORCE's:",
      bool((push - truth / 2).abs().max() < 1e-12))

# %% [markdown]
# ## GRPO: loud and quiet prompts
#
# GRPO keeps the self-included mean and divides by the spread of the group,
#
# $$A_i = \frac{R_i - \operatorname{mean} R}{\operatorname{std} R + 10^{-4}}.
# \tag{6.5}$$
#
# ### Exercise 19 · The advantage of GRPO (6 minutes, easy, important)
#
# The standard deviation is that of the group, with $K - 1$ in the
# denominator. Think of the group in which all answers earn the same.

# %%
def grpo_advantage(rewards):
    ### BEGIN SOLUTION
    mean = rewards.mean(axis=1, keepdims=True)
    spread = rewards.std(axis=1, ddof=1, keepdims=True)
    return (rewards - mean) / (spread + 1e-4)
    ### END SOLUTION


check.grpo_advantage(grpo_advantage)

# %% [markdown]
# With rewards 0 and 1, all that a group can do to an answer depends on how
# many of the *others* were right, and that is a matter of coin tosses. So the
# mean over all groups of eight is a sum of eight terms. We ask what a right
# answer gets above a wrong one: 1 in REINFORCE, by (6.2).
#
# **Predict.** An easy prompt (98% right), a middling one, a hard one. Which
# one does GRPO listen to the most?

# %%
def over_all_groups(advantage, p, size=8):
    """Mean blame of a wrong and of a right answer, others at random."""
    k = np.arange(size)
    coins = [math.comb(size - 1, n) * p**n * (1 - p)**(size - 1 - n)
             for n in k]
    others = np.arange(size - 1) < k[:, None]
    return [coins @ advantage(
        np.column_stack([np.full(size, own), others]))[:, 0]
        for own in (0.0, 1.0)]


print("chance   tied groups   RLOO    GRPO")
for p in (0.02, 0.1, 0.3, p0, 0.9, 0.98):
    factors = [float(np.diff(over_all_groups(rule, p))[0])
               for rule in (rloo_advantage, grpo_advantage)]
    tied = p**8 + (1 - p)**8
    print(f"{p:6.0%} {tied:12.0%} {factors[0]:9.3f} {factors[1]:7.3f}")

# %% [markdown]
# **Explain.** On *one* prompt, with rewards 0 and 1, GRPO pushes where
# REINFORCE pushes, times one factor. Between prompts the factor differs: RLOO
# weighs a prompt by its slope and nothing else, GRPO speaks up for prompts on
# which the writer hardly ever fails, or hardly ever succeeds. (In large
# groups the factor is $1/\sqrt{p(1-p)}$: it climbs $2 \arcsin \sqrt p$
# instead of $p$.) And a group in which all earn the same says nothing at all,
# here and in RLOO; with hard prompts that is most of them.
#
# So far every step of an answer got the same number. One method does not
# settle for that.
#
# ## PPO brings a critic
#
# A critic $\hat p$ looks at every beginning and guesses the chance of ending
# right. Whenever a step changes its mind, it has an opinion about that step:
# the surprise $\hat p(s_t) - \hat p(s_{t-1})$. After the last step there is
# nothing left to guess, so there $\hat p(s_T)$ is $R$ itself. GAE blames a
# step for its own surprise, and for later ones, the later the less:
#
# $$A_t = \sum_{l=t}^{T} \lambda^{\,l-t}
# \big(\hat p(s_l) - \hat p(s_{l-1})\big). \tag{6.6}$$
#
# At $\lambda = 1$ all but two terms cancel, and $A_t = R - \hat p(s_{t-1})$:
# the critic is a baseline. At $\lambda = 0$ only its own word counts.
#
# ### Exercise 20 · GAE (10 minutes, medium, essential)
#
# In general a step may also earn something by itself (`rewards`), and what
# comes later may count less (`gamma`). `values` holds the guess *before* each
# token. Only the tokens inside `mask` are real, and after the last of them
# nothing is to come. Return the blame of every token, an array of the shape
# of `rewards` with 0 outside the mask: the sum over the rest of the answer of
# $(\gamma\lambda)^{l-t}\,(r_l + \gamma \hat p_{l+1} - \hat p_l)$, where
# $\hat p$ stands for `values`, $r$ for `rewards` and $\gamma$ for `gamma`.

# %%
def gae(rewards, values, mask, gamma, lam):
    ### BEGIN SOLUTION
    rewards, values = (np.where(mask, x, 0.0) for x in (rewards, values))
    following = np.pad(values[:, 1:], ((0, 0), (0, 1)))
    blame = rewards + gamma * following - values
    for t in range(blame.shape[1] - 2, -1, -1):
        blame[:, t] += gamma * lam * blame[:, t + 1]
    return blame
    ### END SOLUTION


check.gae(gae)

# %% [markdown]
# ## The same answer, five kinds of blame
#
# Two critics. The *exact* one knows $p$. The *lazy* one has not learned
# anything yet: it says $p(s_0)$ at every step. In PPO we take $\lambda =
# 0.5$. And the group is the one with which notebook 05 began: eight answers,
# five of them right, ours among the wrong.

# %%
law = answers.law(answers.reference).numpy()
reward, states = answers.rewards.numpy(), answers.states
paid = np.zeros((128, 7))
paid[:, -1] = reward
exact_critic = before[states].numpy()
lazy_critic = np.full((128, 7), p0)
ours = answers.tokens.tolist().index(list(wrong))


def ppo_blame(critic, lam):
    """GAE of each of the 128 answers, one row each."""
    return gae(paid, critic, np.ones((128, 7), dtype=bool), 1.0, lam)


def blamed(batch, blame):
    """The objective that gives step t of answer y the blame[y, t]."""
    loss = -(blame[:, None] * batch.policy_logps).sum((1, 2))
    return objectives.LossOutput(batch.group_mean(loss), {})


def push_of(blame):
    return mean_push(blamed, single, blame=torch.as_tensor(blame))


# %% [markdown]
# **Predict.** Take a sheet of paper with seven columns. First five rows for
# this one group: who gets blamed by REINFORCE, RLOO, GRPO, PPO with the exact
# critic, PPO with the lazy one? Then five rows for the mean over all groups.
#
# **Run.**

# %% tags=["tolerance=0.3"]
draw = torch.Generator().manual_seed(7)
old = policies.TabularLM.from_mdp(problem)
group = policies.sample_groups(old, problem, 8, generator=draw)
place = group.tokens[0].tolist().index(list(wrong))
marks = problem.reward(group.tokens[0].numpy(), np.full(8, 7))[None]
print("rewards of the group:", marks[0])
here, mean = {}, {}
for name, rule in (("REINFORCE", np.copy), ("RLOO", rloo_advantage),
                   ("GRPO", grpo_advantage)):
    here[name] = np.full(7, rule(marks)[0, place])
    bad, good = over_all_groups(rule, p0)
    every = np.where(reward == 1, good, bad)[:, None] * np.ones(7)
    mean[name] = strip(push_of(every))
for name, critic in (("PPO, exact critic", exact_critic),
                     ("PPO, lazy critic", lazy_critic)):
    here[name] = ppo_blame(critic, 0.5)[ours]
    mean[name] = strip(push_of(ppo_blame(critic, 0.5)))
mean["exact key"] = np.diff(chances)
update_strips(words, problem.step_names, {
    "blame in this one group of eight": here,
    "mean push over all groups of eight": mean,
}, alpha, note="per time the step is taken; GRPO's divided by a spread; "
   "PPO with λ = 0.5", scale=0.8)

# %% [markdown]
# **Explain.** Above, no two rows are alike. REINFORCE shrugs. RLOO and GRPO
# blame five good steps along with the two bad ones. The exact critic points
# at steps 3 and 7 in its very first group, with an echo on the steps before
# them, half as loud at each step back: that is $\lambda$. The lazy critic is
# surprised at the end, by the end, and echoes that.
#
# Below, the first two rows and the exact critic's *are* the exact key. GRPO's
# is the key times its one factor for this prompt. What they differ in above
# is noise. Only the last method differs for good. Its critic was never
# surprised before the end, and where $\lambda$ stops waiting for the end,
# nobody is left to tell of step 3:
#
# $$\text{mean push of the lazy critic at step } t \;=\;
# \lambda^{\,T-t}\, \big(p(s, a) - p(s)\big). \tag{6.7}$$
#
# Are the rows what the library's own objectives do? For those we list all
# pairs of answers, and all single ones.

# %%
def same(push, blame):
    return bool((push - push_of(blame)).abs().max() < 1e-12)


bad, good = over_all_groups(grpo_advantage, p0, size=2)
pair_blame = np.where(reward == 1, good, bad)[:, None] * np.ones(7)
library = mean_push(objectives.grpo, pairs, kl="none",
                    normaliser="seq-mean-token-sum")
print("GRPO, all pairs, is as counted within 1e-12:",
      same(library, pair_blame))
for name, guess in (("exact", before), ("lazy", p0 + 0 * before)):
    there = point_at(answers, alpha, values=guess)
    slope = expect(objectives.ppo, single, there, alpha=alpha, lam=0.5,
                   whitened=False, value_weight=0.0)  # a mean over 7 tokens
    critic = guess[states].numpy()
    print(f"PPO, {name} critic, is as counted within 1e-12:",
          same(-7 * slope.gradient["logits"], ppo_blame(critic, 0.5)))

# %% [markdown]
# ## What the critic costs, and what it buys
#
# Now turn $\lambda$ from 0 to 1 and watch two numbers: by what share the mean
# push misses the true one (the *bias*), and the noise. A third critic joins,
# a *stranger's*: the exact critic of somebody else, the mender of notebook
# 03, who mends nine mistakes in ten at the last step. That is what you have
# in hand when the critic was trained on another model's answers.
#
# **Predict.** Which critics are biased at $\lambda = 1$? Which has the least
# noise there?

# %%
import matplotlib.pyplot as plt

from gnivo_edu.figures.lines import styles

tables = problem.reference()
tables[6][1:] = np.log([0.9, 0.1])
mender = exact.solve(exact.enumerate_tree(problem, tables), alpha)
elsewhere = np.array([mender.success_probability(s) for s in prefixes])
critics = {"exact": exact_critic, "lazy": lazy_critic,
           "stranger's": elsewhere[states]}
# Steps of an answer stand at different prefixes, so their squares add up.
probs = answers.reference.exp()
squares = (1 - 2 * probs[states, answers.tokens]
           + probs.square().sum(1)[states]).numpy()


def bias_and_noise(blame):
    push = push_of(blame)
    scatter = law @ (blame**2 * squares).sum(1) - push.square().sum().item()
    return ((push - truth).norm() / truth.norm()).item(), scatter


# %%
lams = np.round(np.arange(0, 1.01, 0.05), 2)
curves = {name: np.array([bias_and_noise(ppo_blame(critic, lam))
                          for lam in lams])
          for name, critic in critics.items()}
figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.7), layout="constrained")
titles = "bias: mean push off by", "noise of one answer's push, reward²"
for axis, column, title in zip(axes, (0, 1), titles, strict=True):
    for look, name in zip(styles(3), critics, strict=True):
        axis.plot(lams, curves[name][:, column], look.marker,
                  color=look.colour, ls=look.dashes, ms=4.5,
                  label=f"{name} critic")
    axis.set(title=title, xlabel="λ", ylim=(-0.02, None))
    axis.spines[["top", "right"]].set_visible(False)
axes[0].yaxis.set_major_formatter("{x:.0%}")
axes[1].axhline(known, color="#777777", lw=0.8)
axes[1].annotate("no critic: the mean p(s_0) as baseline", (0, known),
                 (0, 3), textcoords="offset points", color="#444444")
axes[0].legend(frameon=False)
figure.supxlabel("PPO with GAE; reference: the initial model; at the start,"
                 " so alpha plays no part", x=0.01, ha="left", fontsize=9)
plt.show()

# %% [markdown]
# **Explain.** On the left: the exact critic is right at every $\lambda$; at
# $\lambda = 1$ every critic is, since it has become a baseline that does not
# look at $a$. Between, a wrong critic is believed, and the push goes wrong.
#
# On the right is a surprise. At $\lambda = 1$ the exact critic is *noisier*
# than the lazy one, which is no critic at all! A baseline is there to expect
# the reward; but most of the push comes from choices that are rarely made,
# and after those $p(s)$ is just what should not have been expected. What an
# exact critic buys, it buys by being believed: at $\lambda = 0$ the noise is
# about half. There it no longer waits for the end; each step is judged on the
# spot.

# %%
for name in critics:
    (b0, n0), (b1, n1) = curves[name][0], curves[name][-1]
    print(f"{name:<10} λ = 0: off by {abs(b0):4.0%}, noise {n0:.3f}    "
          f"λ = 1: off by {abs(b1):3.0%}, noise {n1:.3f}")
blame = torch.as_tensor(ppo_blame(lazy_critic, 0.5))
gap = (noise_per_answer(blamed, single, blame=blame)
       - curves["lazy"][10, 1])
print("the library's noise agrees within 1e-12:", abs(gap) < 1e-12)

# %% [markdown]
# So how far should you believe your critic? As far as you cannot afford the
# noise. With $n$ answers to average over, the squared error of a push is the
# squared bias plus noise$/n$:

# %%
size = truth.norm().item()
counts = (10, 100, 1000, 10_000)
print("answers      ", " ".join(f"{n:>12,}" for n in counts))
for name in critics:
    row = []
    for n in counts:
        bias, scatter = curves[name].T
        error = np.sqrt((bias * size)**2 + scatter / n) / size
        best = error.argmin()
        row.append(f"λ={lams[best]:<4g} ±{error[best]:4.0%}")
    print(f"{name:<13}", "  ".join(row))

# %% [markdown]
# The exact critic is best believed at once, always. A wrong one is worth
# something only as long as data is scarce; the more answers you have, the
# less it should be believed. And notice how large these errors are: a push
# from ten answers is off by almost its own length, with any of the three.
#
# ## A control that must fail
#
# "A baseline may be anything that does not look at $a$." Let us look. Our
# critic peeks one step ahead: to judge step $t$ it uses $p(s_t)$, *after* the
# step, instead of $p(s_{t-1})$. It is the same exact critic, off by one.
#
# **Predict.** What does this do to the mean push? Less noise? Some bias?

# %%
last = after[states[:, 6], answers.tokens[:, 6]].numpy()
peeking = np.column_stack([exact_critic[:, 1:], last])
blame = reward[:, None] - peeking
bias, scatter = bias_and_noise(blame)
largest = push_of(blame).abs().max().item()
print("in our wrong answer:", blame[ours].round(2) + 0.0)
print(f"noise {scatter:.3f}, off by {bias:.0%}; "
      "the mean push is zero everywhere within 1e-12:", largest < 1e-12)
assert largest < 1e-12 < truth.abs().max()
assert abs(bias - 1) < 1e-12

# %% [markdown]
# **Explain.** It teaches nothing. The blame looks busy, and its mean is zero
# at every prefix: a critic that has already seen the step has nothing left to
# hold against it.
#
# The second classic is a slip at the other end: after the last token, read
# the last guess once more, as if the answer went on. **Predict** again.

# %%
past_the_end = paid.copy()
past_the_end[:, -1] += exact_critic[:, -1]
every = np.ones((128, 7), dtype=bool)
twice = gae(past_the_end, exact_critic, every, 1.0, 1.0)
bias, _ = bias_and_noise(twice)
ratio = strip(push_of(twice)) / np.diff(chances)
print("mean push, as a multiple of the exact key:", ratio.round(3))
print(f"off by {bias:.0%}, with an exact critic and at λ = 1")
assert bias > 0.5

# %% [markdown]
# **Explain.** Every answer is now paid twice: once by the reward, once by the
# critic's last hope for it. Steps 1 to 6 count double, and step 7, which
# comes after the last guess, counts once.
#
# ## Is the largest drop the first mistake?
#
# Who reads steps off a critic, or off $V$, likes to blame the one with the
# largest drop. We saw two currencies disagree on our answer. **Predict**: for
# how many of the 64 wrong answers is the largest drop *not* at the first
# mistake, in chances, and in nats at $\alpha = 0.2, 0.5, \ldots, 10$?

# %%
from gnivo_edu.population.claims import claims

drops = claims("first-drop")["claims"][0]["curve"]
axis = plt.figure(figsize=(6.4, 3.2), layout="constrained").gca()
currencies = {"nats": "in nats, each answer once",
              "nats by probability": "in nats, each by its probability",
              "chances": "in chances"}
for look, (name, label) in zip(styles(3), currencies.items(), strict=True):
    axis.plot([row["alpha"] for row in drops],
              [row[name] for row in drops], look.marker, ms=5,
              color=look.colour, ls=look.dashes, label=label)
axis.set(xscale="log", xlabel="α, reward per nat", ylim=(-0.03, 1.03),
         title="largest drop is not at the first mistake")
axis.set_xticks([row["alpha"] for row in drops],
                [f"{row['alpha']:g}" for row in drops])
axis.minorticks_off()
axis.yaxis.set_major_formatter("{x:.0%}")
axis.spines[["top", "right"]].set_visible(False)
axis.legend(frameon=False)
axis.figure.supxlabel("share of the 64 wrong answers; initial model",
                      x=0.01, ha="left", fontsize=9)
plt.show()

# %% [markdown]
# **Explain.** In chances it is the first mistake, for every wrong answer, and
# $\alpha$ plays no part. In nats it is so from $\alpha = 2$ on, where
# rewards are so few nats that the logarithm is nearly straight. At $\alpha =
# 0.2$ it is so for one of 64: there the last step, which ends all hope,
# always looks worst.
#
# ## Later in training
#
# We stayed at the start, where $\pi_\theta = \pi_{\text{ref}}$ and the KL of
# $J$ has no slope: there the key is the plain chance, whatever $\alpha$.
# Later the KL has to be paid too, step by step, $\alpha \log \pi_\theta /
# \pi_{\text{ref}}$ each, and (6.2) holds with what is left after paying in
# place of $p$. Where does that come to rest? At $\pi^*$, of course. But there
# is more. What an answer through $s$ has left there is
#
# $$\mathbb{E}_{\pi^*}\Big[R - \alpha \sum_{l > t} \log
# \frac{\pi^*(y_l \mid s_{l-1})}{\pi_{\text{ref}}(y_l \mid s_{l-1})}
# \;\Big|\; s_t\Big] = \alpha V(s_t), \tag{6.8}$$
#
# and not only on average: for every single answer. **Predict** the noise.

# %%
best = answers.tilted(answers.rewards / alpha)
halfway = answers.tilted(answers.rewards / (2 * alpha))
for name, policy in (("start", answers.reference), ("halfway", halfway),
                     ("best", best)):
    point = point_at(answers, alpha, policy=policy)
    rloo = expect(objectives.rloo, pairs, point, alpha=alpha, clip_low=None)
    most = rloo.gradient["logits"].abs().max().item()
    ratio = answers.token_logps(policy) - answers.token_logps(
        answers.reference)
    earned = paid - alpha * ratio.numpy()
    critic = point.values[states].numpy()  # alpha V, whatever the policy
    blame = np.abs(gae(earned, critic, every, 1.0, 0.5)).max()
    most, blame = (x if x > 1e-12 else 0.0 for x in (most, blame))
    print(f"{name:<8} mean push, RLOO {most:.4f}   "
          f"largest blame, critic alpha V {blame:.4f}")

# %% [markdown]
# **Explain.** The exact critic of the best policy is $\alpha V$, our old
# friend from notebook 03, and once the policy has become $\pi^*$ it has
# nothing to say about any step of any answer, at any $\lambda$. By then the
# policy has learned all that the critic knew: $\alpha \log \pi^*/
# \pi_{\text{ref}}$ *is* the change of $\alpha V$. Which raises a question. If
# in the end the policy itself knows the value, who needs a second model?
#
# ## Play
#
# Turn $\lambda$: the lazy critic's blame and its mean push. Then put the
# stranger's, or a critic of your own, in its place. Can you find a wrong
# critic that blames a *good* step on average? And a riddle: the quietest
# baseline at $\lambda = 1$ weighs what each choice brings by the chance of
# the *other* choice. Why?

# %%
def at(lam):
    blame = ppo_blame(critics["lazy"], lam)
    return update_strips(words, problem.step_names, {f"λ = {lam:g}": {
        "blame of our answer": blame[ours],
        "mean push": strip(push_of(blame)),
        "exact key": np.diff(chances),
    }}, alpha, note="lazy critic", scale=0.8)


figures.slide(at, lams, still=[0.95], name="lam")

# %% [markdown]
# ## What we did not show
#
# - Our critics came from a list of all answers. A real one is learned from
#   the same noisy rewards, costs a second model, and is wrong in ways that
#   change as it learns.
# - Fresh answers only. With old ones PPO and GRPO clip, and that changes what
#   they climb; notebook 07 is about old answers.
# - All answers had seven steps. GRPO divides by the length of each answer,
#   and where lengths differ that prefers some of them. PPO also whitens its
#   blame.
# - One prompt, and rewards of 0 or 1. Over several prompts GRPO's mean push
#   is no multiple of REINFORCE's, since each has a factor of its own; with
#   graded rewards not even on one prompt: `gnivo-edu claims --only
#   dr-grpo-gradient` has the number.
# - Noise was measured in the logits of a table. Another measure would weigh
#   rare choices differently, and with it the verdict on baselines.
#
# **The credit table.** The second act begins:
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
#
# **Links.** `gnivo_edu/objectives/rloo.py`, `gnivo_edu/objectives/grpo.py`
# and `gnivo_edu/objectives/ppo.py`, with their sources;
# `gnivo_edu/population/expectation.py`, exact means and noise of any
# objective; GAE is due to Schulman et al., arXiv 1506.02438.
#
# **Next.** 07, *Three ways to fire the critic*: GVPO, GN-IVO and VIMPO put
# the value into the policy, and one of them forgives old answers.
