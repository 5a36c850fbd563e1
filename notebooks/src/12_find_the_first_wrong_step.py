# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12 · Find the first wrong step
#
# **Claim.** Whatever method has moved a model by the reward, the log-ratio to
# its start is an implicit value: it finds a first wrong step among steps that
# look alike, unless training has taught that very step.
#
# *Learner time: about 45 minutes. Run time: under a minute on a laptop, no
# GPU. The trained models are those of `gnivo-edu study credit`; we read what
# they say of each step from the files of that study.*
#
# **So far we know** (notebooks 03, 09 and 10) that the credit of a step is
# $\log \pi^*/\pi_{\text{ref}}$, that a small transformer comes close to it,
# and how trying compares with it in a real model. **We still cannot** say
# whether that number finds a mistake. Does it see more than a guess that
# costs nothing? Does it need GN-IVO? And where does it fail?
#
# After this notebook you can
#
# - measure whether a number finds the first wrong step, with a control that
#   makes the measure honest;
# - say which methods have an implicit value, and which do not;
# - tell the first drop from the last missed chance, in nats and in chances;
# - name two kinds of mistake that no log-ratio will find.
#
# Three new symbols: $c_t$, the implicit credit of step $t$; $t_1$, the number
# of the first wrong step; and AUC, the chance that a guess ranks two steps
# rightly.

# %% [markdown]
# ## Wrong answers whose mistake is known
#
# The model that ships with the toolkit does sums such as `59+5-8=` by writing
# running totals, `64;56.` It has a bad habit, which its demonstrations taught
# on purpose: where a step carries or borrows it often drops the carry. One
# reward at the end says right or wrong; we, who know the totals, know the
# first wrong step too.
#
# Each of eleven methods trained it further by that reward alone. Then all
# were asked about the *same* answers: those of the model before training, one
# to each test question. Of step $t$ a trained model $\pi_\theta$ says
#
# $$c_t = \log \frac{\pi_\theta(\text{step } t \mid s_{t-1})}
# {\pi_{\text{ref}}(\text{step } t \mid s_{t-1})}
# = \rho_t - \rho_{t-1}, \tag{12.1}$$
#
# the change of its prefix log-ratio over the step. The reference is the model
# before training. If the policy were optimal, this would be the exact credit.

# %%
import json
import re
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from gnivo_edu import figures, studies
from gnivo_edu.course import check
from gnivo_edu.course.layout import course_root
from gnivo_edu.figures.lines import styles
from gnivo_edu.studies.credit import (exact, examples, measures, readings,
                                      report)

results = report.measured(studies.read("credit"))
answers = report.frozen(results)
rows = answers.rows
ours = report.mean_credits(results, "GN-IVO")
print(f"{len(rows)} answers, {len(answers.judged)} of them wrong")
for against, words in measures.AGAINST.items():
    wrong, others = (int(x.sum()) for x in answers.compared(against))
    print(f"{wrong} first wrong steps; {words}: {others}")

# %% [markdown]
# Four of these answers, with GN-IVO's credits under their steps (the mean
# over its seeds), and the chance of ending right that 16 continuations of the
# untrained model found before each step and after the last.
#
# **Predict.** Where would you blame each of them?

# %%
kinds = examples.kinds(results)
shown = [(name, kinds[name]) for name in (
    "Right", "Wrong, and found",
    "Wrong twice, and the second mistake is blamed more",
    "Wrong by a step that training made likelier")]
texts, credits = {}, {}
for n, (name, i) in enumerate(shown, start=1):
    row, chances = rows[i], answers.chances(16)[i]
    print(f"{n} {name}: {row['question']}{row['text']}")
    print("  first wrong step: "
          f"{row['first_wrong'] + 1 or 'none'}; chances:",
          *(f"{c:.2f}" for c in chances))
    label = f"{n}: {row['question']}"
    texts[label], credits[label] = row["text"].split(";"), ours[i].tolist()
figures.CreditStrips(
    texts, credits, [""] * max(map(len, credits.values())),
    "implicit credit in nats, after GN-IVO; reference: the model before "
    "training; alpha = 0.2; full colour at ±3", scale=3.0)

# %% [markdown]
# **Explain.** Four answers are anecdotes. They also show what has to be
# counted: a mistake that is found; a second mistake that is blamed more than
# the first; and a wrong step with a *positive* credit. For a count we need a
# measure.
#
# ## A measure, and the control that makes it honest
#
# Take the first wrong step of one wrong answer and another step of any wrong
# answer. A good guess gives the wrong one the lower number:
#
# $$\text{AUC} = \Pr(c_{t_1} < c_{\text{other}})
# + \tfrac12 \Pr(c_{t_1} = c_{\text{other}}). \tag{12.2}$$
#
# A coin has one half. But which other steps? Our model errs where a step
# carries or borrows, and almost nowhere else. A guess that merely knows *what
# is difficult* will do well against all steps, and knows nothing of what went
# wrong. The control compares like with like: steps that carry or borrow, too.
#
# ### Exercise 25 · The first wrong step and its AUC (10 minutes, medium, essential)
#
# `written` and `right` are totals [N, T]; `credits` and `alike` have the same
# shape. Return the chance (12.2) that a first wrong step has a lower credit
# than another step, both marked `alike`. Stuck?
# `check.first_wrong_auc.hint()`.

# %%
def first_wrong_auc(written, right, credits, alike):
    ### BEGIN SOLUTION
    first = np.zeros(written.shape, dtype=bool)
    first[np.arange(len(written)), (written != right).argmax(axis=1)] = True
    wrong = credits[first & alike][:, None]
    others = credits[~first & alike][None, :]
    return ((wrong < others) + (wrong == others) / 2).mean()
    ### END SOLUTION


check.first_wrong_auc(first_wrong_auc)

# %% [markdown]
# **Predict.** Two guesses, with and without the control: GN-IVO's credit, and
# the most surprising token of the step under the untrained model, which needs
# no training at all. What will the control do to each?
#
# **Run.** Your function, on the wrong answers to questions with four
# operations.

# %%
four = [i for i in answers.judged
        if rows[i]["tier"] == 4 and len(rows[i]["wrong"]) == 4
        and rows[i]["text"][:-1].replace(";", "").isdecimal()]
written = np.array([[int(x) for x in rows[i]["text"][:-1].split(";")]
                    for i in four])
right = np.cumsum([[int(x) for x in re.findall(r"[+-]?\d+", rows[i][
    "question"])] for i in four], axis=1)[:, 1:]
alike = np.array([rows[i]["alike"] for i in four]) > 0
surprise = [row["least_log_p"] for row in rows]
for name, scores in {"GN-IVO's credit": ours,
                     "most surprising token": surprise}.items():
    scores = np.array([scores[i] for i in four])
    free = first_wrong_auc(written, right, scores, np.ones_like(alike))
    held = first_wrong_auc(written, right, scores, alike)
    print(f"{name:<22} no control {free:.3f}   look-alikes {held:.3f}")

# %% [markdown]
# **Explain.** Without the control surprise looks like a finder of mistakes.
# It is a finder of *difficult* steps. Among these it points the wrong way: a
# habit is what a model thinks likely, so a dropped carry surprises it less
# than a carry that is kept. GN-IVO's credit loses a little, and stays high.
#
# ## The picture
#
# All wrong answers, all seeds, and six guesses. *Position* is the best
# constant guess: how often answers of this length first go wrong at this
# step, told from these very answers, which flatters it. *Rollouts* is the
# fall of the chance of ending right over the step, by 16 continuations from
# either side. The last guess is a GN-IVO that was paid by a coin.

# %%
report.curves(results)

# %% [markdown]
# **Explain.** From left to right the question gets harder. Against *every
# other step* nearly everybody looks able, but for the coin. Against *steps
# that carry or borrow* surprise falls below one half, while credit and
# rollouts remain. Against *later steps that are wrong again* credit is hardly
# better than a coin, and rollouts still know. We come back to that.
#
# ## Does it take GN-IVO?
#
# GN-IVO fits a value on purpose. GRPO, RLOO or the imitation of winners fit
# none: they push winners up. **Predict.** Whose log-ratio finds the step?
#
# **Run.** First wrong steps against steps that carry or borrow *and are done
# right*, the fairest question for a credit. Intervals are over seeds.

# %%
trained = [row for row in results.rows if row != "base"]
order = sorted(trained, key=lambda row: -results.mean(
    row, "auc.done right").mean)
print(f"{'':<16}{'AUC':>6}{'95% interval':>17}{'less GN-IVO':>26}"
      f"{'Pass@1':>9}")
for row in order:
    x = results.mean(row, "auc.done right")
    gap = results.difference(row, "GN-IVO", "auc.done right",
                             comparisons=len(order) - 1)
    print(f"{row:<16}{x.mean:6.3f}{f'{x.low:.3f} to {x.high:.3f}':>17}"
          f"{f'{gap.mean:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})':>26}"
          f"{results.mean(row, 'pass@1.mean').mean:9.2f}")
print(f"{len(results.of('GN-IVO'))} seeds, paired; intervals of "
      f"differences hold for all {len(order) - 1} at once")
control = answers.auc(answers.controls(16)["16 rollouts, chances"],
                      "done right")
print(f"16 rollouts, no training: {control:.3f}; surprise: "
      f"{answers.auc(surprise, 'done right'):.3f}")

# %%
report.forest(results)

# %% [markdown]
# **Explain.** Any method that the reward has moved. GN-IVO comes last of the
# eleven by a hair, and the corrected interval of each other method's
# difference from it holds 0. What a policy gradient adds to the
# log-probability of a step is the advantage of that step, averaged over the
# answers that hold it.
# So the log-ratio of *every* policy that was trained by a reward is a value
# of that reward, at some temperature. It takes the reward; the objective is a
# detail.
# The two rows that are paid by a coin have the objective and not the reward,
# and find nothing.
#
# A credit of thousands of answers can see more than 16 rollouts, too. A
# rollout knows one state and is a coin with that state's chance; training has
# seen the same kind of step in many questions.
#
# ## What it does not find
#
# Three groups of steps that carry or borrow, in wrong answers: the first
# wrong ones, later ones that are wrong by themselves as well, and those done
# right.
#
# **Predict.** Once the first mistake is made, nothing is left to lose: the
# *exact* credit of a second mistake is 0. What will GN-IVO's be?

# %%
values = answers.flat(ours)
later = ~answers.first & answers.alike
groups = {"first wrong": answers.first & answers.alike,
          "wrong again": later & answers.wrong,
          "done right": later & ~answers.wrong}
figure, axis = plt.subplots(figsize=(8, 3.2), layout="constrained")
edges = np.linspace(-10, 3, 53)
for (name, kept), look in zip(groups.items(), styles(3), strict=True):
    axis.hist(values[kept].clip(-10, 3), edges, histtype="step",
              density=True, color=look.colour, ls=look.dashes, lw=1.8,
              label=f"{name} ({kept.sum()})")
    print(f"{name:<12} median credit {np.median(values[kept]):+.2f} nats, "
          f"below 0: {np.mean(values[kept] < 0):.0%}")
axis.axvline(0, color="#bbbbbb", zorder=0)
axis.set(xlabel="implicit credit, nats (mean over seeds)", ylabel="density")
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# **Explain.** The second mistake is blamed like the first. The network has
# unlearned a *habit*, and a habit does not ask whether anything is left to
# lose. A table would have learned each state by itself; a network shares what
# it learns, which is why it is good at all, and why its credit is a credit of
# the step rather than of the step in its state. So a low credit says "this is
# how one goes wrong", and not "here it was lost".
#
# And some wrong steps have a positive credit. How many, and which?

# %%
for row in order:
    learned = [np.sum(answers.flat(run["credits"])[answers.first] > 0)
               for run in results.of(row)]
    print(f"{row:<16} learned, of {answers.first.sum()}, by seed:",
          *learned)
positive = answers.first & (values > 0)
shy = answers.flat(surprise)
for name, kept in {"with a positive credit of GN-IVO": positive,
                   "all other first wrong steps": answers.first & ~positive
                   }.items():
    typical = np.exp(np.median(shy[kept])) if kept.any() else np.nan
    print(f"{name}: {kept.sum()}; chance of the least likely token, "
          f"median: {typical:.3f}")

# %% [markdown]
# **Explain.** These few are not the habit. They are rare slips, steps that
# the untrained model hardly ever wrote. When training takes the habit away,
# its probability has to go somewhere: most of it to the right total, a little
# to other wrong ones, which gain without having earned anything. Their
# log-ratio is positive, and no reading of the log-ratio can find them. It
# says what training *did*; where training erred, it errs.
#
# ## First drop and last missed chance
#
# Two questions hide in "where did it go wrong?". Where did the chance of
# ending right first fall? And which step missed the last chance?
#
# ### Exercise 38 · The first drop and the last missed chance (8 minutes, medium, important)
#
# Row $i$ of `chances` [N, T + 1] holds the chance before the first step and
# after each step of a wrong answer. Return two arrays: the first step that
# lowers it, and the last step before which there was one, counted from 1.

# %%
def drops(chances):
    ### BEGIN SOLUTION
    first = (np.diff(chances, axis=1) < 0).argmax(axis=1) + 1
    alive = (chances > 0)[:, ::-1]
    return first, chances.shape[1] - alive.argmax(axis=1)
    ### END SOLUTION


check.drops(drops)

# %% [markdown]
# **Predict.** In our sums nothing mends a mistake. On the poster's problem
# the check at the end can. Where are first drop and last missed chance one
# step?
#
# **Run.** The sums by rollouts, and the poster's 64 wrong answers exactly,
# each weighed by how likely the reference is to write it.

# %%
print("sums, last missed chance by 16 rollouts:",
      readings.last_missed_chances(answers, 16))
wrong = [a for a in exact.ANSWERS
         if exact.chances(a)[-1] == 0]
weights = np.array([exact.likelihood(a) for a in wrong])
chances = np.array([exact.chances(a) for a in wrong])
first, last = drops(chances)
exact_credits = np.array([exact.key().step_credit(a) for a in wrong])
mistake = np.array([a.index(1) + 1 for a in wrong])
for name, step in {
        "first drop": first, "last missed chance": last,
        "largest drop, in chances": np.diff(chances).argmin(axis=1) + 1,
        "largest drop, in nats": exact_credits.argmin(axis=1) + 1}.items():
    share = np.average(step == mistake, weights=weights)
    print(f"poster, {name:<25} is the first mistake in {share:6.1%}")

# %% [markdown]
# **Explain.** In the sums they are the same step, but for the few where 16
# rollouts were too few, or a slip was mended by another. On the poster's
# problem the last chance is nearly always missed by the *check*, step 7. And
# there the unit decides. In chances of ending right the first mistake costs
# most. In nats the check does, since nats count ratios: from a
# small chance to nothing is a longer way down than from a large chance to a
# small one. Both are true. Say which you mean, and in which unit.
#
# What did the trained tables learn, then? Each method trained a table on the
# poster's problem as well. We correlate its implicit credits with the exact
# ones, in either unit, every step weighed by the reference. **Predict.** In
# which unit will they agree?

# %%
poster = exact.PosterProblem.examples["wrong at 3"]
print("chances of 'wrong at 3':",
      *(f"{c:.2f}" for c in exact.chances(poster)))
print(f"{'':<16}{'with nats':>10}{'with chances':>14}{'1/alpha':>9}")
for row in order:
    a, b, c = (results.mean(row, f"exact.{name}").mean for name in
               ("correlation", "in_chances", "inverse_alpha"))
    print(f"{row:<16}{a:10.3f}{b:14.3f}{c:9.2f}")

# %% [markdown]
# **Explain.** Early in training a log-ratio grows in proportion to
# advantages, and these are *chances*; only near its optimum does it bend into
# nats. A run of a few thousand answers is still early for most, and their
# credits agree with chances rather than with nats. PPO and OREO, whose
# critics value every state, come closest to nats; PPO, which by the last
# column has gone furthest, is the only one that agrees with nats better than
# with chances. To have gone far is not enough: GVPO has gone nearly as far,
# and agrees with chances. We had predicted nats for GN-IVO: the study's file
# says *miss*.
#
# ## Is it calibrated?
#
# For an optimal policy the credits of a right answer sum to $1/\alpha - \log
# Z$, and those of a wrong one to $-\log Z$. So a policy tells its own
# temperature,
#
# $$\frac{1}{\alpha} = \mathbb{E}\Big[\sum_t c_t \,\Big|\, \text{right}\Big]
# - \mathbb{E}\Big[\sum_t c_t \,\Big|\, \text{wrong}\Big], \tag{12.3}$$
#
# and with it $V(s_t) = \log Z + \sum_{j \le t} c_j$ becomes a chance of
# ending right, between any two steps.
#
# **Predict.** Do these chances hold up against 16 rollouts?

# %%
def reliability(axis, row, look):
    pairs = []
    for run in results.of(row):
        _, implied = readings.implied_chances(
            answers, run["credits"], 16)
        for guess, tried in zip(implied, answers.chances(16), strict=True):
            pairs += zip(guess[1:-1], tried[1:-1], strict=True)
    guess, tried = np.array(pairs).T
    if not np.isfinite(guess).all():
        print(f"{row:<16} has no temperature: right answers gained nothing")
        return
    bins = np.clip((guess * 8).astype(int), 0, 7)
    points = [(guess[bins == b].mean(), tried[bins == b].mean())
              for b in range(8) if (bins == b).sum() > 5]
    axis.plot(*zip(*points, strict=True), marker=look.marker, label=row,
              color=look.colour, ls=look.dashes)
    x = {name: results.mean(row, f"calibration.{name}").mean for name in
         ("inverse_alpha", "error", "error_of_start", "after_first_wrong")}
    print(f"{row:<16} 1/alpha {x['inverse_alpha']:5.2f}; mean error "
          f"{x['error']:.3f} (of the question's own chance "
          f"{x['error_of_start']:.3f}); after a first mistake it says "
          f"{x['after_first_wrong']:.3f}")


# %%
figure, axis = plt.subplots(figsize=(4.6, 4.2), layout="constrained")
axis.plot([0, 1], [0, 1], color="#bbbbbb", lw=1)
for row, look in zip(("GN-IVO", "GRPO"), styles(2), strict=True):
    reliability(axis, row, look)
axis.set(xlabel="chance that the credits imply",
         ylabel="chance by 16 rollouts", box_aspect=1)
axis.legend(frameon=False)
plt.show()

# %% [markdown]
# **Explain.** About half as far off as the question's own chance, and in the
# right order. The scale is a fit of one number to all questions, and training
# went further on some than on others: read the order, and be careful with the
# number.
#
# ## A control that must fail
#
# Two. Deal GN-IVO's credits out anew among the look-alike steps: the numbers
# stay, what they belong to goes. And the GN-IVO that a coin has paid.

# %%
rng = np.random.default_rng(0)
dealt = []
for _ in range(200):
    mixed = values.copy()
    mixed[answers.alike] = rng.permutation(values[answers.alike])
    positive, negative = answers.compared("alike")
    dealt.append(measures.auc(mixed[positive], mixed[negative]))
coin = results.mean("GN-IVO, random", "auc.alike")
print(f"credits dealt out anew: AUC {np.mean(dealt):.3f}, at most "
      f"{max(dealt):.3f}")
print(f"paid by a coin: AUC {coin.mean:.3f} ({coin.low:.3f} to "
      f"{coin.high:.3f})")
print(f"GN-IVO itself: AUC {results.mean('GN-IVO', 'auc.alike').mean:.3f}")

# %% [markdown]
# Both should be near one half, and a single run paid by a coin may wander off
# on either side: it moves the model somewhere.
#
# ## The same in a real model
#
# SmolLM2 on sums in words (notebook 10): numbers of two digits, several of
# them, the first wrong step known. There each wrong answer names the step of
# its lowest number. `recipes/sums` keeps the file.
#
# **Predict.** What will be best there?

# %%
path = course_root() / "recipes" / "sums" / "results.json"
sums = json.loads(path.read_text(encoding="utf-8"))["steps"]
print(f"{sums['judged']} wrong answers; share whose first wrong step is "
      "found")
for name, x in sums["hit_rates"].items():
    gap = x["beyond_control"]
    print(f"{name:<40}{x['mean']:.2f} ({x['low']:.2f} to "
          f"{x['high']:.2f})   less surprise {gap['mean']:+.2f}")
print("the same share here, GN-IVO:",
      f"{results.mean('GN-IVO', 'top1.all').mean:.2f};",
      f"surprise: {answers.hits(surprise).mean():.2f}")

# %% [markdown]
# **Explain.** There the free guess wins, and the implicit credits are behind
# it. SmolLM2 has no habit: it slips where it is unsure, and its own doubt
# points at the slip. Our small model is sure of its mistakes. Credit earns
# its keep where a model is *confidently* wrong; where it merely stumbles,
# look at its surprise first. (Those runs were short, too: 960 answers each.)
#
# ## Play
#
# The study in its smallest form, run here: two methods and a placebo, one
# seed, 512 answers each. So little training moves little; what does it find
# already? Change `size` to "quick" for minutes instead of seconds.

# %% tags=["tolerance=0.6"]
size = "smoke"
with tempfile.TemporaryDirectory() as folder:
    done = studies.run("credit", size=size, seeds=1, jobs=0,
                       out=Path(folder))
    small = studies.results.Results.read(Path(folder))
print("runs:", done.runs, "of", *small.rows)
print(f"{len(report.frozen(small).judged)} wrong answers")

# %% [markdown]
# ## What we did not show
#
# - One task, whose mistakes are of one kind and are never mended. Where
#   mistakes are of many kinds, or a later step repairs them, these numbers
#   will be others.
# - The answers are those of the model *before* training. A trained model errs
#   elsewhere, and of its own mistakes its log-ratio will think better.
# - Intervals of methods are over seeds and those of controls over answers.
# - Every method has the rate and the batch that the search of notebook 11
#   chose for it. At a rate that an earlier search, on one seed, had chosen
#   for VIMPO, some of its seeds collapsed, and their log-ratio found less.
# - The look-alikes are known to us since we know how the habit was taught. In
#   a text nobody hands you such a list, and without it every AUC is too good.
# - An AUC ranks steps of many answers. To mend one answer you need the step
#   of that answer: that share is printed above.
#
# **The credit table.** With a row from this notebook:
#
# | question | answer so far |
# |---|---|
# | What is one step worth? | $V(s_t) - V(s_{t-1})$ |
# | How can a model learn it from samples? | shared prefixes, different rewards: the average finds the step |
# | Where does training end? | not always at $\pi^*$: look it up |
# | Does the number find a mistake? | a habit, yes, by any method; the second mistake like the first; never what training taught |
#
# **Links.** `gnivo_edu/studies/credit/study.py`, the study with its
# predictions, of
# which some failed; `gnivo_edu/studies/credit/measures.py`, the measures;
# `gnivo_edu/studies/credit/exact.py`, the poster's problem in a table;
# `gnivo_edu/tasks/arithmetic.py`, the sums and their habit. `results/credit`
# has the tables, the runs and answers to read, step by step. Labels of first
# wrong steps in texts: Lightman et al. 2023, arXiv 2305.20050. Values by
# rollouts: Wang et al. 2023, arXiv 2312.08935. An implicit reward read step
# by step: Yuan et al. 2024, arXiv 2412.01981.
#
# **Next.** Notebook 13: the same code on a GPU.
