# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # E5 · How sure is a score?
#
# **Claim.** Pass@k from n samples is a ratio of two binomial coefficients,
# and a difference of two models needs paired problems.
#
# *Learner time: about 40 minutes. Run time: seconds on a laptop, no GPU. This
# is an elective: notebooks 01 to 03 are enough to read it.*
#
# **So far we know** the chance $p$ of ending right (notebook 03), for every
# problem whose answers we can list. **We still cannot** list the answers of a
# language model to an exam. We draw a few answers to each of a few problems,
# and publish a number with a decimal. How much of that number is the model,
# and how much is luck?
#
# After this notebook you can
#
# - estimate Pass@k without bias, and say when nothing honest can be said;
# - put an interval around a score, and know what it covers;
# - compare two models on the problems that they share;
# - read a table of scores, and see which of its differences are differences.
#
# Three new symbols: $n$ answers are drawn to a problem, $c$ of them are
# right, and Pass@$k$ asks for at least one right answer among $k$. (And once,
# $s$ for the true score of a problem.)

# %% [markdown]
# ## Which of the two is better?
#
# Sixty-four little sums in base 5, written step by step, and one model that
# has learned some of them well and others badly. Its answers can be listed,
# so nothing about it is hidden.

# %%
from math import comb

import matplotlib.pyplot as plt
import numpy as np

import toy_envs
from gnivo_edu import evaluation, exact, policies
from gnivo_edu.course import check
from gnivo_edu.figures.lines import styles

chain = toy_envs.ArithmeticChain(base=5, num_prompts=64)


def habits(i, skill):
    """Random habits, and a pull of this many nats to each right token."""
    tables = exact.random_reference(
        chain.vocab_size, chain.horizon, seed=i, scale=2.5)
    number = 0
    for table, token in zip(tables, chain.demonstration(i)):
        table[number, token] += skill
        table[number] -= np.logaddexp.reduce(table[number])
        number = number * chain.vocab_size + token
    return tables

# %% [markdown]
# Two models, in fact, or almost. The second is the first at a lower sampling
# temperature: *cool* takes what the model likes best more often than *warm*
# does. The same weights, less curiosity.

# %%
skills = np.random.default_rng(0).normal(5.5, 2, size=64)
model = policies.TabularLM.from_tables(
    chain, [habits(i, skill) for i, skill in enumerate(skills)])
warm = evaluation.exact_chances(model, chain)
cool = evaluation.exact_chances(model, chain, temperature=0.3)
tries = (1, 2, 4, 8, 16, 32)


def curves(axis, chances, look, name):
    k = np.arange(1, 33)
    solved = (1 - (1 - chances) ** k[:, None]).mean(axis=1)
    axis.plot(k, solved, color=look.colour, ls=look.dashes, label=name)
    axis.set_xscale("log", base=2)
    axis.set_xticks(tries, tries)
    axis.set(xlabel="k, answers you may draw", ylabel="problems solved")


figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for chances, look, name in zip((warm, cool), styles(2), ("warm", "cool")):
    curves(axes[0], chances, look, name)
axes[0].legend(frameon=False)
axes[1].plot([0, 1], [0, 1], color="#bbbbbb")
axes[1].plot(warm, cool, "o", color="#1a1a1a", ms=4, alpha=0.6)
axes[1].set(xlabel="chance of a right answer, warm", ylabel="cool")
plt.show()

# %% [markdown]
# On the right every dot is a problem. Cool makes good chances better and bad
# chances worse. On the left is what an exam makes of that, if you may draw
# $k$ answers to each problem and one right one is enough:
#
# $$\text{Pass@}k = 1 - (1 - p)^k, \quad \text{averaged over problems}.
# \tag{E5.1}$$
#
# With one answer cool wins. With sixteen warm wins, since a chance of nearly
# nothing stays nearly nothing however often you try. So "which is better" has
# no answer without a $k$. Curves that cross like these have been reported of
# language models before and after reinforcement learning (see the links).
#
# But *we* know every $p$. From here on we pretend not to.

# %% [markdown]
# ## From n answers to Pass@k
#
# The plain way to measure Pass@$k$ is to draw $k$ answers and look. If you
# have $n$ of them, that wastes most. But any $k$ of the $n$ would have done
# as well! There are $\binom{n}{k}$ ways to choose them, and $\binom{n-c}{k}$
# of these catch wrong answers only:
#
# $$\widehat{\text{Pass@}k} = 1 - \binom{n-c}{k} \Big/ \binom{n}{k}.
# \tag{E5.2}$$
#
# ### Exercise 24 · Pass@k from n samples (8 minutes, medium, essential)
#
# `right` has a row per problem: a 1 for each right answer, a 0 for each wrong
# one. Return the estimate for every row. From fewer than $k$ answers nothing
# honest can be said: if $k > n$, return nan. Large binomials overflow; a
# product of small fractions does not. Stuck? `check.pass_at_k.hint()`.

# %%
def pass_at_k(right, k):
    ### BEGIN SOLUTION
    n = right.shape[1]
    if k > n:
        return np.full(len(right), np.nan)
    gone = np.arange(k)
    wrong = n - right.sum(axis=1, keepdims=True)
    left = np.maximum(wrong - gone, 0) / (n - gone)
    return 1 - left.prod(axis=1)
    ### END SOLUTION


check.pass_at_k(pass_at_k)

# %% [markdown]
# **Predict.** Three recipes for the same $n = 16$ answers to a problem with
# $p = 0.1$, at $k = 8$. Yours; putting $c/n$ in the place of $p$ in (E5.1);
# looking at the first 8 answers only. Which are right on average? Which is
# the noisiest?
#
# **Run.** No simulation: $c$ has seventeen possible values, and we know the
# chance of each.

# %%
n, k, p = 16, 8, 0.1
c = np.arange(n + 1)
law = np.array([comb(n, i) * p**i * (1 - p) ** (n - i) for i in c])
rows = (np.arange(n) < c[:, None]).astype(int)  # c right ones, then wrong


def mean_and_noise(values):
    mean = law @ values
    return mean, np.sqrt(law @ (values - mean) ** 2)


truth = 1 - (1 - p) ** k
print(f"truth            {truth:.4f}")
for name, values in {"all sets of 8": pass_at_k(rows, k),
                     "c/n for p": 1 - (1 - c / n) ** k}.items():
    mean, noise = mean_and_noise(values)
    print(f"{name:<16} {mean:.4f}   noise {noise:.3f}")
noise = np.sqrt(truth * (1 - truth))  # of a coin that says yes or no
print(f"the first 8      {truth:.4f}   noise {noise:.3f}")

# %% [markdown]
# **Explain.** The ratio is right to the last digit, and for every $p$:
#
# $$\sum_{c=0}^{n} \binom{n}{c} p^c (1-p)^{n-c} \;
# \Big[1 - \tbinom{n-c}{k} \big/ \tbinom{n}{k}\Big] = 1 - (1-p)^k.
# \tag{E5.3}$$
#
# The first eight answers are right on average, too, but they say only yes or
# no. (E5.2) is the average of that yes or no over every order in which the
# same answers might have come, and to average takes out noise and nothing
# else.
#
# The middle recipe is the tempting one, and it is too low. To put $c/n$ for
# $p$ means to draw $k$ of your $n$ answers *with putting back*: some come up
# twice, and a second look at a wrong answer is no second try. A metric called
# best@N does that in a widely used trainer (see the links).

# %% [markdown]
# ## A control that must fail
#
# What if $k > n$? A popular shortcut says "fewer than $k$ wrong answers left,
# so every set has a right one", and returns 1. Let a model answer four times,
# and never be right:

# %%
def shortcut(n, c, k):
    return 1.0 if n - c < k else 1 - comb(n - c, k) / comb(n, k)


print("4 answers, none right. Pass@3:", shortcut(4, 0, 3),
      "  Pass@8:", shortcut(4, 0, 8), "(!)")
print("yours says:", pass_at_k(np.zeros((1, 4), dtype=int), 8))

# %% [markdown]
# Could a cleverer formula help? Whatever table $f(0), \dots, f(4)$ you write
# down, its average is a polynomial in $p$ of degree 4 at most. And
# $1 - (1-p)^k$ has degree $k$. Here is the best that any table can do:

# %%
grid = np.linspace(0, 1, 201)
powers = np.array([comb(4, i) * grid**i * (1 - grid) ** (4 - i)
                   for i in range(5)]).T
for k in range(1, 9):
    goal = 1 - (1 - grid) ** k
    best = np.linalg.lstsq(powers, goal, rcond=None)[0]
    miss = np.abs(powers @ best - goal).max()
    said = "exact" if miss < 1e-12 else f"off by up to {miss:.4f}"
    print(f"n = 4, k = {k}: {said}")

# %% [markdown]
# It ends exactly at $k = n$. So a library should refuse, and ours does, in
# one line.

# %%
try:
    evaluation.pass_at_k(0, 4, k=8)
except ValueError as error:
    print(error)

# %% [markdown]
# ## A score and its interval
#
# Now an exam: 30 of the problems, 8 answers to each, at the higher
# temperature. `evaluate` is what `gnivo-edu evaluate` runs, here on a table
# and elsewhere on a language model. (An answer is cut off if it has found no
# end after four tokens; a cut-off answer is wrong.)

# %% tags=["tolerance=0.3"]
exam = evaluation.evaluate(model, chain, samples=8, prompts=range(30))
summary = exam.to_json()
for k in (1, 3):
    low, high = summary[f"interval@{k}"]
    print(f"Pass@{k}: {summary[f'pass@{k}']:.3f}, "
          f"95% interval {low:.3f} to {high:.3f}")
print(f"answers: {exam.rewards.size}, cut off: {summary['truncated']:.0%}, "
      f"mean length {summary['mean_length']:.2f} tokens")

# %% [markdown]
# **Predict.** That interval is wide. You may pay for four times as many
# answers to each problem, or for four times as many problems. Which helps
# more?
#
# **Run.** A score can be off for two reasons: its answers, and its problems.
# With $s$ for the true Pass@1 of a problem and $\hat s$ for its estimate,
#
# $$\text{Var}(\text{score}) = \frac{1}{N} \Big(
# \underbrace{\text{Var}(s)}_{\text{problems}}
# + \underbrace{\mathbb{E}[\text{Var}(\hat s \mid \text{problem})]}_{
# \text{answers}} \Big), \tag{E5.4}$$
#
# and for our problems both are known.

# %%
problems, answers = warm.var(), (warm * (1 - warm)).mean()
print("standard deviation of Pass@1")
print("answers each:", *(f"{n:>7}" for n in (1, 8, 32, 1024)))
for N in (30, 120):
    row = [np.sqrt((problems + answers / n) / N) for n in (1, 8, 32, 1024)]
    print(f"{N:>4} problems:", *(f"{value:7.3f}" for value in row))

# %% [markdown]
# **Explain.** Beyond a handful of answers, more of them buy next to nothing:
# they tell you ever better how hard *these* problems are. An exam of 30
# problems is an exam of 30 problems. To halve the error, you need four times
# as many.
#
# So an honest interval resamples problems, each with all of its answers. That
# is the *bootstrap*: draw 30 of your 30 problems with putting back, average,
# and do it again, many times; the middle 95% of these averages is the
# interval. A mistake one often sees treats all 240 answers as if they were
# 240 problems.
#
# **Predict.** Of a hundred intervals that promise 95%, how many hold the
# truth?

# %%
rng = np.random.default_rng(1)
covered = {"over problems": 0, "over answers": 0}
for trial in range(400):
    p = rng.choice(warm, size=30)  # an exam of 30 problems like ours
    scores = rng.binomial(8, p) / 8
    over = evaluation.bootstrap_interval(scores, draws=500, seed=trial)
    half = 1.96 * np.sqrt(over.mean * (1 - over.mean) / 240)
    covered["over problems"] += over.low <= warm.mean() <= over.high
    covered["over answers"] += abs(over.mean - warm.mean()) <= half
for name, count in covered.items():
    print(f"interval {name}: holds the truth in {count / 400:.0%} of exams")

# %% [markdown]
# **Explain.** Eight answers to one problem are one problem. The interval over
# problems keeps its promise, nearly: with 30 problems a bootstrap is a little
# too short, and we would rather say so than hide it.
#
# ## Two models, one exam
#
# Is cool better than warm? Laying two wide intervals side by side is a poor
# test. Hard problems are hard for both: that part of the luck is *shared*,
# and in a difference it goes away,
#
# $$\text{Var}(b - a) = \text{Var}(a) + \text{Var}(b)
# - 2\, \text{Cov}(a, b), \tag{E5.5}$$
#
# if, and only if, you subtract problem by problem before you average.
#
# ### Exercise 31 · How sure is a difference? (7 minutes, medium, essential)
#
# `first` and `second` hold a score per problem, and row $d$ of `picks` the
# numbers of the problems that resampling $d$ has drawn. Return the 2.5% and
# the 97.5% quantile of the mean of second minus first.

# %%
def paired_interval(first, second, picks):
    ### BEGIN SOLUTION
    gaps = second - first
    means = gaps[picks].mean(axis=1)
    return np.quantile(means, [0.025, 0.975])
    ### END SOLUTION


check.paired_interval(paired_interval)

# %% [markdown]
# The exam once more, all 64 problems and 32 answers to each, for both
# temperatures:

# %% tags=["tolerance=0.3"]
reports = {
    name: evaluation.evaluate(model, chain, samples=32, ks=tries,
                              temperature=temperature, model=name)
    for name, temperature in (("warm", 1.0), ("cool", 0.3))}
picks = np.random.default_rng(2).integers(64, size=(5_000, 64))
for k in (1, 4, 32):
    a, b = (report.pass_at(k) for report in reports.values())
    apart = evaluation.unpaired_difference(a, b)
    low, high = paired_interval(a, b, picks)
    print(f"Pass@{k:<2} cool - warm = {apart.mean:+.3f}   paired "
          f"{low:+.3f} to {high:+.3f}   unpaired "
          f"{apart.low:+.3f} to {apart.high:+.3f}")

# %% [markdown]
# And as a picture: the measured curves with their intervals, the exact ones
# behind them, and the difference, problem by problem.

# %%
def bars(axis, at, intervals, marker, colour, width, name=None):
    mean = np.array([x.mean for x in intervals])
    ends = np.array([(x.mean - x.low, x.high - x.mean) for x in intervals])
    axis.errorbar(at, mean, ends.T, fmt=marker, color=colour, ms=4,
                  lw=width, label=name)


def against_exact(axes):
    for (name, report), chances, look in zip(
            reports.items(), (warm, cool), styles(2)):
        curves(axes[0], chances, look, f"{name}, exact")
        intervals = [evaluation.bootstrap_interval(report.pass_at(k))
                     for k in tries]
        at = np.array(tries) * (0.97 if name == "warm" else 1.03)
        bars(axes[0], at, intervals, look.marker, look.colour, 1.6)
    pairs = [[r.pass_at(k) for r in reports.values()] for k in tries]
    for way, shift, colour, width in (
            (evaluation.paired_difference, 0.95, "#1a1a1a", 2.2),
            (evaluation.unpaired_difference, 1.05, "#777777", 1.0)):
        name = way.__name__.partition("_")[0]
        intervals = [way(*pair) for pair in pairs]
        bars(axes[1], np.array(tries) * shift, intervals,
             "D" if name == "paired" else "P", colour, width, name)


# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
against_exact(axes)
ks = np.arange(1, 33)
gap = ((1 - warm) ** ks[:, None] - (1 - cool) ** ks[:, None]).mean(axis=1)
axes[1].plot(ks, gap, color="#0099ee", ls=(0, (5, 1.6)), label="exact")
axes[1].axhline(0, color="#bbbbbb", zorder=0)
axes[1].set_xscale("log", base=2)
axes[1].set_xticks(tries, tries)
axes[1].set(xlabel="k, answers you may draw", ylabel="cool minus warm")
axes[0].legend(frameon=False, loc="lower right")
axes[1].legend(frameon=False)
plt.show()

# %% [markdown]
# On the left the two intervals overlap at every $k$: from that picture alone
# you would call it a tie. On the right the thick bars say what is so. Cool is
# better at one answer, warm at many, and in between, where the curves cross,
# the interval holds 0, as it should. The thin bars are the same data with the
# pairs forgotten.
#
# **Predict.** Over many exams of 30 problems: how often does each kind of
# interval notice at $k = 1$ that cool is better? And how often does it cry
# wolf, when warm is compared with itself?

# %%
ways = {"paired": evaluation.paired_difference,
        "unpaired": evaluation.unpaired_difference}
rng, alarms = np.random.default_rng(3), {}
for rival, chances in (("cool", cool), ("itself", warm)):
    for trial in range(300):
        who = rng.integers(64, size=30)  # both sit the same exam
        a, b = (rng.binomial(8, p[who]) / 8 for p in (warm, chances))
        for name, way in ways.items():
            gap = way(a, b, draws=500, seed=trial)
            alarms.setdefault((name, rival), []).append(
                gap.low > 0 or gap.high < 0)
for name in ways:
    print(f"{name:<9} sees that cool is better: "
          f"{np.mean(alarms[name, 'cool']):4.0%};  "
          f"sees a difference of warm and warm: "
          f"{np.mean(alarms[name, 'itself']):4.0%}")

# %% [markdown]
# **Explain.** Paired intervals see far more. Their false alarms are near the
# 5% that a 95% interval allows itself: a little above, since with 30 problems
# it is a little short. The unpaired ones never cry wolf, because they hardly
# ever cry. When two models were tried on the same exam
# and you are shown two separate intervals, ask for the pairs.
#
# ## A table, read with these eyes
#
# The poster of GN-IVO ends in a table: two models, five exams, Pass@1 and
# Pass@3, which makes twenty cells; seven baselines, and no word of seeds.
# Its abstract says that GN-IVO "consistently outperforms" them. We train
# nothing here. We only read.
#
# **Predict.** In how many of the twenty is it alone at the top? A method that
# is no better than its seven rivals would be in two or three. And its leads:
# how many problems of an exam are they?

# %%
from gnivo_edu.population.claims import table1

count = {"AMC2023": 40, "Minerva Math": 272, "Olympiad-Bench": 675,
         "AIME2024": 30, "AIME2025": 30}  # problems, as the exams are known
print("GN-IVO against the best of seven baselines:", table1.standings())
aime = [table1.aime_problems(lead) for cell, lead in table1.leads().items()
        if count[cell.benchmark] == 30]
print("its leads on AIME, in problems of 30:", *sorted(aime))
for method, cell in table1.falls():
    row = table1.scores()[method]
    print(f"{method}, {cell.model}, {cell.benchmark}: Pass@1 {row[cell]}, "
          f"Pass@3 {row[cell._replace(k=3)]} (!)")

# %%
def reading(axis, model):
    leads = {c: x for c, x in table1.leads().items() if c.model == model}
    at = -np.arange(len(leads))
    for y, (cell, lead) in zip(at, leads.items(), strict=True):
        score = table1.scores()["Ours"][cell] / 100
        luck = 100 * np.sqrt(score * (1 - score) / count[cell.benchmark])
        axis.plot([-luck, luck], [y, y], color="#cccccc", lw=7,
                  solid_capstyle="butt")
        look = styles(3)[0 if lead > 0 else 1 if lead < 0 else 2]
        axis.plot(lead, y, look.marker, color=look.colour, ms=7)
    names = [f"{c.benchmark}, Pass@{c.k}" for c in leads]
    axis.set(yticks=at, title=model, xlabel="lead, points of 100")
    axis.set_yticklabels(names)
    axis.axvline(0, color="#777777", lw=0.8, zorder=0)
    axis.spines[["top", "right"]].set_visible(False)


# %%
figure, axes = plt.subplots(
    1, 2, figsize=(9.5, 4.2), sharey=True, layout="constrained")
for axis, model in zip(axes, table1.TABLE, strict=True):
    reading(axis, model)
figure.supxlabel(
    "black circle: alone at the top; triangle: tied; blue square: beaten. "
    "grey: one standard deviation of one\nscore, had other problems been "
    "drawn", x=0.01, ha="left", fontsize=9)
plt.show()

# %% [markdown]
# **Explain.** Best in 12, tied in 5, beaten in 3. So "consistently" says more
# than the table does. The table says something all the same: twelve is many
# more than two or three, and no rival is alone at the top in more than two.
# But these are not twenty witnesses. The same two models sat the same
# problems for $k = 1$ and for $k = 3$; and taken by itself, none of the leads
# is longer than its grey bar. On AIME the largest is two problems. Pairs
# would make the bars shorter; the table has none.
#
# Three cells cannot be what one would take them for. Three answers are never
# *all wrong* to more problems than the first of them is. If Pass@1 falls to a
# lower Pass@3, it was measured on another answer. (On AIME it comes in whole
# problems of 30, in all cells but one, as one answer to each would give.)
#
# ## Play
#
# Without a checker nobody tells you which of $k$ answers is right. You can
# let them vote. maj@$k$ is the chance that the majority is right, ties
# settled by lot; like (E5.2) it can be averaged over all sets of $k$. Change
# the votes.

# %%
votes = ["7"] * 5 + ["5"] * 4 + ["8", "9", None]  # None: no answer
for k in (1, 3, 5, 11):
    sets = evaluation.majority_at_k(votes, right="7", k=k)
    other = evaluation.majority_at_k(votes, right="5", k=k)
    print(f"k = {k:>2}: maj@k {sets:.3f} if 7 is right, {other:.3f} if 5 "
          f"is; Pass@k {evaluation.pass_at_k(5, 12, k):.3f}")

# %% [markdown]
# Pass@$k$ can only rise with $k$. A vote makes the favourite stronger, right
# or wrong.
#
# ## What we did not show
#
# - The intervals are for problems *like* these. They know nothing of problems
#   that leaked into training, of another prompt, or of a grader's mistakes.
# - Where all problems are solved, or none is, the bootstrap gives an interval
#   of width 0. It has seen no variation; that does not mean there is none.
# - One training run is one draw. An interval over problems says nothing about
#   the next seed: for that, train again.
# - Many comparisons at once find something by luck. Say beforehand which $k$
#   you mean.
# - No model was trained here to check that table. Notebooks 11, 12 and E3 do
#   so in miniature, for the table, for credit and for noisy rewards; what can
#   be decided by counting stands in the ledger (`gnivo-edu claims`:
#   `noise-shrinks`, `gnivo-noise`, `vimpo-one-number`).
#
# **The credit table.** With a row from this elective:
#
# | question | answer so far |
# |---|---|
# | What is one step worth? | $V(s_t) - V(s_{t-1})$ |
# | What does the best policy look like? | $\pi_{\text{ref}}\, e^{R/\alpha} / Z$: a tilt, not a win |
# | How can a model learn it from samples? | shared prefixes, different rewards: the average finds the step |
# | Has it learned? | compare problem by problem, with an interval over problems |
#
# **Links.** `gnivo_edu/evaluation/pass_at_k.py`, the estimators and their
# intervals; `gnivo_edu/evaluation/evaluate.py`, the same for any causal
# language model; `gnivo_edu/population/claims/table1.py`, the poster's table;
# `toy_envs/arithmetic_chain.py`, the problems. The estimator:
# Chen et al. 2021, arXiv 2107.03374. The bootstrap: Efron and Tibshirani
# 1993. Curves that cross: Yue et al. 2025, arXiv 2504.13837. Threads, as
# repository and number: `human-eval#35` and `MultiPL-E#40` (the shortcut),
# `prime-rl#1834` (subsampling), `lighteval#661` (30 problems). The trainer
# whose best@N draws with putting back is verl.
#
# **Next.** Another elective; or notebook 11, where a table of scores is read
# with these eyes.
