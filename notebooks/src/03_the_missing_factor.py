# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 · The missing factor is e^V
#
# **Claim.** Between the reference and the best policy one factor is missing
# at every beginning of an answer, and it is $e^V$; so the credit of a step is
# $\log \pi^*/\pi_{\text{ref}}$, in total $R/\alpha - \log Z$.
#
# *Learner time: about 45 minutes. Run time: seconds, on any laptop, no GPU,
# no torch.*
#
# **So far we know** (notebook 02) that the best policy multiplies the
# probability of a whole answer by $e^{R/\alpha}/Z$. **We still cannot** say
# what it does to half an answer, when no reward has come yet.
#
# After this notebook you can
#
# - compute the value of every prefix in two ways that share nothing;
# - state the theorem behind GN-IVO, prove it in two lines, and check it;
# - turn values into the best policy, token by token;
# - read credit off two policies, with no value in sight.
#
# Two new symbols: $(s, a)$, the prefix $s$ with token $a$ written after it,
# and $c_t$, the credit of step $t$. The value $V$ comes back from notebook
# 00, and now we find out where it was hiding.

# %% [markdown]
# ## The poster's question marks
#
# We are back at the problem of notebook 00: seven steps, one mark at the end.
# The best policy of whole answers is the tilt of notebook 02. Its probability
# of a *prefix* is the sum over the answers through it, as always. Let us
# follow one answer that goes wrong, and divide.

# %%
import numpy as np

import toy_envs
from gnivo_edu import exact, figures
from gnivo_edu.course import check

problem = toy_envs.PosterProblem()
tree = exact.enumerate_tree(problem)
alpha, wrong = 0.5, problem.examples["wrong at 3"]
answers = tuple(tree.answers())
logps, rewards = tree.prefix_logps[-1], tree.rewards
reference = np.exp(logps)
best = reference * np.exp(rewards / alpha)
best /= best.sum()


def mass(law, prefix):
    return law[[y[:len(prefix)] == prefix for y in answers]].sum()


for t in range(8):
    old, new = mass(reference, wrong[:t]), mass(best, wrong[:t])
    step = problem.step_names[t - 1] if t else "nothing yet"
    print(f"{step:<13} {old:.4f} × {new / old:.4f} = {new:.4f}")

# %% [markdown]
# On the poster this middle column reads "??". After the last step we know it:
# $e^{R/\alpha}/Z$. But it is there after every step, long before the reward.
#
# **Predict.** What does the factor know about a prefix? The best reward it
# can still reach? The average one? Something in between?
#
# **Run.** Here is the tree up to step 5, our answer as the thick line, beside
# the likeliest one. On each edge: the chance of the step before and after
# the tilt, and by how much the logarithm of the missing factor changes.

# %%
key = exact.solve(tree, alpha)
figures.prefix_tree(
    key, problem.vocabulary, key.optimal_step_logps, "credit", nodes=6,
    keep=[wrong[:5]], policy_name="π*",
)

# %% [markdown]
# **Explain.** The wrong turn at step 3 is written less often, but not never:
# some answers through it are still rescued at the end. The factor looks ahead
# to *all* the ways an answer may go on, weighted by how likely the reference
# takes them.
#
# ## What a beginning is worth
#
# That sounds like the value of notebook 00, so let us write it down again:
#
# $$V(s_t) = \log \mathbb{E}_{\text{ref}}\big[e^{R/\alpha} \mid s_t\big].
# \tag{3.1}$$
#
# For a complete answer nothing is left open and $V = R/\alpha$. For all
# others there is a shortcut: an average over continuations is an average over
# the next token, of averages. So a prefix takes its value from its children,
#
# $$V(s) = \log \sum_a \pi_{\text{ref}}(a \mid s)\, e^{V(s, a)}. \tag{3.2}$$
#
# Start at the end, go back one token at a time, and never list an answer.
#
# ### Exercise 5 · One step back (7 minutes, easy, important)
#
# Given the log-probabilities `next_logps` of the next tokens, shape
# `[..., V]`, and the values of the prefixes they lead to, return the value of
# the prefix, for many prefixes at once. Values can be large; mind overflow.

# %%
def soft_value_backup(next_logps, next_values):
    ### BEGIN SOLUTION
    exponents = next_logps + next_values
    largest = exponents.max(axis=-1, keepdims=True)
    total = np.exp(exponents - largest).sum(axis=-1)
    return largest[..., 0] + np.log(total)
    ### END SOLUTION


check.soft_value_backup(soft_value_backup)

# %% [markdown]
# Seven steps back from the rewards, and every prefix has its value:

# %%
values = [rewards / alpha]
for table in reversed(tree.step_logps):
    children = values[0].reshape(table.shape)
    values.insert(0, soft_value_backup(table, children))
print("prefixes at each depth:", [len(v) for v in values])
print(f"at the root V = log Z = {values[0][0]:.4f}")

# %% [markdown]
# ### Exercise 6 · V by averaging (8 minutes, medium, important)
#
# Now the other way, straight from (3.1): take the answers that begin with
# `prefix`, and average $e^{R/\alpha}$ over them as the reference would. No
# recursion, no children.

# %%
def value_by_averaging(answers, logps, rewards, prefix, alpha):
    ### BEGIN SOLUTION
    size = len(prefix)
    through = np.array([y[:size] == prefix for y in answers])
    share = np.logaddexp.reduce(logps[through])
    tilted = logps[through] + rewards[through] / alpha
    return np.logaddexp.reduce(tilted) - share
    ### END SOLUTION


check.value_by_averaging(value_by_averaging)

# %% [markdown]
# Two routes that share nothing. Do they meet?

# %%
gap = 0.0
for t in range(8):
    for number in tree.reachable(t):
        prefix = tree.prefix(t, int(number))
        average = value_by_averaging(answers, logps, rewards, prefix, alpha)
        gap = max(gap, abs(average - values[t][number]))
print(f"{tree.num_prefixes} prefixes, both routes agree within 1e-12 nats:",
      gap < 1e-12)

# %% [markdown]
# ## The theorem
#
# Add up the tilt (2.2) over all answers through $s_t$. What they share,
# $\pi_{\text{ref}}(s_t)$ and $1/Z$, comes out of the sum; what is left inside
# is $e^{R/\alpha}$, averaged over continuations, and that is $e^V$:
#
# $$\pi^*(s_t) = \sum_{y \text{ through } s_t}
# \frac{\pi_{\text{ref}}(y)\, e^{R(y)/\alpha}}{Z}
# = \frac{\pi_{\text{ref}}(s_t)\, e^{V(s_t)}}{Z}. \tag{3.3}$$
#
# That was the proof. This is Theorem 1 of GN-IVO: the "??" is $e^{V}$, up to
# the one constant $Z = e^{V(s_0)}$.
#
# ### Exercise 7 · The best policy's prefixes (8 minutes, medium, important)
#
# For one answer, `logps` are the reference's log-probabilities of its tokens
# and `values` the values *before* each token, $V(s_0), \ldots, V(s_{T-1})$.
# Return $\log \pi^*(s_t)$ for $t = 1, \ldots, T$. The last value is yours to
# add: you know the reward.

# %%
def optimal_prefix_logps(logps, values, reward, alpha):
    ### BEGIN SOLUTION
    values = np.append(values, reward / alpha)
    return np.cumsum(logps) + values[1:] - values[0]
    ### END SOLUTION


check.optimal_prefix_logps(optimal_prefix_logps)

# %% [markdown]
# With your function, the table from the beginning, without a single sum over
# answers:

# %%
rows = [tree.index(wrong[:t])[1] for t in range(7)]
steps = [tree.step_logps[t][rows[t], wrong[t]] for t in range(7)]
along = [values[t][rows[t]] for t in range(7)]
logp = optimal_prefix_logps(np.array(steps), np.array(along), 0.0, alpha)
for t in range(1, 8):
    counted = mass(best, wrong[:t])
    name, claimed = problem.step_names[t - 1], np.exp(logp[t - 1])
    print(f"{name:<13} theorem {claimed:.6f}   counted {counted:.6f}")

# %% [markdown]
# One answer of one problem is an anecdote. The library checks *every* prefix,
# left side by adding up answers, right side by going backwards, and hands
# back a certificate. We ask it twice: for our problem, and for the brackets
# of notebook 02, where answers end at different lengths.

# %%
brackets = toy_envs.Brackets(horizon=5)
habits = exact.random_reference(3, 5, seed=3)
for name, each in [("PosterProblem", tree),
                   ("Brackets", exact.enumerate_tree(brackets, habits))]:
    for a in (0.1, 0.5, 2.0):
        proof = exact.verify_soft_value_theorem(each, a)
        print(f"{name}, alpha {a}: passed {proof.passed}, "
              f"{proof.prefixes} prefixes, largest error below 1e-12 nats:",
              proof.max_abs_error < 1e-12)

# %% [markdown]
# (Write `proof` into a cell of its own to see the whole certificate, depth by
# depth.)
#
# ## Credit without values
#
# Divide (3.3) at one prefix by (3.3) at the prefix before, and $Z$ is gone:
#
# $$\pi^*(a \mid s) = \pi_{\text{ref}}(a \mid s)\, e^{V(s, a) - V(s)}.
# \tag{3.4}$$
#
# Read from left to right, it is a recipe for the best policy. Read from right
# to left, it is the discovery this course is about. The credit of a step,
# $c_t = V(s_t) - V(s_{t-1})$, is how much more the best policy likes the step
# than the reference does. Whoever has the two policies has the credit.
#
# ### Exercise 10 · Token by token (8 minutes, medium, important)
#
# Given the reference's tables `step_logps` and the `values` at each depth,
# return the tables of $\log \pi^*(a \mid s)$. The children of row `i` are the
# rows `i V` to `i V + V - 1` of the next depth.

# %%
def optimal_step_logps(step_logps, values):
    ### BEGIN SOLUTION
    tables = []
    for t, table in enumerate(step_logps):
        children = values[t + 1].reshape(table.shape)
        tables.append(table + children - values[t][:, None])
    return tables
    ### END SOLUTION


check.optimal_step_logps(optimal_step_logps)

# %%
star = optimal_step_logps(tree.step_logps, values)
off = max(abs(np.exp(table).sum(axis=1) - 1).max() for table in star)
print("every row sums to one within 1e-12:", off < 1e-12)
for name, policy in [("reference", tree.step_logps), ("best", star)]:
    point = figures.policy_point(tree, policy)
    print(f"{name:<9} ends right {point.reward:.1%} of the time, "
          f"KL {point.kl:.3f} nats")

# %% [markdown]
# The rows sum to one without our doing: that is exactly what (3.2) says. And
# this policy walks straight ahead, one token at a time, with no list of
# answers and no search. All the looking ahead is in $V$.
#
# Along a whole answer the credits add up. Everything in the middle cancels:
#
# $$\sum_{t=1}^{T} c_t = \sum_{t=1}^{T} \log
# \frac{\pi^*(y_t \mid s_{t-1})}{\pi_{\text{ref}}(y_t \mid s_{t-1})}
# = \frac{R}{\alpha} - \log Z. \tag{3.5}$$
#
# **Predict.** Our wrong answer earned nothing, so $R/\alpha = 0$ and the
# credits must sum to $-\log Z$. Who pays? Step 3, where it went wrong?
#
# **Run.**

# %%
figures.waterfall(key, wrong, problem.step_names)

# %% [markdown]
# **Explain.** Step 3 pays some, but the last step pays more: the check could
# have saved the answer, and did not. The residual in the caption is what is
# left of (3.5) after rounding. The same for all answers at once:

# %%
largest = 0.0
for y, reward in zip(answers, rewards, strict=True):
    rows = [tree.index(y[:t])[1] for t in range(7)]
    credit = sum(star[t][rows[t], y[t]]
                 - tree.step_logps[t][rows[t], y[t]] for t in range(7))
    largest = max(largest, abs(credit - (reward / alpha - values[0][0])))
print(f"{len(answers)} answers, (3.5) holds within 1e-12 nats:",
      largest < 1e-12)

# %% [markdown]
# ## The value, hidden in plain sight
#
# Suppose somebody hands us $\pi^*$ and never mentions $V$. To be strict, we
# build it once more by adding up answers, as in the first cell. The wide line
# is $V$ along our answer, computed backwards. On it lies
# $\log \pi^*/\pi_{\text{ref}}$ of the prefix, from the two policies alone,
# lifted by $\log Z$. The third line is what you get by trying: let the writer
# finish each prefix 32 times and average. On the right, what a nat means: the
# chance of ending right from here.

# %%
sums = [np.log(best.reshape(2**t, -1).sum(axis=1)) for t in range(8)]
handed = [sums[t + 1].reshape(-1, 2) - sums[t][:, None] for t in range(7)]
implicit = figures.implicit_values(key, handed, wrong)
implicit = implicit.round(12) + 0.0  # so that rounding prints no "-0.00"
sampled, bars = figures.sampled_values(key, wrong, samples=32, seed=0)
figures.value_lines(
    key, wrong, problem.step_names,
    {"32 tries": sampled, "log π*/π_ref + log Z": implicit},
    errors={"32 tries": bars},
)

# %% [markdown]
# ## A control that must fail
#
# The logarithm of a mean of exponentials is an odd kind of average. Would a
# plainer one do? Three suspects: the *mean* of the children's values, their
# *maximum*, and the right formula with *somebody else's* reference, a writer
# who mends nine mistakes in ten at the last step. **Predict:** which one is
# the worst, along our answer?

# %%
def backwards(backup, tables):
    levels = [rewards / alpha]
    for table in reversed(tables):
        levels.insert(0, backup(table, levels[0].reshape(table.shape)))
    return levels


def mean(logps, v):
    return (np.exp(logps) * v).sum(axis=-1)


def maximum(logps, v):
    return v.max(axis=-1)


def mender(chance):
    """The same writer, who mends this share of mistakes at the end."""
    tables = problem.reference()
    tables[6][1:] = np.log([chance, 1 - chance])
    return tables


# %%
def error_of_theorem(v):
    worst = 0.0
    for t in range(8):
        claimed = tree.prefix_logps[t] + v[t] - v[0][0]
        worst = max(worst, abs(claimed - sums[t]).max())
    return worst


suspects = {
    "mean": backwards(mean, tree.step_logps),
    "maximum": backwards(maximum, tree.step_logps),
    "V of a mender": backwards(soft_value_backup, mender(0.9)),
}
for name, v in suspects.items():
    print(f"{name:<14} (3.3) is wrong by up to "
          f"{error_of_theorem(v):.3f} nats")
    assert error_of_theorem(v) > 0.1
print("V itself       within 1e-12 nats:", error_of_theorem(values) < 1e-12)
assert error_of_theorem(values) < 1e-12

# %%
lines = {
    name: [v[t][tree.index(wrong[:t])[1]] for t in range(8)]
    for name, v in suspects.items()
}
figures.value_lines(key, wrong, problem.step_names, lines, shade="mean")

# %% [markdown]
# (Read the right-hand axis for the exact line only: the others are not
# values of this writer, so their heights are not chances.)
#
# **Explain.** The maximum is an optimist: as long as a mistake *can* still be
# mended, it sees no mistake at all. The mean is a pessimist: it gives good
# continuations no more than their share, while $\pi^*$ leans towards them.
# And the mender's $V$ is a perfectly good value, of somebody else. A value
# without its reference is not wrong, it is homeless.
#
# ## Play
#
# How much does the mistake at step 3 cost if the writer gets better at
# mending? **Predict** both columns before you run, then change the chances.

# %%
print("mends   step 3, the mistake   step 7, not mended   sum = -log Z")
for chance in (0.05, 0.3, 0.6, 0.95):
    writer = exact.enumerate_tree(problem, mender(chance))
    credit = exact.solve(writer, alpha).step_credit(wrong)
    print(f"{chance:5.0%} {credit[2]:15.2f} {credit[6]:21.2f} "
          f"{credit.sum():18.2f}")

# %% [markdown]
# **Explain.** The more can be mended, the cheaper the mistake and the dearer
# the missed mending. Blame moves to where it could have been avoided.
#
# ## What we did not show
#
# - $V$ was exact because every continuation could be listed. For a language
#   model nobody can; that is why the two policies of (3.4) matter.
# - We read the credit off $\pi^*$, which we had computed. How a model can get
#   there without $V$ and without $Z$ is the subject of notebooks 04 and 05.
# - Every prompt has its own $V$ and its own $Z$. We had one prompt.
# - The reference here stands still. GN-IVO refreshes it as it learns, and
#   then the value it speaks of changes too.
#
# **The credit table.**
#
# | question | answer so far |
# |---|---|
# | What is one step worth? | $V(s_t) - V(s_{t-1})$ |
# | What are the probabilities of all answers? | products of choices; they sum to 1 |
# | What does the best policy look like? | $\pi_{\text{ref}}\, e^{R/\alpha} / Z$: a tilt, not a win |
# | Why is credit $\log \pi^*/\pi_{\text{ref}}$? | because $\pi^* = \pi_{\text{ref}}\, e^{V}/Z$ at every prefix |
# | How can groups find it without a critic? | *notebook 04* |
# | How can a model learn it from samples? | *notebook 05* |
#
# **Links.** Theorem 1 of *Group-Normalized Implicit Value Optimization for
# Language Models* (Choi et al., ICLR 2026), and the "??" of its poster;
# `gnivo_edu/exact/theorems.py`, the certificate;
# `gnivo_edu/exact/solution.py`, the backward pass, for larger trees.
#
# **Next.** 04, *Never pay for log Z*: a handful of answers to the same prompt
# is enough to find $V$, up to one constant at each depth.
