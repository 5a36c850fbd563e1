# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 · GN-IVO learns where it went wrong
#
# **Claim.** One batch blames the whole answer; many batches find the step.
#
# *Learner time: about 50 minutes. Run time: under a minute on a laptop, no
# GPU. From here on we use torch.*
#
# **So far we know** (notebook 04) that comparing answers within a group gives
# $V$ up to one constant per depth, and that a policy pins this constant.
# **We still cannot** do it as a language model has to: from a few sampled
# answers at a time, without a list of all of them.
#
# After this notebook you can
#
# - read the implicit value of every prefix off a policy;
# - write the loss of GN-IVO, for answers of equal and of unequal length;
# - explain why one group cannot tell the steps of an answer apart, and how
#   many groups do;
# - train a policy by sampled groups, and check it against the exact key;
# - say what happens when the reference moves along.
#
# Three new symbols: the policy in training $\pi_\theta$, the log-ratio of a
# prefix $\rho_t$, and the policy that draws the answers, $\pi_{\text{old}}$.

# %% [markdown]
# ## One group
#
# Eight answers to the poster's problem, drawn from the reference. All that
# GN-IVO gets to see is each answer and its reward $R$. The colours are what
# *we* know, since we have counted every answer: the exact credit of each
# step, ✓ for a right one, ✗ for a wrong one. Rows are sorted by reward.

# %%
import numpy as np
import torch

import toy_envs
from gnivo_edu import exact, figures, objectives, policies, training
from gnivo_edu.course import check

torch.set_num_threads(1)
problem = toy_envs.PosterProblem()
tree = exact.enumerate_tree(problem)
alpha = 0.5
key = exact.solve(tree, alpha)

# %% tags=["tolerance=0.3"]
old = policies.TabularLM.from_mdp(problem)
draw = torch.Generator().manual_seed(7)
group = policies.sample_groups(old, problem, 8, generator=draw)
answers = group.tokens[0].tolist()
figures.sample_map(key, answers, ["✓", "✗"])

# %% [markdown]
# **Predict.** One gradient step on this group. In the answers that ended
# wrong, which step will be blamed the most: the mistake, the missed check at
# the end, or all seven alike? Keep your guess; we need two tools first.
#
# ## A value inside every policy
#
# Notebook 03 said that the best policy carries $V$ inside it. Any policy
# carries *some* value in the same place: by how much it has made a prefix
# more probable than the reference did,
#
# $$\rho_t = \log \pi_\theta(s_t) - \log \pi_{\text{ref}}(s_t).
# \tag{5.1}$$
#
# ### Exercise 12 · The implicit value (8 minutes, easy, important)
#
# `policy_logps` and `reference_logps` hold one row per answer and one
# log-probability per token; only the first `lengths` of a row are real. What
# comes after is padding, and may be anything. A finished answer keeps its
# $\rho$. Stuck? `check.prefix_logratio.hint()`.

# %%
def prefix_logratio(policy_logps, reference_logps, lengths):
    ### BEGIN SOLUTION
    written = np.arange(policy_logps.shape[1]) < lengths[:, None]
    logratio = np.where(written, policy_logps - reference_logps, 0.0)
    return np.cumsum(logratio, axis=1)
    ### END SOLUTION


check.prefix_logratio(prefix_logratio)

# %% [markdown]
# Try it on our eight answers, with the *best* policy in place of
# $\pi_\theta$. If $\rho_t$ is a value, then $\rho_t + \log Z$ should be $V$.

# %%
def token_logps(tables, answers):
    """log-probability of each token of each answer, [K, T]."""
    return np.array([
        [tables[t][tree.index(y[:t])[1], y[t]] for t in range(len(y))]
        for y in answers
    ])


reference_logps = token_logps(tree.step_logps, answers)
best_logps = token_logps(key.optimal_step_logps, answers)
rho = prefix_logratio(best_logps, reference_logps, np.full(8, 7))
true = np.array([[key.soft_value(y[:t]) for t in range(1, 8)]
                 for y in answers])
print("rho + log Z is V within 1e-12 nats:",
      bool(np.abs(rho + key.log_z - true).max() < 1e-12))

# %% [markdown]
# ## The loss
#
# Take the group loss of notebook 04 and put $\rho_t$ where the free value
# stood. That is all; the poster calls it Equation 9:
#
# $$L = -\sum_{t=1}^{T} \sum_i w_i \Big(\rho_t^i
# - \log \sum_j e^{\rho_t^j}\Big), \qquad w_i = e^{R_i/\alpha}. \tag{5.2}$$
#
# ### Exercise 13 · The loss of GN-IVO (10 minutes, medium, essential)
#
# Everything is summed, over the depths and over the group; the softmax runs
# over the group. A $\rho$ may be as large as 1000.

# %%
def gnivo_loss(prefix_logratio, rewards, alpha):
    ### BEGIN SOLUTION
    weights = np.exp(rewards / alpha)
    log_q = prefix_logratio - np.logaddexp.reduce(prefix_logratio, axis=0)
    return -(weights @ log_q).sum()
    ### END SOLUTION


check.gnivo_loss(gnivo_loss)

# %%
policy = policies.TabularLM.from_mdp(problem)
batch = policies.make_group_batch(policy, problem, group)
library = objectives.gnivo(batch, alpha=alpha).loss
yours = gnivo_loss(np.zeros((8, 7)), batch.rewards[0].numpy(), alpha)
print(f"the library's loss of this group {library.item():.6f}")
print(f"yours, at the start where rho = 0 {yours:.6f}")

# %% [markdown]
# ## Who gets blamed?
#
# Now the prediction. Training starts at $\pi_\theta = \pi_{\text{old}}$, so
# all $\rho$ are 0 and every share $q_i$ is $1/K$. The push of notebook 04
# becomes
#
# $$-\frac{\partial L}{\partial \rho_t^i} = w_i - \frac{W}{K}
# \quad\text{at every } t. \tag{5.3}$$
#
# We do not trust ourselves and let torch differentiate the library's loss.
# Token $l$ is part of the prefixes $t = l, \dots, T$, so we divide its push
# by the number of prefixes that contain it.

# %%
slope, = torch.autograd.grad(library, batch.policy_logps)
contained_in = torch.arange(7, 0, -1)
push = (-slope[0] / contained_in).numpy()
print("push per prefix      step 1     2     3     4     5     6     7")
for y, reward, row in zip(answers, batch.rewards[0], push, strict=True):
    text = "".join("✓✗"[token] for token in y)
    print(f"{text}  R = {reward:.0f}   ",
          " ".join(f"{p:+5.2f}" for p in row))

# %% [markdown]
# **Explain.** Every row is one number, seven times. The mistake, the missed
# check, and five innocent steps: all blamed alike. (Summed over the depths,
# the first token is pushed seven times and the last one once, in every answer
# alike; that knows nothing of mistakes either.) A reviewer of the paper asked
# just this: is that not the same as rewarding whole answers?
#
# For one group it is. Now look *down* a column instead. The answers that went
# wrong at step 3 began just like the right ones, and on that common beginning
# their pushes cancel. Prefixes are shared, and rewards differ. Averaged over
# all groups that contain a prefix $s_t$, at the start,
#
# $$\mathbb{E}\Big[w_i - \frac{W}{K} \,\Big|\, s_t\Big]
# = \Big(1 - \frac{1}{K}\Big)\big(e^{V(s_t)} - Z\big). \tag{5.4}$$
#
# The right side has a $V(s_t)$ in it. It *can* tell steps apart.
#
# **Predict.** How many groups until you see it with the naked eye?
#
# **Run.** We follow the answer that goes wrong at step 3 and is not rescued.

# %% tags=["tolerance=0.3"]
wrong = problem.examples["wrong at 3"]


def mean_push(groups, seed):
    """Average (5.3) over the sampled answers through each prefix."""
    draw = torch.Generator().manual_seed(seed)
    many = policies.sample_groups(old, problem, 8, [0] * groups, draw)
    tokens = many.tokens.numpy()
    rewards = problem.reward(tokens.reshape(-1, 7), np.full(8 * groups, 7))
    weights = np.exp(rewards.reshape(groups, 8) / alpha)
    push = weights - weights.mean(axis=1, keepdims=True)
    same = np.cumprod(tokens == np.array(wrong), axis=2)
    return (same * push[..., None]).sum((0, 1)) / same.sum((0, 1))


print("after step", " " * 8, "     ".join("1234567"))
for groups in (100, 1_000, 10_000):
    row = " ".join(f"{p:+5.2f}" for p in mean_push(groups, seed=1))
    print(f"{groups:>6} groups    {row}")
values = np.array([key.soft_value(wrong[:t]) for t in range(1, 8)])
exact_push = 7 / 8 * (np.exp(values) - np.exp(key.log_z))
print("         exact   ", " ".join(f"{p:+5.2f}" for p in exact_push))

# %% [markdown]
# **Explain.** Upwards while the answer is on its way, down after the mistake,
# further down after the missed check. One reward per answer, the same push on
# all its prefixes, and still the average is different for each prefix.
#
# ## Many groups
#
# Now the real thing. One group of eight answers, one gradient step (Adam,
# with a step size that goes down to zero), and on to the next group. No
# critic, no $\log Z$, no exact expectation. We look in after 1, 10, 100 and
# 1000 groups.
#
# **Predict.** Which step of our wrong answer will be found first: the mistake
# at step 3, or the missed check at step 7?
#
# **Run.** It takes a few seconds.

# %% tags=["tolerance=0.3"]
powers = [2**n for n in range(1, 10)]
run = training.train(
    problem, alpha, group_size=8, steps=1000, groups_per_step=1,
    learning_rate=0.02, record_at=[1, 10, 100, 1000, *powers], seed=0,
)
place = {record.groups: i for i, record in enumerate(run.records)}
print(f"KL from the best policy: {run.records[0].kl:.3f} nats before,"
      f" {run.records[-1].kl:.3f} after")

# %%
rows = {f"{n} group{'s' * (n > 1)}": run.credits(place[n], wrong)
        for n in (1, 10, 100, 1000)}
rows["exact"] = key.step_credit(wrong).tolist()
words = [problem.vocabulary[token] for token in wrong]
full = np.abs(rows["exact"]).max()
figures.CreditStrips(
    dict.fromkeys(rows, words), rows, problem.step_names,
    "credit read off the policy, nats; reference: the initial model; "
    f"alpha = {alpha:g}; full colour at ±{full:.2f}", scale=full,
)

# %% [markdown]
# **Explain.** Read it from top to bottom. After one group, next to nothing.
# After ten, the mistake at step 3 stands out: many answers pass there. After
# a hundred, the missed check has overtaken it. After a thousand you can
# hardly tell the learned row from the exact one, and nobody ever told the
# policy which step was wrong.
#
# The same thing along the answer: the implicit value $\rho_t + \log Z$
# (we borrow $\log Z$ from the key, to put both lines at one height).

# %%
figures.value_lines(key, wrong, problem.step_names, {
    f"{n} groups": figures.implicit_values(key, run.tables[place[n]], wrong)
    for n in (10, 100, 1000)
}, shade="10 groups")

# %% [markdown]
# ## How far is it from the best policy?
#
# KL is one distance. Another is the error of the implicit value: its mean
# over the prefixes that the reference writes, or the largest of all.
#
# **Predict.** Three curves, and all should fall. Should they?

# %%
def typical_error(tables):
    """Mean |rho + log Z - V| over prefixes, as the reference meets them."""
    logps, errors = np.zeros(1), []
    for t, table in enumerate(tables, start=1):
        logps = (logps[:, None] + table).ravel()
        law = tree.prefix_logps[t]
        miss = logps - law + key.log_z - key.values[t]
        errors.append(np.exp(law) @ np.abs(miss))
    return float(np.mean(errors))


records = run.to_dicts()
for record, tables in zip(records, run.tables, strict=True):
    record["typical"] = typical_error(tables)
figures.training_curves(
    {"GN-IVO": records},
    {"kl": "KL to the best policy, nats",
     "typical": "typical value error, nats",
     "value_error": "worst value error, nats"}, alpha,
)

# %%
logps = np.zeros(1)
for table in run.tables[-1]:
    logps = (logps[:, None] + table).ravel()
miss = np.abs(logps - tree.prefix_logps[7] + key.log_z - key.values[7])
worst = int(miss.argmax())
text = "".join("✓✗"[token] for token in tree.prefix(7, worst))
times = 8_000 * np.exp(tree.prefix_logps[7][worst])
print(f"the worst answer is {text}, off by {miss[worst]:.1f} nats; of the")
print(f"8,000 answers we drew, about {times:.0f} should have been this one")

# %% [markdown]
# **Explain.** The worst error does not fall. How could it? That answer was
# hardly ever written, and sampling teaches what is sampled. For the KL it
# does not matter much: the best policy hardly ever writes it either.
#
# ## Answers of unequal length
#
# Real answers stop when they please. Cut to depth $t$, a finished answer is
# simply itself, and it stays in the group:
#
# $$L = -\sum_{t=1}^{\max_i T_i} \sum_i w_i \Big(\rho_t^i
# - \log \sum_j e^{\rho_t^j}\Big), \qquad \rho_t^i = \rho_{T_i}^i
# \text{ for } t > T_i. \tag{5.5}$$
#
# ### Exercise 17 · Unequal lengths (10 minutes, hard, important)
#
# Write (5.5). You have `prefix_logratio` and `gnivo_loss` already. The
# padding may be wider than the longest answer.

# %%
def gnivo_loss_unequal_lengths(policy_logps, reference_logps, lengths,
                               rewards, alpha):
    ### BEGIN SOLUTION
    longest = lengths.max()
    rho = prefix_logratio(policy_logps[:, :longest],
                          reference_logps[:, :longest], lengths)
    return gnivo_loss(rho, rewards, alpha)
    ### END SOLUTION


check.gnivo_loss_unequal_lengths(gnivo_loss_unequal_lengths)

# %% [markdown]
# Why so particular? A popular way to be "fair" to short answers divides each
# answer's terms by its own length. On the bracket language of notebook 01,
# with a uniform reference, we can minimise both losses exactly, over all
# pairs of answers.
#
# **Predict.** A factor $1/T_i$ per answer: does it move the optimum?

# %%
from gnivo_edu.training import distance_from_key


def miss_at_the_minimum(lengths):
    brackets = toy_envs.Brackets(horizon=4)
    model = policies.TabularLM.from_mdp(brackets)
    law = policies.tabulate(model, brackets)
    pairs = policies.all_groups(brackets, law, group_size=2)
    solution = exact.solve(exact.enumerate_tree(brackets, law), alpha)
    optimiser = torch.optim.LBFGS(
        model.parameters(), max_iter=500, tolerance_grad=1e-12,
        tolerance_change=0.0, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        batch = policies.make_group_batch(model, brackets, pairs)
        loss = objectives.gnivo(batch, alpha=alpha, lengths=lengths).loss
        loss.backward()
        return loss

    optimiser.step(closure)
    tables = policies.tabulate(model, brackets)
    return distance_from_key(tables, solution)[1]


# %%
for name, rule in (("summed, as in (5.5)", "sum_max"),
                   ("divided by own length", "own")):
    miss = miss_at_the_minimum(rule)
    print(f"{name:<22} misses V by {miss:.3f} nats at most")

# %% [markdown]
# **Explain.** How long an answer will get depends on its future. Dividing by
# it weighs prefixes by what comes later, and the optimum moves.
#
# ## When the reference moves
#
# Algorithm 1 of the poster does not keep $\pi_{\text{old}}$: after every
# update it becomes the policy just trained. Then $\rho = 0$ whenever the loss
# is differentiated, the softmax of the group is $1/K$ for every answer, and
# (5.2) is a policy gradient: with the advantage $w_i - \sum_j w_j / K$, and
# token $l$ counted $T - l + 1$ times, once for each prefix that holds it. The
# softmax of log-ratios first acts when the reference stays for several
# updates, as it did above. Let it stay until the loss is minimal, then move
# it, and start anew: round $n$ ends at
#
# $$\pi_n = \frac{\pi_0\, e^{nR/\alpha}}{Z_n}. \tag{5.6}$$
#
# **Predict.** Where does that lead?

# %%
small = toy_envs.RandomTree(vocab_size=2, horizon=3)
for done in training.exact_rounds(small, alpha, rounds=6):
    print(f"round {done.round}: at (5.6) within 1e-9 nats:", done.kl < 1e-9,
          f"  expected reward {done.expected_reward:.3f}")
best = exact.enumerate_tree(small).rewards.max()
print(f"the single best answer has reward {best:.3f}")

# %% [markdown]
# **Explain.** Towards the one best answer: each round is one more helping of
# $R/\alpha$, with nothing to hold it back. (The paper is reported to keep a
# penalty towards the *initial* model as well.) And it is why every caption
# here says which reference it means.
#
# ## A control that must fail
#
# Notebook 04 showed that softmax weights fit the wrong value. **Predict:**
# does it matter when we *train*? Small groups, a small $\alpha$, the same
# samples for both.

# %% tags=["tolerance=0.3"]
scene = toy_envs.RandomTree(vocab_size=3, horizon=3)
runs = {
    f"{weights} weights": training.train(
        scene, 0.2, group_size=2, steps=600, weights=weights,
        record_at=[16 * 2**n for n in range(10)], seed=0)
    for weights in ("raw", "softmax")
}
ends = {name: r.records[-1].kl for name, r in runs.items()}
for name, kl in ends.items():
    print(f"{name:<16} end {kl:.4f} nats from the best policy")
assert ends["softmax weights"] > 20 * ends["raw weights"]
figures.training_curves(
    {name: r.to_dicts() for name, r in runs.items()},
    {"kl": "KL to the best policy, nats"}, alpha=0.2, note="groups of 2")

# %% [markdown]
# **Explain.** For a while the two fall together. Then softmax weights level
# out. They are not slow: they have arrived, at another policy. Raw weights
# keep falling.
#
# ## Play
#
# Drag time. Then change the group size to 2 or 16 in the training cell, or
# $\alpha$ in the first cell: what becomes noisier, what slower?

# %%
def at(groups):
    learned = figures.implicit_values(key, run.tables[place[groups]], wrong)
    return figures.value_lines(
        key, wrong, problem.step_names, {f"{groups:g} groups": learned})


figures.slide(at, list(place), still=[32], name="groups")

# %% [markdown]
# ## What we did not show
#
# - A table learns each prefix for itself. A transformer shares parameters
#   between prefixes; that is for a later act.
# - One problem, 0/1 rewards, a reference that writes every prefix now and
#   then. When all rewards of a group tie, a group teaches little.
# - No comparison with other algorithms yet: that is the second act.
#
# **The credit table.** The first act is complete:
#
# | question | answer so far |
# |---|---|
# | What is one step worth? | $V(s_t) - V(s_{t-1})$ |
# | What are the probabilities of all answers? | products of choices; they sum to 1 |
# | What does the best policy look like? | $\pi_{\text{ref}}\, e^{R/\alpha} / Z$: a tilt, not a win |
# | Why is credit $\log \pi^*/\pi_{\text{ref}}$? | because $\pi^* = \pi_{\text{ref}}\, e^{V}/Z$ at every prefix |
# | How can groups find it without a critic? | by comparing: $V$ up to a shift, which a policy pins |
# | How can a model learn it from samples? | shared prefixes, different rewards: the average finds the step |
#
# **Links.** `gnivo_edu/objectives/gnivo.py`, the loss;
# `gnivo_edu/training/algorithm1.py`, the loop you just ran;
# `gnivo_edu/training/rounds.py`, the moving reference; the poster of GN-IVO,
# Equation 9 and Algorithm 1.
#
# **Next.** This was the first act. Pose a problem of your own with
# `toy_envs.TokenMDP`, or look inside a real model:
# `gnivo-edu verify --model PATH_OR_HUB_ID`. Or go on with 06, *What a critic
# is for*: four older methods, the same answer, and what a critic buys.
