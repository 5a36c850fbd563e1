# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 · An answer is a walk down a tree
#
# **Claim.** The probability of an answer is the product of its choices, so a
# policy is a tree and every answer is one walk down it.
#
# *Learner time: about 35 minutes. Run time: seconds, on any laptop, no GPU,
# no torch.*
#
# **So far we know** (notebook 00) that every step of an answer has an exact
# credit, once all answers can be listed. **We still cannot** list them
# ourselves, nor say how likely each one is.
#
# After this notebook you can
#
# - read a policy as a tree, and an answer as a walk;
# - compute the log-probability of an answer, its end token included;
# - list every answer of a token MDP, of any length, exactly once;
# - say why a language model's probabilities must sum to one over *answers*,
#   and what breaks that.
#
# Three new symbols: the policy $\pi$, the length $L$ of an answer, and the
# horizon $T$, the longest it can be.

# %% [markdown]
# ## A tiny language
#
# The environment `Brackets` has three tokens: an opening bracket, a closing
# bracket, and the end token, shown as a full stop. An answer is right if it
# has brackets, they balance, and it stops in time with its end token. So the
# last of the three below earns nothing: it balances, but never stops. The
# author is a *reference policy* with habits of its own:
# at every prefix it prefers some tokens to others.

# %%
import numpy as np

import toy_envs
from gnivo_edu import exact, figures
from gnivo_edu.course import check

mdp = toy_envs.Brackets(horizon=4)
habits = exact.random_reference(mdp.vocab_size, mdp.horizon, seed=3)
tree = exact.enumerate_tree(mdp, habits)
for answer in [(2,), (0, 1, 2), (0, 0, 1, 1)]:
    reward = mdp.reward([answer], [len(answer)])[0]
    print(f"{mdp.decode(answer):<6} length {len(answer)}  "
          f"reward {reward:.0f}")

# %% [markdown]
# **Predict.** How many different answers are there with at most four tokens?
# Is the shortest answer, a lone full stop, likely or not? In the picture, the
# area of a node is the chance of reaching it.
#
# **Run.**

# %%
figures.prefix_tree(
    exact.solve(tree, alpha=1.0), mdp.vocabulary, nodes=24,
    reference="random habits",
)

# %% [markdown]
# **Explain.** A walk starts at the left with probability one. Every choice
# splits the area of a node among its children, so the areas of all leaves add
# up to that of the start. The end token (in a box) makes a leaf: nothing
# follows it. The colours are values, known from notebook 00: the one answer
# that earns the reward is blue, and so is the way to it.
#
# ## The probability of a walk
#
# Write $s_t$ for the state after $t$ tokens. The policy chooses the next one,
# so the probability of an answer $y$ of length $L$ is
#
# $$\pi(y) = \prod_{t=0}^{L-1} \pi(y_{t+1} \mid s_t), \qquad
# \log \pi(y) = \sum_{t=0}^{L-1} \log \pi(y_{t+1} \mid s_t). \tag{1.1}$$
#
# Logarithms turn the product into a sum, which is why everybody stores
# log-probabilities; their unit is the **nat**.
#
# | this course | the poster | what it is |
# |---|---|---|
# | $s_0$ | $y_{<1}$ | the prompt alone, nothing written |
# | $s_t$ | $y_{<t+1}$ | the first $t$ tokens |
# | $s_T$ | $y$ | the whole answer |
#
# ### Exercise 1 · How likely is one answer? (8 minutes, easy, important)
#
# Row `t` of `logps` holds the log-probabilities of the next token after `t`
# tokens. Only the first `length` entries of `tokens` are the answer; the end
# token is one of them. Stuck? `check.sequence_logprob.hint()`.

# %%
def sequence_logprob(logps, tokens, length):
    ### BEGIN SOLUTION
    return sum(logps[t, tokens[t]] for t in range(length))
    ### END SOLUTION


check.sequence_logprob(sequence_logprob)

# %% [markdown]
# ## All walks
#
# One answer is a number; a policy is *all* of them. If we can list every
# answer with its probability, we can compute anything: averages, chances,
# values. That is what "exact" means in this course.
#
# ### Exercise 2 · List every answer (12 minutes, medium, important)
#
# Return all complete answers as pairs `(tokens, probability)`, each once. An
# answer is complete after its end token, or at `horizon` tokens.
# `next_logps(prefix)` gives the log-probabilities of the next token.

# %%
def enumerate_leaves(next_logps, vocab_size, horizon, eos_token_id):
    ### BEGIN SOLUTION
    leaves = []

    def grow(prefix, logp):
        ended = len(prefix) > 0 and prefix[-1] == eos_token_id
        if ended or len(prefix) == horizon:
            leaves.append((prefix, np.exp(logp)))
            return
        row = next_logps(prefix)
        for token in range(vocab_size):
            grow((*prefix, token), logp + row[token])

    grow((), 0.0)
    return leaves
    ### END SOLUTION


check.enumerate_leaves(enumerate_leaves)

# %% [markdown]
# Now with the habits of our writer. The library keeps them as one table per
# depth: prefixes of $t$ tokens are numbered like numbers in base 3, so that
# `(0, 1)` is row $0 \cdot 3 + 1$, and `tree.index` finds the place. The sum
# over all *complete answers* is one:
#
# $$\sum_y \pi(y) = 1. \tag{1.2}$$

# %%
def next_logps(prefix):
    depth, number = tree.index(prefix)
    return tree.step_logps[depth][number]


leaves = enumerate_leaves(next_logps, 3, 4, mdp.eos_token_id)
answers = [tokens for tokens, _ in leaves]
probability = np.array([p for _, p in leaves])
print(f"{len(leaves)} answers; sum of probabilities "
      f"{probability.sum():.12f}")
for i in np.argsort(-probability)[:5]:
    print(f"{mdp.decode(answers[i]):<6} {probability[i]:.3f}")

# %% [markdown]
# The same numbers, found by the library without walking:

# %%
library = {a: tree.prefix_logps[tree.index(a)[0]][tree.index(a)[1]]
           for a in answers}
gap = max(abs(np.exp(library[a]) - p) for a, p in leaves)
print("largest difference below 1e-12:", gap < 1e-12)

# %% [markdown]
# ## A prefix is a bundle of walks
#
# The chance of *reaching* a prefix is the sum over the answers through it,
# and also the product of the choices up to it. Two routes, one number: this
# identity carries the whole of notebook 03.
#
# $$\pi(s_t) = \sum_{y \text{ through } s_t} \pi(y)
# = \prod_{k=0}^{t-1} \pi(y_{k+1} \mid s_k). \tag{1.3}$$

# %%
for prefix in [(0,), (0, 1), (0, 0, 1)]:
    through = sum(p for a, p in leaves if a[:len(prefix)] == prefix)
    steps = [next_logps(prefix[:k])[prefix[k]] for k in range(len(prefix))]
    print(f"{mdp.decode(prefix):<4} by answers {through:.6f}   "
          f"by choices {np.exp(sum(steps)):.6f}")

# %% [markdown]
# ## A control that must fail
#
# Many programs forget that the end token is a choice too: they drop it from
# the sum, as if stopping were free. **Predict:** what do the probabilities of
# all answers sum to then: less than one, one, or more?

# %%
without_end = sum(
    np.exp(sum(next_logps(a[:k])[a[k]]
               for k in range(len(a)) if a[k] != mdp.eos_token_id))
    for a in answers
)
print(f"end token dropped: the 'probabilities' sum to {without_end:.3f}")
assert abs(without_end - 1) > 0.1

# %% [markdown]
# **Explain.** Stopping here and going on from here both claim the same mass,
# so it is counted again at every place where one could have stopped. A loss
# built on such numbers rewards short answers for nothing. (Exercise 1 rejects
# it, and says so.)
#
# ## Play
#
# Change `seed` in the first code cell, or the horizon, and watch the tree.
# With horizon 9, how many answers are there? Where does the count come from?

# %%
for horizon in range(3, 10):
    size = exact.enumerate_tree(toy_envs.Brackets(horizon=horizon))
    print(f"horizon {horizon}: {size.num_sequences:>4} answers, "
          f"{size.num_prefixes:>4} prefixes")

# %% [markdown]
# ## What we did not show
#
# - Trees of real models are far too large to list. `gnivo-edu verify
#   --model` prunes one; notebook 10 does it.
# - Sampling settings such as temperature, top-k or top-p change the policy
#   itself: the tree must be that of the policy that really writes.
#
# **The credit table.**
#
# | question | answer so far |
# |---|---|
# | What is one step worth? | $V(s_t) - V(s_{t-1})$ |
# | What are the probabilities of all answers? | products of choices; they sum to 1 |
# | What does the best policy look like? | *notebook 02* |
# | Why is credit $\log \pi^*/\pi_{\text{ref}}$? | *notebook 03* |
# | How can groups find it without a critic? | *notebook 04* |
# | How can a model learn it from samples? | *notebook 05* |
#
# **Links.** `toy_envs/brackets.py`, the environment;
# `gnivo_edu/exact/tree.py`, the enumeration; Sutton and Barto,
# *Reinforcement Learning*, chapter 3, for MDPs in general.
#
# **Next.** 02, *Tilt, don't win*: what the best policy does to this tree.
