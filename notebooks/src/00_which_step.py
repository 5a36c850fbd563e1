# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 · Which step deserves the credit?
#
# **Claim.** One reward at the end of an answer already fixes a number for
# every step of it.
#
# *Learner time: about 20 minutes. Run time: seconds, on any laptop, no GPU,
# no torch.*
#
# **So far we know** that a language model can be rewarded for a right final
# answer. **We still cannot** say which of its steps earned that reward, or
# lost it.
#
# After this notebook you can
#
# - read a *credit strip* and say which step helped, which hurt, by how much;
# - compute the number behind every chip, and check that it is exact;
# - tell the *first drop* in an answer from its *last missed chance*;
# - break the method on purpose, and say why it broke.
#
# Three new symbols: the value $V$, the temperature $\alpha$, and $Z$, whose
# logarithm is the value of the empty page. ($R$ is the reward, $p$ a plain
# chance, and $s_t$ just means "the first $t$ steps".)

# %% [markdown]
# ## The poster's own question
#
# A poster on GN-IVO shows a solution in seven steps with one mark at the very
# end, and writes two question marks where the value of a step should stand.
# Here is that problem, and two of the ways in which a writer solved it.

# %%
import numpy as np

import toy_envs
from gnivo_edu import course, exact, figures
from gnivo_edu.course import check

problem = toy_envs.PosterProblem()
print(problem.question)
for label in ("right", "wrong at 3"):
    answer = problem.examples[label]
    reward = problem.reward([answer], [len(answer)])[0]
    print(f"\n{label.upper()}  (reward {reward:.0f})")
    print(problem.decode(answer))

# %% [markdown]
# **Predict.** The second answer ends wrong. Before you scroll: which *one*
# step do you blame, and how much of the blame does it get? Write the number
# down. Many of us pick one step and give it everything.
#
# **Run.** The next cell shows what each step of four answers was worth. Blue
# with ▲ is a gain, orange with ▼ a loss; white changed almost nothing. A step
# is called *right* if it goes on correctly from the line above it, even where
# that line is already wrong.

# %%
tree = exact.enumerate_tree(problem)
key = exact.solve(tree, alpha=0.5)
figures.credit_strips(
    key, problem.examples, problem.vocabulary, problem.step_names
)

# %% [markdown]
# **Explain.** Look at *wrong at 3*. Squaring wrongly cost something, as you
# would expect. But step 7 cost more! Step 7 is the check: it could have
# caught the mistake, and did not. Compare it with *wrong at 3, rescued*,
# where the very same mistake was caught, and the check *earned* credit. (And
# why do careful steps on a wrong line still gain a little? Because a second
# mistake would make the rescue less likely.)
#
# So two different questions hide in "who is to blame?": where did the chance
# of ending right **first drop**, and where was the **last chance missed**?
# The strip answers both.

# %%
rescue = problem.examples["wrong at 3, rescued"]
print("the rescue:", problem.step_text(rescue), "\n")
answer = problem.examples["wrong at 3"]
for t in range(8):
    chance = key.success_probability(answer[:t])
    done = f"after {problem.step_names[t - 1]}" if t else "at the start"
    print(f"{done:<20} chance of ending right {chance:6.1%}")

# %% [markdown]
# ## Where do these numbers come from?
#
# From counting. At each of seven steps the writer goes on rightly or wrongly,
# so there are only so many answers, and we can list all of them with their
# probabilities and rewards. Nothing is sampled, nothing is estimated.
# (Notebook 01 lets you write the list yourself.)

# %%
answers = np.array(list(tree.answers()))
probability = np.exp(tree.prefix_logps[-1])
reward = problem.reward(answers, np.full(len(answers), 7))
print(f"{len(answers)} answers; "
      f"probabilities sum to {probability.sum():.12f}")
print(f"the writer ends right {probability @ reward:.1%} of the time")

# %% [markdown]
# ## The number behind a chip
#
# Take any beginning of an answer, a *prefix* $s_t$ of $t$ steps. Its value is
#
# $$V(s_t) = \log \mathbb{E}_{\text{ref}}\big[e^{R/\alpha} \mid s_t\big],
# \tag{0.1}$$
#
# the average of $e^{R/\alpha}$ over all ways the writer might go on from
# there, then a logarithm. The temperature $\alpha$ says how much reward one
# *nat* (one unit of log-probability) is worth. The value of the empty prefix
# has a name of its own, $\log Z$.
#
# The **credit** of a step is how much it moved the value,
# $V(s_t) - V(s_{t-1})$. Credits of an answer add up:
#
# $$\sum_t \big[V(s_t) - V(s_{t-1})\big] = R/\alpha - \log Z. \tag{0.2}$$
#
# Nothing in this notebook is graded, but two small things you can do
# yourself, and a check will say at once whether they are right. Stuck?
# `check.step_credit.hint()` goes one hint further at every call. (Exercises
# are numbered through the whole course, by topic; these are 8 and 9.)
#
# ### Exercise 8 · The credit of every step (5 minutes, easy, important)
#
# `values` holds $V(s_0) \dots V(s_{T-1})$, the values *before* each step. At
# the end nothing is left open, so the last value is $R/\alpha$.

# %%
def step_credit(values, reward, alpha):
    ### BEGIN SOLUTION
    after = np.append(values[1:], reward / alpha)
    return after - values
    ### END SOLUTION


check.step_credit(step_credit)

# %% [markdown]
# Let us not believe (0.1) either. We compute it from the list of answers
# alone, and hold it against the library, which works backwards from the last
# step and never looks at whole answers. Then your credits, for every answer.

# %%
alpha = 0.5
largest = 0.0
for t in range(8):
    for prefix in {tuple(a) for a in answers[:, :t].tolist()}:
        through = (answers[:, :t] == prefix).all(axis=1)
        share = probability[through] / probability[through].sum()
        value = np.log(share @ np.exp(reward[through] / alpha))
        largest = max(largest, abs(value - key.soft_value(prefix)))
print("equation (0.1) against the library, within 1e-12 nats:",
      largest < 1e-12)

left_over = 0.0
for answer, r in zip(answers.tolist(), reward, strict=True):
    values = np.array([key.soft_value(answer[:t]) for t in range(7)])
    total = step_credit(values, r, alpha).sum()
    left_over = max(left_over, abs(total - (r / alpha - key.log_z)))
print("equation (0.2) for all answers, within 1e-12 nats:",
      left_over < 1e-12)

# %% [markdown]
# The same sum as a picture: from $\log Z$ on the left, step by step, to
# $R/\alpha$ on the right. What is left over is printed under the axis.

# %%
figures.waterfall(key, problem.examples["wrong at 3"], problem.step_names)

# %% [markdown]
# ## Nats are opaque, chances are not
#
# Where the reward is 1 for ending right and 0 for ending wrong, a value hides
# an everyday number: the chance $p$ of ending right from here. By (0.1),
#
# $$e^{V} = (1 - p) + p\, e^{1/\alpha}. \tag{0.3}$$
#
# ### Exercise 9 · From nats to a chance (4 minutes, easy, useful)
#
# Solve (0.3) for $p$. One trap: at $\alpha = 0.001$, $e^{1/\alpha}$ is no
# number a computer can hold. Multiply both sides by $e^{-1/\alpha}$ first.

# %%
def success_probability(values, alpha):
    ### BEGIN SOLUTION
    certain = -np.expm1(-1 / alpha)  # 1 - e^{-1/alpha}
    return (np.exp(values - 1 / alpha) - np.exp(-1 / alpha)) / certain
    ### END SOLUTION


check.success_probability(success_probability)

# %% [markdown]
# ## Turn alpha
#
# **Predict.** A small $\alpha$ makes reward precious. Will the credits of the
# mistake and of the missed chance keep their proportions? Will the *chance of
# ending right* after each step change?

# %%
def strips(alpha, scale=None):
    return figures.credit_strips(
        exact.solve(tree, alpha), problem.examples, problem.vocabulary,
        problem.step_names, scale=scale,
    )


if course.is_static():
    from IPython.display import display

    for alpha in (0.1, 0.5, 2.0):
        display(strips(alpha))
else:
    import ipywidgets

    ipywidgets.interact(
        strips, scale=ipywidgets.fixed(None),
        alpha=ipywidgets.FloatLogSlider(
            value=0.5, base=10, min=-1.3, max=0.7, step=0.05),
    )

# %%
for alpha in (0.1, 0.5, 2.0):
    sol = exact.solve(tree, alpha)
    first, last = sol.step_credit(problem.examples["wrong at 3"])[[2, 6]]
    chance = sol.success_probability((0, 0, 1))
    print(f"alpha {alpha}: first drop {first:6.2f}, "
          f"missed chance {last:6.2f}, ratio {last / first:5.1f}; "
          f"chance after step 3: {chance:.1%}")

# %% [markdown]
# **Explain.** The chance of ending right belongs to the writer: no
# temperature can change it. The *credits* do change. At small $\alpha$ the
# last missed chance dwarfs everything, because going from "maybe" to "no" is
# a cliff on a logarithmic scale; at large $\alpha$ credits become differences
# of chances, divided by $\alpha$. A credit without its $\alpha$ and its
# reference means nothing, which is why every caption names both.

# %% [markdown]
# ## A control that must fail
#
# A number that cannot be wrong tells us nothing. GN-IVO (notebook 04) learns
# $V$ from groups of answers weighted by $e^{R/\alpha}$, and finds it up to
# one constant per step. A popular shortcut normalises these weights within
# each group. **Predict:** harmless, or not?

# %%
honest = exact.verify_constant_shift(tree, alpha=0.5, group_size=3)
broken = exact.softmax_weights(tree, alpha=0.5, group_size=3)
print("raw weights miss V by less than 1e-9 nats:",
      honest.max_abs_error < 1e-9)
print("normalised weights miss V by, step by step:",
      " ".join(f"{miss:.3f}" for miss in broken.per_depth))
assert honest.passed and broken.violation > 1e-4

# %% [markdown]
# **Explain.** Before the last step the shortcut finds something that is not
# $V$. At the last step it is harmless: nothing is left open there. We come
# back to this in notebook 04; here it shows that our checks can fail.

# %% [markdown]
# ## What we did not show
#
# - One writer, one problem, 128 answers. A language model has too many
#   answers to list; notebook 05 and the acts to come are about that.
# - Which steps count as "right" was stated by us. The credits did not use it:
#   they only saw the final reward.
# - Credit says what a step was worth *to this writer*. A better writer would
#   rescue more mistakes, and mistakes would cost less.
#
# **The credit table.** We fill one cell in each notebook:
#
# | question | answer so far |
# |---|---|
# | What is one step worth? | $V(s_t) - V(s_{t-1})$: it exists, and adds up |
# | What are the probabilities of all answers? | *notebook 01* |
# | What does the best policy look like? | *notebook 02* |
# | Why is credit $\log \pi^*/\pi_{\text{ref}}$? | *notebook 03* |
# | How can groups find it without a critic? | *notebook 04* |
# | How can a model learn it from samples? | *notebook 05* |
#
# **Links.** The poster and abstract of *Group-Normalized Implicit Value
# Optimization for Language Models* (Choi et al., ICLR 2026); the library
# behind this notebook, `gnivo_edu/exact/`, in particular `solution.py`; the
# problem itself, `toy_envs/poster_problem.py`.
#
# **Next.** Verify everything on seven environments at once with
# `gnivo-edu verify`, then go on to 01, *An answer is a walk down a tree*.
