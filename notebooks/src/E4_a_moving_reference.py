# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # E4 · When the reference moves
#
# **Claim.** A refresh of the reference scatters VIMPO's implied values
# without shifting them, is one more helping of the reward, and multiplies the
# value loss by the size of a group.
#
# *Learner time: about 40 minutes. Run time: seconds on a laptop, no GPU. This
# is an elective: notebooks 07 and 08 come before it.*
#
# **So far we know** (notebook 08) where each loss rests if its reference
# stays. **We still cannot** say what happens when the reference moves, as it
# does in many trainers. A reader of VIMPO's paper asked this in three
# questions, and nobody had answered: what does a swap do to the values, what
# do many refreshes add up to, and does the loss jump?
#
# After this notebook you can
#
# - say what a swap of the reference changes, and what it leaves alone;
# - compute where $n$ refreshes of GVPO or GN-IVO end, and why those of VIMPO
#   end elsewhere;
# - read a jump of the loss as a gauge of what had been learned;
# - compare a training run with a theorem, and say how near it came.
#
# Three new symbols: $M_t$, the change of a value after $t$ tokens; $n$, how
# many refreshes there were; $u$, the share of the rewards' variance that was
# not learned.

# %% [markdown]
# ## The tree, and a policy at rest
#
# We take the tree of the atlas: fifteen answers of at most three tokens, with
# rewards from 0 to 1. Its policies are tables. VIMPO (its value loss, with
# the mean reward of the *others* as baseline) rests at a policy that we can
# compute, the $\pi_V$ of notebook 07.
#
# Beside each exact number stands a trained one. The study `moving-reference`
# trained the losses on this tree from samples, with five seeds; its results
# lie in a file, and `gnivo-edu study moving-reference` makes them again.

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch

from gnivo_edu import exact, studies
from gnivo_edu.course import check
from gnivo_edu.figures.lines import styles
from gnivo_edu.population import laws, total_variation
from gnivo_edu.population.atlas import problem
from gnivo_edu.population.moving import (
    along_answers, both_kls, change_by_token, partly_refreshed, refreshes)
from gnivo_edu.studies.moving_reference import pictures

torch.set_num_threads(1)
alpha, tree = 0.5, problem("tree")
R = tree.rewards.numpy()
policy = tree.from_law(laws.vimpo_law(tree, alpha))
stranger = tree.from_tables(exact.random_reference(3, 3, seed=7))
runs = studies.read("moving-reference")
print(len(R), "answers; seeds:", len(runs.of("tree: VIMPO")))
for name, one in (("reference", tree.reference), ("VIMPO", policy)):
    print(f"{name:<9} earns {float(tree.law(one) @ tree.rewards):.4f}")

# %% [markdown]
# ## One: the reference is swapped, the policy is not
#
# VIMPO's implied value of a beginning is what it says of the tokens so far,
#
# $$V_t = V_0 + \alpha \sum_{l \le t} \Big( \log
# \frac{\pi(y_l \mid s_{l-1})}{\pi_{\text{ref}}(y_l \mid s_{l-1})} -
# \mathrm{KL}(\pi \,\|\, \pi_{\text{ref}})(s_{l-1}) \Big). \tag{E4.1}$$
#
# **Predict.** Now replace $\pi_{\text{ref}}$ by the habits of a stranger, and
# touch nothing else. All values change. Does the whole curve move up or down?
#
# **Run.** One grey line for each answer, wide where the policy writes it
# often; the mean in black; dashed, one standard deviation.

# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True,
                            layout="constrained")
law, t = tree.law(policy).numpy(), np.arange(4)
for axis, (name, new) in zip(
        axes, {"a stranger": stranger, "the policy": policy}.items()):
    by_token = change_by_token(tree, policy, new, alpha)
    change = along_answers(tree, by_token).numpy()
    change = np.pad(change, ((0, 0), (1, 0)))
    mean, sd = law @ change, np.sqrt(law @ change**2)
    for line, share in zip(change, law):
        axis.plot(t, line, color="#777777", lw=0.5 + 14 * share, alpha=0.5)
    for edge in (-sd, sd):
        axis.plot(t, edge, color="#0099ee", ls=(0, (5, 1.6)), lw=2)
    axis.plot(t, mean, "o-", color="#1a1a1a", lw=2.5)
    axis.set(title=f"new reference: {name}", xlabel="tokens written",
             xticks=t)
    print(f"{name:<10} mean below 1e-12: {bool(abs(mean).max() < 1e-12)}; "
          f"sd after 1, 2, 3 tokens", sd[1:].round(4))
axes[0].set_ylabel("change of the implied value")
plt.show()

# %% [markdown]
# **Explain.** The curve does not move; it *scatters*. A token adds
#
# $$M_t - M_{t-1} = \alpha \Big( \log
# \frac{\pi_{\text{ref}}}{\pi_{\text{ref}}'}(y_t) - \mathbb{E}_{\pi}\Big[\log
# \frac{\pi_{\text{ref}}}{\pi_{\text{ref}}'}\Big] \Big), \tag{E4.2}$$
#
# which is a number less its own mean under the policy. So $M_t$ is zero on
# average after every token, and not along an answer: a *martingale*. A
# refresh, with the policy as its own new reference, is a swap like any other.
#
# Does a policy that was *trained* show the same? We look along 32,000 answers
# that it wrote.

# %%
row = "tree: VIMPO"
for name in ("a stranger", "the policy (a refresh)"):
    at = f"swap.{name}"

    def of(measure):
        return runs.mean(row, f"{at}.{measure}").mean

    print(name)
    print("  sd, sampled        ", *(f"{of(f'sd.{k}'):.4f}" for k in t[1:]))
    print("  sd, counted for it ",
          *(f"{of(f'exact_sd.{k}'):.4f}" for k in t[1:]))
    print(f"  largest mean on its own answers {of('mean'):.4f}; on those "
          f"of the old reference {of('mean_old'):.4f} (!)")
    print(f"  the value loss rises by {of('rise'):.4f}; half the last "
          f"variance is {of('half_variance'):.4f}")

# %% [markdown]
# **Explain.** The scatter is the counted one. The average is zero under the
# *policy* only: on somebody else's answers, here the old reference's, the
# curve does drift. And the loss rises by half the variance of $M_T$: at its
# rest the residual of an answer is made of the *others'* rewards, and knows
# nothing of what the swap has added to this one. That rise is no harm done.
# It is a push to undo the swap.
#
# ## Two: the reference moves again and again
#
# GVPO and GN-IVO (with raw weights) rest at $\pi_{\text{ref}}\,
# e^{R/\alpha}/Z$. Make that the new reference and train again, $n$ rests in
# all:
#
# $$\pi_n \propto \pi_0\, e^{nR/\alpha}. \tag{E4.3}$$
#
# ### Exercise 45 · The end of n refreshes (6 minutes, easy, essential)
#
# Return the law after `times` rests. It should hold for a thousand of them at
# $\alpha = 0.001$. Stuck? `check.refreshed_law.hint()`.

# %%
def refreshed_law(reference, rewards, alpha, times):
    ### BEGIN SOLUTION
    logs = np.log(reference) + times * rewards / alpha
    law = np.exp(logs - logs.max())
    return law / law.sum()
    ### END SOLUTION


check.refreshed_law(refreshed_law)
print("alpha in the exercise may be", 0.001)

# %% [markdown]
# **Predict.** So $n$ refreshes of these two *are* the optimum at $\alpha/n$.
# VIMPO is exact, too, at its own rest. Are $n$ refreshes of VIMPO what VIMPO
# would do at $\alpha/n$? And GN-IVO with softmax weights?
#
# **Run.** Lines are exact, points are trained.

# %%
start, times = tree.law(tree.reference), [1, 2, 3, 4, 5, 6]
ends = {
    "GVPO": [refreshed_law(start.numpy(), R, alpha, n) for n in times],
    "VIMPO": [tree.law(one).numpy() for _, one in refreshes(
        tree, alpha, 6)],
}
lower = {"GVPO": [laws.tilt(tree, alpha / n) for n in times],
         "VIMPO": [laws.vimpo_law(tree, alpha / n) for n in times]}
print("distance from the end at alpha/n")
for name, exact_ends in ends.items():
    far = [total_variation(torch.tensor(x), y)
           for x, y in zip(exact_ends, lower[name])]
    print(f"  {name:<22} exact  ",
          *(f"{x if x > 1e-9 else 0:.4f}" for x in far))
for name in ("GVPO", "GN-IVO, raw", "GN-IVO, softmax", "VIMPO",
             "VIMPO, shuffled"):
    after = runs.of(f"tree: {name}")[0]["after"]
    print(f"  {name:<22} trained",
          *(f"{runs.mean(f'tree: {name}', f'after.{n}.lower').mean:.4f}"
            for n in after))

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
names = ("GVPO", "GN-IVO, raw", "GN-IVO, softmax", "VIMPO")
for name, look in zip(names, styles(4)):
    for axis, measure in zip(axes, ("lower", "reward")):
        points = [runs.mean(f"tree: {name}", f"after.{n}.{measure}")
                  for n in times]
        mean = np.array([x.mean for x in points])
        bars = np.array([(x.mean - x.low, x.high - x.mean)
                         for x in points]).T
        axis.errorbar(times, mean, bars, fmt=look.marker, ms=5, capsize=2,
                      color=look.colour, label=name)
for name, look in (("GVPO", styles(4)[0]), ("VIMPO", styles(4)[3])):
    law_of = [torch.tensor(x) for x in ends[name]]
    far = [total_variation(x, y) for x, y in zip(law_of, lower[name])]
    axes[0].plot(times, far, color=look.colour, ls=look.dashes, lw=1.5)
    axes[1].plot(times, [x @ R for x in ends[name]], color=look.colour,
                 ls=look.dashes, lw=1.5)
axes[0].set(xlabel="n, refreshes", ylabel="distance from the end at α/n")
axes[1].set(xlabel="n, refreshes", ylabel="expected reward")
axes[1].legend(frameon=False)
plt.show()

# %% [markdown]
# **Explain.** GVPO and raw weights lie on zero. Softmax weights are biased
# already at their first rest (notebook 04), and each refresh starts from a
# biased place. VIMPO has no such excuse: it arrives exactly where it should.
# But its rest in a state is $\pi_{\text{ref}}\, e^{Q/\alpha}$, where $Q$ is
# earned by the *present* policy in later states. So $n$ refreshes tilt by
# $Q_1 + \dots + Q_n$, and one at $\alpha/n$ by $n\,Q_n$. That is the same if
# $Q$ does not change on the way, as for answers of one token.
#
# VIMPO's refreshes are steps of a method that climbs the plain reward. Each
# gains exactly
#
# $$\mathbb{E}_{\text{new}} R - \mathbb{E}_{\text{old}} R = \alpha \big(
# \mathrm{KL}(\text{new} \,\|\, \text{old}) + \mathrm{KL}(\text{old} \,\|\,
# \text{new}) \big), \tag{E4.4}$$
#
# the KLs of the next token, summed over the states where the *old* policy
# goes. It can never lose.

# %%
print("refresh     gained: exact, trained   alpha (KL+KL): exact, trained")
for n, (seen, new) in enumerate(refreshes(tree, alpha, 6), start=1):
    old = tree.law(seen.reference)
    gain = float((tree.law(new) - old) @ tree.rewards)
    kls = alpha * both_kls(tree, seen.reference, new)
    trained = [runs.mean(row, f"after.{n}.{name}").mean
               for name in ("gain", "kls")]
    print(f"{n:>7}     {gain:.4f}, {trained[0]:.4f}           "
          f"{kls:.4f}, {trained[1]:.4f}")
print("distance from pi* of alpha: exact, trained")
for name, n in (("VIMPO", 1), ("VIMPO, 4 at 4 alpha", 4)):
    *_, (_, end) = refreshes(tree, n * alpha, n)
    far = total_variation(tree.law(end), laws.tilt(tree, alpha))
    trained = runs.mean(f"tree: {name}", f"after.{n}.star").mean
    print(f"  {n} at {n} alpha: {far:.4f}, {trained:.4f}")

# %% [markdown]
# The last two lines turn the question round. One rest of VIMPO at $\alpha$
# misses $\pi^*$. Four at $4\alpha$, each a fourth of the way, miss it by much
# less, and the error falls as $1/n$: small steps let $Q$ keep up. So here a
# moving reference does not re-define the goal; it *restores* it.
#
# ## Three: does the loss jump?
#
# An answer's residual compares what the log-ratios say, $l_i$, with its
# reward less the mean of the others:
#
# $$x_i = l_i - \Big( R_i - \frac{1}{K-1} \sum_{j \ne i} R_j \Big), \qquad
# l_i = \alpha \sum_t \Big( \log \frac{\pi}{\pi_{\text{ref}}} -
# \mathrm{KL} \Big). \tag{E4.5}$$
#
# A refresh sets every $l_i$ to zero, and changes nothing else.
#
# ### Exercise 46 · The jump of the loss (7 minutes, medium, essential)
#
# From $l_i$ and $R_i$ of many groups, before the refresh: return the value
# loss after it over that before it.

# %%
def jump_at_refresh(learnt, rewards):
    ### BEGIN SOLUTION
    size = rewards.shape[1]
    others = (rewards.sum(1, keepdims=True) - rewards) / (size - 1)
    target = rewards - others
    return (target**2).mean() / ((learnt - target) ** 2).mean()
    ### END SOLUTION


check.jump_at_refresh(jump_at_refresh)

# %% [markdown]
# **Predict.** What is the factor for a policy at its rest, with groups of 2,
# 4 and 8? For one that was trained for ten updates only? For one that was
# paid by shuffled rewards, and learned nothing?
#
# **Run.** With the policies of the study, seed 0.

# %%
def what_was_learned(law):
    """l of every answer, and u."""
    seen = tree.from_law(torch.tensor(law, dtype=torch.float64))
    says = seen - tree.reference - tree.kl(seen)[:, None]
    learnt = (alpha * tree.token_logps(says).sum(1)).numpy()
    centred = R - law @ R
    u = law @ (learnt - centred) ** 2 / (law @ centred**2)
    return learnt, u


rng = np.random.default_rng(0)
for name in ("VIMPO, K = 2", "VIMPO, K = 4", "VIMPO",
             "VIMPO, K = 8, 25 updates", "VIMPO, K = 8, 10 updates",
             "VIMPO, shuffled"):
    run = runs.of(f"tree: {name}")[0]
    K, law = run["settings"]["K"], np.array(run["laws"]["1"])
    law = law / law.sum()
    learnt, u = what_was_learned(law)
    groups = rng.choice(15, size=(20_000, K), p=law)
    factor = jump_at_refresh(learnt[groups], R[groups])
    print(f"{name:<26} u = {u:.3f}   K/(1 + (K - 1) u) = "
          f"{K / (1 + (K - 1) * u):.2f}   factor {factor:.2f}")

# %% [markdown]
# **Explain.** Let $X_i = R_i - \mathbb{E} R$. At the rest $l_i = X_i$, and
# the residual is the mean of the $K - 1$ *other* $X$: a variance of
# $\mathrm{Var}/(K - 1)$, which no training can take away. After the refresh
# it is $\mathrm{Var} + \mathrm{Var}/(K - 1)$, exactly $K$ times as much. If a
# share $u$ of the variance had not been learned, the loss before was larger
# by $u\,\mathrm{Var}$, and
#
# $$\text{factor} = \frac{K}{1 + (K - 1)\, u}. \tag{E4.6}$$
#
# So the jump is a gauge: read it off the log, and solve for $u$. The policy
# is the same before and after; a jump of a loss can be the sign that it had
# converged. Lowering $\alpha$ to $s\alpha$ instead makes a smaller one, $1 +
# (K - 1)(1 - s)^2$, and pushes in the same direction.

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
rest, losses = pictures.sawtooth(runs)
steps = losses.shape[1]
for k, part in enumerate(losses):
    at = np.arange(k * steps, (k + 1) * steps)
    axes[0].plot(at, part / rest[max(k - 1, 0)], color="#1a1a1a", lw=1.2)
axes[0].axhline(4, color="#0099ee", ls=(0, (5, 1.6)))
axes[0].set(xlabel="update", ylabel="value loss over the last rest's",
            title="two refreshes in the log, K = 4")
for (_, x, y, name), look in zip(pictures.factors(runs), styles(6)):
    axes[1].plot(x, y, look.marker, color=look.colour, label=name)
axes[1].plot([1, 8.4], [1, 8.4], color="#777777", lw=1, zorder=0)
axes[1].set(xlabel="K/(1 + (K - 1) u)", ylabel="measured factor",
            title="a point a seed")
axes[1].legend(frameon=False, fontsize=8)
plt.show()
row = "tree: VIMPO, K = 4"
logged, half = (runs.mean(row, name).mean
                for name in ("logged_jump", "jump.1.anneal_50"))
print(f"in the log: factor {logged:.2f}; alpha to alpha/2: {half:.2f}, "
      "exact 1.75")

# %% [markdown]
# ## The same on a transformer
#
# None of this says what a language model gains. So the study let the little
# arithmetic transformer learn, with one rate and one batch for all: a
# reference that stays, that moves every 30, 10 or 1 updates, or that is the
# sampler itself. 3,840 answers a run, tested on tier 4, which it was not
# trained on. VIMPO runs as published, with a tiny $\alpha$, and as its value
# loss alone at GN-IVO's $\alpha$.
#
# **Predict.** Whose score depends on the reference? (The four differences
# below were named before the runs; the picture shows all others, too.)

# %%
print("tier 4                       Pass@1  KL to the start")
for row in runs.rows:
    if not row.startswith("tree: "):
        score, kl = (runs.mean(row, name)
                     for name in ("pass@1.4", "kl_to_initial"))
        print(f"{row:<28} {score.mean:.3f}   {kl.mean:.2f}")
print("every 10 less initial, paired, corrected for these four")
for name in ("GN-IVO", "GVPO", "VIMPO", "VIMPO at 0.2"):
    gap = runs.difference(f"{name}, every 10", f"{name}, initial",
                          "pass@1.4", comparisons=4)
    print(f"{name:<14} {gap.mean:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})")

# %%
pictures.forest(runs)

# %% [markdown]
# **Explain.** With a reference that follows every ten updates GN-IVO, GVPO
# and VIMPO's value loss score higher, on average, than with one that stays
# (GVPO's interval holds 0). A
# frozen reference takes push away where the log-ratios have begun to speak,
# rightly or not; a refresh makes the residual the reward again. To move it at
# every update is no better: then no log-ratio ever says anything. (It is the
# sampler, to the last digit.)
#
# Two predictions missed. GN-IVO was to go *farther* from its start by
# refreshes, and does not: frozen runs wander as far, and learn less on the
# way. And VIMPO as published was to notice hardly anything, as its log-ratios
# can say next to nothing of the reward. At this rate and batch it falls, and
# falls lower with refreshes. The value loss alone does not; what the two rows
# differ in is $\alpha$, the baseline, and the actor, which climbs the KL to
# whatever reference there is.
#
# ## A control that must fail
#
# Three ways to be wrong. Count only one of the two KLs in (E4.4). Take the
# swap's mean over the old reference's answers. Expect a jump by $K$ where
# nothing was learned.

# %%
seen, new = next(iter(refreshes(tree, alpha, 1)))
gain = float((tree.law(new) - start) @ tree.rewards)
one_kl = float(tree.visits(seen.reference) @ seen.kl(new))
print(f"gain {gain:.4f}, alpha times one KL {alpha * one_kl:.4f}")
by_token = change_by_token(tree, policy, stranger, alpha)
drift = float((start @ along_answers(tree, by_token)).abs().max())
print(f"mean change on the old reference's answers {drift:.4f}")
learnt, u = what_was_learned(start.numpy())
groups = rng.choice(15, size=(5_000, 8), p=start.numpy())
factor = jump_at_refresh(learnt[groups], R[groups])
print(f"a refresh before the first update: factor {factor:.4f}")
assert abs(gain - alpha * one_kl) > 0.01 and drift > 0.05
assert abs(factor - 1) < 1e-9 and abs(u - 1) < 1e-9
shuffled = runs.mean("tree: VIMPO, shuffled", "after.3.reward").mean
print(f"shuffled rewards, three refreshes: E[R] {shuffled:.4f}, at the "
      f"start {float(start @ tree.rewards):.4f}")

# %% [markdown]
# **Explain.** Each is a false neighbour of a true sentence, and each is off
# by far more than rounding. And rewards that are dealt out among the answers
# at random lead nowhere, however often the reference moves.
#
# ## Play
#
# Many trainers let the reference follow slowly, a part `rate` of the way each
# time. Do such refreshes add up to whole ones? It depends on *what* is
# averaged. Change `rate`, and see which line stays at zero.

# %%
rate, whole = 0.1, 2
for average in ("log-probabilities of answers", "logits",
                "probabilities of answers"):
    end = partly_refreshed(
        tree, alpha, round(whole / rate), rate, average)
    far = total_variation(end, laws.tilt(tree, alpha / whole))
    print(f"{average:<30} {far if far > 1e-9 else 0:.4f} from whole ones")

# %% [markdown]
# ## What we did not show
#
# - The exact ends are ends of *tables*, with every refresh at its rest. The
#   digits belong to this tree; that they are zero for one token, and fall as
#   $1/n$, is general.
# - On the transformer no refresh waited for a rest: sixty updates are a
#   start. They say which way the reference pushes a short run, and nothing of
#   where a long one ends.
# - A bound on the reward says nothing of variety: without an end to $n$ all
#   of these methods put everything on the best answers.
# - VIMPO here is its value loss, but for the rows "as published". Its actor
#   climbs the KL, and was left out.
# - Intervals carry the choice of seed alone.
#
# **The credit table.** With a row from this elective:
#
# | question | answer so far |
# |---|---|
# | What is one step worth? | $V(s_t) - V(s_{t-1})$, seen from one reference |
# | What does the best policy look like? | $\pi_{\text{ref}}\, e^{R/\alpha} / Z$: a tilt, not a win |
# | Where does each loss end up? | at $\pi^*$, elsewhere, or nowhere |
# | What if the reference moves? | values scatter and do not shift; $n$ helpings of $R/\alpha$, or of $Q$; a jump by $K$ that means "learned" |
#
# **Links.** `notebooks/moving_reference.md`, the three questions with their
# proofs; `gnivo_edu/population/moving/__init__.py`, the exact numbers;
# `gnivo_edu/studies/moving_reference/study.py` and
# `gnivo_edu/studies/moving_reference/tree.py`, the runs;
# `results/moving-reference`,
# tables, figures, and what was predicted before them. VIMPO: arXiv
# 2606.20008. KL to a moving reference averages values: Vieillard et al.,
# arXiv 2003.14089.
#
# **Next.** Another elective; or notebook 11, where methods are compared at
# equal cost.
