# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # E2 · Why is the loss zero?
#
# **Claim.** The value of a policy-gradient loss says nothing, and may be
# exactly zero while everything is being learned.
#
# *Learner time: about 45 minutes. Run time: under half a minute on a laptop,
# no GPU. Uses torch. Best read after 06 to 08, where the losses are met.*
#
# **So far we know** (notebook 05) how a group of answers and their rewards
# become a gradient. **We still cannot** answer the person who runs a real
# trainer, watches its numbers, and writes at midnight: "my loss is 0.0, what
# is broken?"
#
# This elective takes six questions that users of public trainers ask again
# and again, and answers each by a few lines that compute.
#
# After this notebook you can
#
# - say what a loss of zero means, and what to watch instead;
# - keep a group's mean right when the group is scattered over micro-batches;
# - predict what any objective still learns from a group of equal rewards;
# - build a mask that does not lose the end token, and say what losing costs;
# - name the exact bias of a length normaliser.
#
# Three new symbols: the ratio of a whole answer,
# $u_i = \pi_\theta(y_i)/\pi_{\text{old}}(y_i)$, its advantage $A_i$, and its
# log-ratio $h_i = \log \pi_\theta(y_i)/\pi_{\text{ref}}(y_i)$, which notebook
# 05 called $\rho_T$. As there, a *push* is minus a slope of the loss: what
# gradient descent raises, and by how much.

# %% [markdown]
# ## "My loss is 0.0"
#
# The question that opens thread after thread (`trl#2703`, `trl#3452`): the
# log shows a loss of 0.0 from the first line on. Let us make such a log. The
# poster's problem, RLOO, eight groups of eight answers a step, every answer
# drawn from the very policy that is being trained.

# %%
import functools

import numpy as np
import torch

import toy_envs
from gnivo_edu import exact, figures, objectives, policies, training
from gnivo_edu.course import check
from gnivo_edu.figures.bars import bar_panels
from gnivo_edu.population import questions, ties

torch.set_num_threads(1)
problem = toy_envs.PosterProblem()
alpha = 0.5
key = exact.solve(exact.enumerate_tree(problem), alpha)
reference = policies.TabularLM.from_mdp(problem)
fixed = policies.sample_groups(reference, problem, 8, [0] * 16,
                               torch.Generator().manual_seed(9))


def not_explained(policy):  # what this is comes in a moment
    batch = policies.make_group_batch(policy, problem, fixed, reference)
    return questions.unexplained(batch, alpha)


# %% tags=["tolerance=0.3"]
def practise(sign=1, steps=75):
    """Train with sign times the loss of RLOO; returns policy and log."""
    policy, log = policies.TabularLM.from_mdp(problem), []
    optimiser = torch.optim.Adam(policy.parameters(), lr=0.05)
    draw = torch.Generator().manual_seed(0)
    for step in range(steps + 1):
        drawn = policies.sample_groups(policy, problem, 8, [0] * 8, draw)
        batch = policies.make_group_batch(policy, problem, drawn, reference)
        loss = sign * objectives.rloo(batch, alpha=alpha).loss
        policy.logits.grad, = torch.autograd.grad(loss, [policy.logits])
        log.append({"step": step, "loss": abs(round(loss.item(), 12)),
                    "slope": float(policy.logits.grad.norm())})
        if step % 5 == 0:
            tables = policies.tabulate(policy, problem)
            log[-1]["kl"] = training.distance_from_key(tables, key)[0]
            log[-1]["left"] = not_explained(policy)
        optimiser.step()
    return policy, log


trained, log = practise()
shown = {"loss": "loss", "slope": "size of its slope",
         "kl": "KL to the best policy, nats"}
figures.training_curves({"RLOO": log}, shown, alpha, x="step",
                        x_label="steps")

# %% [markdown]
# The loss is 0 in every single step, to twelve digits. Its slope is not, and
# the policy goes most of the way to the best one.
#
# **Predict.** Where does the zero come from? Take one group of eight, and ask
# for its loss and for its push, answer by answer.
#
# **Run.**

# %% tags=["tolerance=0.3"]
draw = torch.Generator().manual_seed(1)
eight = policies.sample_groups(reference, problem, 8, [0], draw)
batch = policies.make_group_batch(reference, problem, eight)
loss, push = questions.loss_and_push(objectives.rloo, batch, alpha=alpha)
print(f"loss {loss:.6f}")
for tokens, reward, row in zip(eight.tokens[0].tolist(),
                               batch.rewards[0], push[0], strict=True):
    text = "".join("✓✗"[token] for token in tokens)
    print(f"{text}  R = {reward:.0f}   push {row[0]:+.4f}")
total = push[0, :, 0].sum().item()
print("the pushes sum to 0 within 1e-12:", abs(total) < 1e-12)

# %% [markdown]
# **Explain.** The loss is the mean of $u_i A_i$ with its sign turned round.
# The answers come from the policy itself, so every ratio $u_i$ is 1. The
# advantages are rewards minus a baseline made of the group, so they sum to 0.
# Ones times numbers that sum to 0:
#
# $$L = -\frac{1}{K} \sum_i u_i A_i = 0, \qquad
# -\frac{\partial L}{\partial \log \pi_\theta(y_i)} = \frac{A_i}{K}
# \quad\text{where } \pi_\theta = \pi_{\text{old}}. \tag{E2.1}$$
#
# Such a loss is not a quantity to be made small. It is a *device*: something
# whose slope, at this one place, is the gradient we want. Its height is an
# accident of the subtraction.
#
# (A loss of 0 *with a slope of 0*, as in `trl#3857`, is another matter: there
# every group was tied. We come to that.)
#
# ## What to watch instead
#
# Some losses do say something. GVPO is a squared error: how much of the
# differences in reward do the policy's log-ratios *not* explain? Yet, on
# answers drawn from the policy, it pushes exactly as RLOO does, answer by
# answer (whose advantage is made of $R_i - \alpha h_i$, the KL paid out of
# the reward):
#
# $$\underbrace{\frac{\alpha}{K-1} \Big((R_i - \bar R)
# - \alpha\,(h_i - \bar h)\Big)}_{\text{push of GVPO}}
# = \alpha \cdot \underbrace{\frac{A_i}{K}}_{\text{push of RLOO}}.
# \tag{E2.2}$$
#
# Bars are means over the group. The same push; one loss reads 0, the other is
# a measurement. Divide its residual by its target, root mean square over root
# mean square, and you get a number that is 1 at the reference, where nothing
# is explained, and 0 at the best policy, where everything is. (We measure it
# on 16 groups drawn once from the reference: one yardstick for all policies.)

# %% tags=["tolerance=0.3"]
halfway, _ = practise(steps=15)
star = policies.TabularLM.from_tables(problem, key.optimal_step_logps)
print("          RLOO     GVPO     same push?   share not explained")
for name, policy in [("start", reference), ("halfway", halfway),
                     ("trained", trained), ("best", star)]:
    drawn = policies.sample_groups(policy, problem, 8, [0] * 8, draw)
    batch = policies.make_group_batch(policy, problem, drawn, reference)
    zero, a = questions.loss_and_push(objectives.rloo, batch, alpha=alpha)
    height, b = questions.loss_and_push(objectives.gvpo, batch, alpha=alpha)
    same = bool((b - alpha * a).norm() < 1e-12)
    print(f"{name:<8} {abs(zero):.4f}   {height:.4f}   {same!s:<12} "
          f"{not_explained(policy):.3f}")

# %% [markdown]
# ## "The result depends on my micro-batch size"
#
# (E2.2) compares an answer with its group. A trainer, though, shuffles its
# answers and cuts them into micro-batches that fit its memory (`trl#3021`,
# `tt-metal#46548`), and then the answers to one prompt lie in several of
# them. Whose mean is $\bar h$ now?
#
# The way out is a small miracle of subtraction. The brackets of (E2.2) sum to
# 0 in a group, so the slope of the mean never enters:
#
# $$\sum_i \Big((R_i - \bar R) - \alpha\,(h_i - \bar h)\Big)\,
# \nabla \bar h = 0. \tag{E2.3}$$
#
# So compute the means once, over whole groups, *without gradient*; freeze
# them; then cut as you like.
#
# ### Exercise 27 · A group in pieces (8 minutes, medium, essential)
#
# `rewards`, `logratios` and `groups` describe the whole shuffled batch,
# `rows` says which answers this micro-batch holds. Return the left side of
# (E2.2) for these rows. Stuck? `check.frozen_group_mean.hint()`.

# %%
def frozen_group_mean(rewards, logratios, groups, rows, alpha):
    ### BEGIN SOLUTION
    score = rewards - alpha * logratios
    same = groups[rows][:, None] == groups
    size = same.sum(axis=1)
    return alpha / (size - 1) * (score[rows] - same @ score / size)
    ### END SOLUTION


check.frozen_group_mean(frozen_group_mean)

# %% [markdown]
# Your function, micro-batch by micro-batch, against torch's derivative of the
# library's loss on the undivided batch:

# %% tags=["tolerance=0.3"]
drawn = policies.sample_groups(halfway, problem, 4, [0] * 4, draw)
batch = policies.make_group_batch(halfway, problem, drawn, reference)
_, whole = questions.loss_and_push(objectives.gvpo, batch, alpha=alpha)
h = batch.sequence_logratio.detach().numpy().ravel()
R = batch.rewards.numpy().ravel()
prompt = np.repeat(np.arange(4), 4)
order = torch.randperm(16, generator=draw)
collected = np.zeros(16)
for rows in order.split(2):
    print("groups in this micro-batch:", *prompt[rows])
    collected[rows] = frozen_group_mean(R, h, prompt, rows.numpy(), alpha)
target = 4 * whole[..., 0].numpy().ravel()  # a mean over four prompts
print("equal within 1e-12:", bool(abs(collected - target).max() < 1e-12))

# %% [markdown]
# **Predict.** And if each micro-batch takes the mean of whatever part of the
# group it holds? Or of all tokens it holds, a popular way to average?
#
# **Run.** Relative errors of the whole gradient, on answers of unequal
# length this time (the bracket language, rewards drawn at random).

# %% tags=["tolerance=0.3"]
brackets = toy_envs.Brackets(horizon=5)
writer = policies.TabularLM.from_mdp(brackets, seed=1)
base = policies.TabularLM.from_mdp(brackets)
drawn = policies.sample_groups(writer, brackets, 4, [0] * 4, draw)
batch = policies.make_group_batch(writer, brackets, drawn, base)
batch.rewards.copy_(torch.rand(4, 4, generator=draw))
_, whole = questions.loss_and_push(objectives.gvpo, batch, alpha=alpha)
print("size   frozen means   local means   token mean   answer mean")
for size in (1, 2, 4, 8, 16):
    gvpo = [questions.scattered_gvpo(batch, alpha, order, size, means)
            for means in ("whole group", "micro-batch")]
    errors = [questions.relative_error(push, whole) for push in gvpo]
    for kind in ("token-mean", "seq-mean-token-mean"):
        one, cut = (questions.scattered_average(batch, kind, order, each)
                    for each in (16, size))
        errors.append(questions.relative_error(cut, one))
    a, b, c, d = (abs(round(error, 12)) for error in errors)
    print(f"{size:4} {a:12.3f} {b:13.3f} {c:12.3f} {d:13.3f}")

# %% [markdown]
# **Explain.** With one answer in each micro-batch, the local mean is that
# answer's own score: nothing is left to learn, and the error is the whole
# gradient. A mean over the tokens of a micro-batch weighs a token more where
# its neighbours are short; whoever sits beside it changes its weight
# (`trl#7206` has a worked example). A mean over answers does not mind, as
# long as all pieces hold equally many, nor does division by a constant.
#
# Freezing a mean works because (E2.3) holds. A softmax over the group, as in
# GN-IVO, needs more: run the loss once on all log-probabilities, keep its
# slopes, and feed *those* through the network piece by piece. Two passes, and
# any loss is exact.

# %%
scorer, _ = policies.two_pass_scorers(writer, brackets, drawn)
loss = objectives.gnivo(batch, alpha=alpha).loss
true, = torch.autograd.grad(loss, [writer.logits])
writer.zero_grad()
training.two_pass_step(objectives.gnivo, batch, scorer,
                       list(order.split(2)), alpha=alpha)
error = questions.relative_error(writer.logits.grad, true)
print("GN-IVO in micro-batches of 2, error below 1e-12:", error < 1e-12)

# %% [markdown]
# ## "All my rewards are equal"
#
# A hard prompt: four answers, four zeros. `trl#3708`, `verl#5228` and many
# others ask whether such a group is wasted, and propose to throw it away. Let
# us look for one. How often do groups tie?

# %% tags=["tolerance=0.3"]
many = policies.sample_groups(reference, problem, 4, [0] * 400,
                              torch.Generator().manual_seed(2))
size = many.tokens.shape[-1]
R = problem.reward(many.tokens.reshape(-1, size), many.lengths.ravel())
R = R.reshape(-1, 4)
failed = np.flatnonzero(R.max(axis=1) == 0)
print(f"of 400 groups of four, {(R.min(1) == R.max(1)).sum()} are tied; in "
      f"{len(failed)} of them all four answers are wrong")
where = torch.as_tensor(failed[:1])
tied = policies.SampledGroups(
    tokens=many.tokens[where], lengths=many.lengths[where],
    logps=many.logps[where], truncated=many.truncated[where],
    prompt_index=many.prompt_index[where])
for tokens in tied.tokens[0].tolist():
    print("".join("✓✗"[token] for token in tokens))

# %% [markdown]
# **Predict.** Four different wrong answers, reward 0 each. Which of the
# objectives in this library still move the policy? Does it matter where the
# policy is by then?
#
# **Run.** Every objective there is, at three policies. Each bar is the size
# of the push, divided by its size if one of the four answers had been paid.
# Where a critic is asked for, it gets the exact one.

# %%
rows = ties.tied_groups(
    problem, {"reference": reference, "halfway": halfway, "best": star},
    reference, tied, alpha,
    more={"grpo without KL": functools.partial(objectives.grpo, kl="none")})
left = {where: {row.objective: row.share for row in rows
                if row.policy == where}
        for where in ("reference", "halfway", "best")}
# Equal shares, but for rounding, in the order of their names.
share = left["halfway"]
falling = sorted(share, key=lambda name: (-round(share[name], 6), name))
bar_panels(
    {title: {name: left[where][name] for name in falling}
     for where, title in [("reference", "at the reference"),
                          ("halfway", "halfway through training"),
                          ("best", "at the best policy")]},
    "push in a tied group, as a share of the push when one answer is paid",
    "four wrong answers; reference: the initial model; alpha = 0.5")

# %% [markdown]
# **Explain.** Four families.
#
# *Nothing, ever.* GRPO and Dr. GRPO without a KL term, and GSPO, CISPO and
# DAPO, which have none: centred rewards are 0, and there is nothing else in
# the loss.
#
# *Level the log-ratios.* Rewards equal means, at the best policy, log-ratios
# equal. So whatever has drifted apart is drawn together again:
#
# $$\text{push of GVPO on } y_i = -\frac{\alpha^2}{K-1}\,(h_i - \bar h),
# \qquad
# \text{of GN-IVO on } s_t^i = W \Big(\frac1K - q_i\Big). \tag{E2.4}$$
#
# (The second for the prefixes of one depth, in the letters of notebook 04;
# `group_value` is the same with a value of its own.)
# At the reference there is nothing to level; at the best policy equal answers
# *are* level, and GVPO, RLOO and Online DPO fall silent. GN-IVO does not
# quite: prefixes of answers of equal reward need not have equal values. Its
# remainder cancels only in the average over all groups.
#
# *Compare with a critic.* DRO, OREO and PPO know that four failures are worse
# than expected, and push even at the reference. This is what a critic buys.
# At the best policy an exact critic expected just this, and they rest.
#
# *Something else.* GRPO's KL term and VIMPO pull log-ratios back to 0, and go
# on pulling at the best policy. SFT on winners imitates four losers. The
# teaching loss `value_mse` never rests in a single group.
#
# The table says it in two numbers: *net* is +1 if all answers are raised, -1
# if all are lowered, 0 if they are moved against each other only; *levels* is
# 1 if the push is opposite to the log-ratios.

# %%
print(f"{'halfway':<16} {'net':>6} {'levels':>8}")
for row in rows:
    if row.policy == "halfway" and row.push > 1e-12:
        levels = f"{row.levels:8.2f}" if row.levels == row.levels else ""
        print(f"{row.objective:<16} {row.net:6.2f} {levels}"
              .replace("-0.00", " 0.00").rstrip())

# %% [markdown]
# (PPO's net is 0 because it whitens its advantages: with one group in the
# batch that takes the news "all bad" out again.)
#
# ## "I put the KL into the loss, and it does nothing"
#
# One cell for a subject that has an elective of its own, E1 (`trl#6503`,
# `torchforge#664`). Average each estimator, and its slope, over all answers:

# %%
for kind in ("k1", "k2", "k3"):
    value, slope = questions.kl_in_the_loss(
        problem, halfway, reference, kind)
    print(f"{kind}: expected value {value:.4f} nats, "
          f"size of the expected slope {abs(round(slope, 12)):.4f}")

# %% [markdown]
# The plainest estimator, k1, has the right value on average and no slope on
# average: a perfect thermometer, and no heater.
#
# A KL term that does act brings its own puzzle: the loss starts at 0 and then
# *rises* (`open-r1#239`). GRPO with k3, at three moments of our training:

# %% tags=["tolerance=0.3"]
for name, policy in [("start", reference), ("halfway", halfway),
                     ("trained", trained)]:
    drawn = policies.sample_groups(policy, problem, 8, [0] * 8, draw)
    batch = policies.make_group_batch(policy, problem, drawn, reference)
    out = objectives.grpo(batch, alpha=0.04, kl="k3")
    print(f"{name:<8} GRPO's loss {abs(out.loss.item()):.6f}   "
          f"0.04 times its KL {0.04 * out.metrics['kl']:.6f}")

# %% [markdown]
# What you read is $\alpha$ times the KL estimate, and nothing else. It rises
# because the policy moves, which is what it was asked to do.
#
# ## "My tokenizer pads with the end token"
#
# Then `mask = tokens != pad` looks innocent and masks the end token as well
# (`trl#4970`). One token in hundreds: who cares?
#
# ### Exercise 29 · What belongs to the answer (6 minutes, easy, important)
#
# Build the mask properly. The first end token of a row is a choice of the
# policy and stays in; what comes after it is padding, whatever it is; a row
# without an end token was cut off, and all of it is answer.

# %%
def answer_mask(tokens, eos):
    ### BEGIN SOLUTION
    is_end = tokens == eos
    ends_before = np.cumsum(is_end, axis=1) - is_end
    return ends_before == 0
    ### END SOLUTION


check.answer_mask(answer_mask)

# %% [markdown]
# **Predict.** The probabilities of all complete answers of the bracket
# language sum to 1. To what do they sum without the end token?

# %%
law = policies.tabulate(base, brackets)
every = policies.all_groups(brackets, law, 1)
ids = every.tokens[:, 0].masked_fill(~every.mask[:, 0], 2).numpy()
logps = every.logps[:, 0].numpy()
for name, mask in [("your mask", answer_mask(ids, eos=2)),
                   ("tokens != pad", ids != 2)]:
    total = np.exp((logps * mask).sum(axis=1)).sum()
    print(f"{name:<14} sum over {len(ids)} answers: {total:.4f}")
for mask in ("lengths", "not pad"):
    gap = questions.credit_gap(brackets, law, alpha, mask)
    print(f"mask from {mask:<8} credits miss R/alpha - log Z by up to "
          f"{abs(round(gap, 12)):.3f} nats")

# %% [markdown]
# **Explain.** Without the factor for stopping, the products are not
# probabilities:
#
# $$\sum_y \prod_{t=1}^{T} \pi(y_t \mid s_{t-1}) = 1, \qquad
# \sum_y \prod_{t=1}^{T-1} \pi(y_t \mid s_{t-1}) > 1,
# \tag{E2.5}$$
#
# (in the second sum, only answers that did end lose a factor). And stopping
# at the right moment is a step with a credit of its own, here up to the
# number above. Masked, it goes to nobody: the theorem of notebook 03 fails,
# and no push ever lands on the choice to stop.
#
# ## "Which length normaliser is right?"
#
# Sum the tokens of an answer, average them, average over the whole batch, or
# divide by a constant? (`trl#3138`, `understand-r1-zero#25`.) With the push
# averaged over all groups drawn from the policy, dividing by the length of
# the answer gives
#
# $$\mathbb{E}\Big[\sum_i \frac{A_i}{K\,T_i} \nabla \log \pi_\theta(y_i)\Big]
# = \Big(1 - \frac1K\Big)\,
# \mathbb{E}\Big[\frac{R - \mathbb{E} R}{T}\, \nabla \log \pi_\theta(y)\Big]
# \tag{E2.6}$$
#
# for advantages $A_i = R_i - \bar R$. Without the $T$ it would be the true
# gradient of the expected reward, up to a constant.
#
# **Predict.** Which of two right answers is then praised more for each of its
# tokens, the short or the long one? And which of two wrong ones is blamed
# less?

# %%
right = brackets.reward(every.tokens[:, 0].numpy(), every.lengths[:, 0])
kinds = {"plain sum": "seq-mean-token-sum",
         "a constant": "seq-mean-token-sum-norm",
         "own length": "seq-mean-token-mean",
         "tokens of the group": "token-mean"}
biases = {name: questions.length_bias(brackets, base, 2, kind)
          for name, kind in kinds.items()}
for name, each in biases.items():
    print(f"{name:<20} off the true direction by "
          f"{abs(round(each.bias, 12)):.3f}")
length, plain = every.lengths[:, 0].numpy(), biases["plain sum"].per_token
bars = {}
for name, each in biases.items():
    ratio = (each.per_token / plain).numpy()
    bars[name] = {
        f"{word}, length {T}": ratio[(right == r) & (length == T)].mean()
        for r, word in [(1, "right"), (0, "wrong")] for T in range(1, 6)
        if ((right == r) & (length == T)).any()}

# %%
bar_panels(bars, "push on a token, relative to the plain sum",
           "bracket language, all pairs of answers; policy: uniform; each "
           "normaliser scaled to match the true gradient best")

# %% [markdown]
# **Explain.** Divided by its own length, a short right answer is praised more
# per token than a long one, and a long wrong answer is blamed less than a
# short one: to fail at length is the cheapest way to fail. Averaging over the
# tokens of the group is milder, and tilts the same way. No learning rate can
# mend that; a constant divisor has nothing to mend.
#
# ## A control that must fail
#
# Suppose somebody turns the sign of the loss round. Surely the log would
# tell?
#
# **Predict** the two loss curves.

# %% tags=["tolerance=0.3"]
unlearned, log_wrong = practise(sign=-1)
runs = {"RLOO": log, "sign turned round": log_wrong}
assert all(record["loss"] == 0 for each in runs.values() for record in each)
assert log_wrong[-1]["kl"] > log_wrong[0]["kl"] > 5 * log[-1]["kl"]
assert log_wrong[-1]["left"] > 2 > 1 > 4 * log[-1]["left"]
figures.training_curves(
    runs, {"loss": "loss", "left": "share not explained",
           "kl": "KL to the best policy, nats"}, alpha, x="step",
    x_label="steps")

# %% [markdown]
# **Explain.** The same flat line. A number that cannot tell learning from
# unlearning measures nothing. The share not explained can: it starts at 1 for
# both, falls for one, and climbs above 1 for the other, whose log-ratios say
# the opposite of the rewards.
#
# ## Play
#
# How often is a group tied? Change the chance of a right answer and the size
# of the group.

# %%
print("chance of a right answer:", *(f"{p:>6}" for p in (0.01, 0.1, 0.5)))
for K in (2, 4, 8, 16, 64):
    share = [p**K + (1 - p)**K for p in (0.01, 0.1, 0.5)]
    print(f"tied among groups of {K:>2}:", " ",
          *(f"{s:6.1%}" for s in share))

# %% [markdown]
# ## What we did not show
#
# - One small problem at one $\alpha$: the exact zeros hold everywhere, the
#   other heights of bars do not.
# - (E2.1) is for a single step on fresh answers. With a second step on the
#   same answers the ratios leave 1, and the value leaves 0; it still is not
#   a measure of success.
# - Whether to throw tied groups away is a question of compute. We only showed
#   what would be thrown away.
# - Two passes run the network forward twice. We did not measure the price.
#
# **The credit table.**
#
# | question | answer so far |
# |---|---|
# | What is one step worth? | $V(s_t) - V(s_{t-1})$ |
# | Why is credit $\log \pi^*/\pi_{\text{ref}}$? | because $\pi^* = \pi_{\text{ref}}\, e^{V}/Z$ at every prefix |
# | How can a model learn it from samples? | shared prefixes, different rewards: the average finds the step |
# | Does a falling loss show that it learns? | no: read the share not explained |
#
# **Links.** `gnivo_edu/population/questions.py` and
# `gnivo_edu/population/ties.py`, every answer above in a few lines;
# `gnivo_edu/training/two_pass.py`, the gradient of whole groups in pieces.
# Threads, as repository and number: `trl#2703`, `trl#3452`, `trl#3857`,
# `open-r1#239` (zero loss); `trl#3708`, `trl#6367`, `verl#5228` (ties);
# `trl#6503`, `torchforge#664` (KL); `trl#4970` (masks); `trl#3138`,
# `understand-r1-zero#25` (lengths); `trl#3021`, `trl#7206`, `tt-metal#46548`
# (micro-batches). Dr. GRPO: arXiv 2503.20783; GVPO: arXiv 2504.19599.
#
# **Next.** Elective E1 takes up the one question that we only touched: which
# KL estimator belongs into a loss, and which into a reward.
