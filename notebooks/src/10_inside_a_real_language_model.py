# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · Inside a real language model
#
# **Claim.** A language model that somebody trained on text has thousands of
# continuations that we can list, and on them both theorems hold to
# $10^{-10}$.
#
# *Learner time: about 35 minutes. Run time: under half a minute on a laptop,
# no GPU.*
#
# **So far we know** the theorems on tables, and on small transformers that we
# made for the purpose (notebook 09). **We still cannot** look into a model
# that was trained on text before we came. It has habits of its own, its tree
# has no end, and nobody has written down what its next word is worth.
#
# After this notebook you can
#
# - cut a finite tree out of any language model, and say what was cut off;
# - check both theorems inside it, and say which digits to believe;
# - find the token that decides an answer, in three ways;
# - put an error bar on a value from samples, and know its bias;
# - bracket the value of the uncut model, from the tree alone.
#
# Three new symbols: $p(a \mid s)$, the model's own probability of the next
# token; $m(s)$, how much of it we keep; and $n$ continuations, drawn where we
# cannot list.

# %% [markdown]
# ## A row of the table, only wider
#
# Which model? If the environment variable `GNIVO_MODEL` names one, a folder
# or an id of the Hugging Face hub, we open that, and it tells a story that
# should be a happy one. Otherwise we take the small transformer that comes
# with this course. It was trained on written sums and has picked up a bad
# habit. (A GPU is used where there is one.)

# %%
import copy
import os

import matplotlib.pyplot as plt
import numpy as np
import torch

from gnivo_edu import exact, figures, objectives, policies, tasks, verify
from gnivo_edu.batch import GroupBatch
from gnivo_edu.course import check
from gnivo_edu.evaluation.step_values import step_values
from gnivo_edu.figures.lines import styles
from gnivo_edu.figures.style import called
from gnivo_edu.figures.text_tree import text_tree
from gnivo_edu.figures.values import chance_axis
from gnivo_edu.tasks.arithmetic_text import ArithmeticText
from gnivo_edu.tasks.stories import OPENINGS

torch.set_num_threads(1)

# %%
name = os.environ.get("GNIVO_MODEL")
if name:
    model, tokenizer = policies.load_model(name)
    task = tasks.get("stories", tokenizer, openings=OPENINGS[:1],
                     horizon=6, chat=False, segmenter="token")
    prompt = OPENINGS[0]
else:
    name = "the model that comes with the course"
    model = policies.load_checkpoint("arithmetic", torch.float64)
    task = ArithmeticText((2,), 1, "test", segmenter="token")
    prompt, tokenizer = task.question(0), task.tokenizer
model = model.to(policies.pick_device(exact=True))
prompt_ids = task.prompts()[0].tolist()
row = model(torch.tensor([prompt_ids], device=model.device)).logits[0, -1]
row = row.detach().double().cpu().numpy()
p = np.exp(row - np.logaddexp.reduce(row))
top = np.argsort(-p)[:8]
bars = {tokenizer.decode([i]): p[i] for i in top}
bars["all others"] = max(0.0, 1 - p[top].sum())
print(f"{name}: {sum(x.numel() for x in model.parameters()):,} parameters,"
      f" on the {model.device.type}")
figures.bar_panels({"the next token": bars}, "probability",
                   f"after {prompt!r}; a vocabulary of {len(p):,} tokens")

# %% [markdown]
# That is all a language model is: hand it a prefix, and it hands back a row
# of a table. In notebook 01 the row had three entries. Here it has one for
# each token of the vocabulary, and there is a row for every text there is,
# which is why nobody has ever seen the table.
#
# With the course's model, look at the two long bars. The right answer to
# $59+5-8$ is written `64;56.`, one running total after the other. But in the
# sums that it was trained on, a careless pupil had often dropped the carry
# ($59 + 5 = 54$), or taken the smaller digit from the larger ($64 - 8 = 64$).
# Now it cannot decide whether to be careful.
#
# ## Prune
#
# Most of the row is dust. Keep the four likeliest tokens, call their
# total probability $m(s)$, and divide by it:
#
# $$m(s) = \sum_{a \text{ kept}} p(a \mid s), \qquad
# \pi_{\text{ref}}(a \mid s) = \frac{p(a \mid s)}{m(s)}. \tag{10.1}$$
#
# The pruned reference is *another policy*. It is close to the model if $m$ is
# close to 1, and we shall have to say how close.
#
# ### Exercise 34 · Prune a row (8 minutes, easy, important)
#
# From one row of `logits`, return the ids of the `k` likeliest tokens that
# are not in `special` (padding, end of text and the like), the likeliest
# first; the logarithms of their new probabilities; and the mass that the
# model itself gave them. A logit may be as large as 1000. Stuck?
# `check.prune_row.hint()`.

# %%
def prune_row(logits, special, k):
    ### BEGIN SOLUTION
    allowed = logits.copy()
    allowed[list(special)] = -np.inf
    tokens = np.argsort(-allowed)[:k]
    logps = logits[tokens] - np.logaddexp.reduce(logits)
    mass = np.exp(logps).sum()
    return tokens, logps - np.log(mass), mass
    ### END SOLUTION


check.prune_row(prune_row)

# %%
# What is no text: special tokens, and ids that belong to no token at all.
added = tokenizer.added_tokens_decoder.items()
special = set(tokenizer.all_special_ids)
special |= {i for i, token in added if token.special}
unnamed = set(range(len(row))) - set(tokenizer.get_vocab().values())
special = tuple(sorted((special | unnamed) & set(range(len(row)))))

tokens, logps, mass = prune_row(row, special, 4)
for token, logp in zip(tokens, logps, strict=True):
    print(f"{tokenizer.decode([token])!r:<8} {np.exp(logp):.4f}")
print(f"kept: {mass:.4f} of the model's probability")

# %% [markdown]
# ## Thousands of continuations
#
# Do that after the prompt, after each of the four tokens, after each of the
# sixteen pairs, and so on, six tokens deep. The library does it with one
# forward pass per prefix, and remembers what it has read already. What
# comes out is a problem like that of notebook 01: a finite tree, whose
# actions are the ranks 0 to 3, and whose rewards are the grades of the texts.

# %%
def grow(top_k):
    def reward(texts):
        return [grade.reward for grade in task.grade_texts(texts)]

    mdp, tables = policies.tree_from_model(
        model, tokenizer, prompt, top_k=top_k, horizon=6, reward=reward)
    return mdp, exact.enumerate_tree(mdp, tables)


mdp, tree = grow(4)
law = np.exp(tree.prefix_logps[-1])
print(f"{tree.num_sequences:,} continuations, {tree.num_prefixes:,} "
      f"prefixes, from {sum(map(len, tree.step_logps)):,} rows")
for number in np.argsort(-law)[:8]:
    text = mdp.decode(tree.prefix(6, int(number)))
    print(f"{law[number]:7.2%}  R = {tree.rewards[number]:.2f}  {text!r}")
print(f"the mean reward is {law @ tree.rewards:.4f}")

# %% [markdown]
# With the course's model, four answers have nearly all the probability: each
# of the two steps is done well or badly, and only one of the four is right.
# (What follows a first `.` is not read: the answer has ended.)
#
# ### What was cut off?
#
# **Predict.** At each of the six steps a little is lost. Below are the six
# averages of $m$. What is the chance that the model, left alone, stays inside
# the tree to the end: about the smallest of them, their mean, their product?
#
# **Run.** We read all rows again, by plain forward passes, with your
# function.

# %%
def kept_masses(mdp, tree):
    """m(s) of every prefix, by depth; checks the tables on the way."""
    masses, gap = [], 0.0
    for t, table in enumerate(tree.step_logps):
        ids = [prompt_ids + mdp.model_tokens(tree.prefix(t, i))
               for i in range(len(table))]
        rows = []
        for part in torch.tensor(ids, device=model.device).split(64):
            with torch.inference_mode():
                logits = model(part).logits[:, -1].double().cpu().numpy()
            rows += [prune_row(x, special, mdp.vocab_size) for x in logits]
        masses.append(np.array([m for _, _, m in rows]))
        mine = np.array([logps for _, logps, _ in rows])
        gap = max(gap, np.abs(mine - table).max())
    return masses, gap


masses, gap = kept_masses(mdp, tree)
for t, m in enumerate(masses):
    mean = np.exp(tree.prefix_logps[t]) @ m
    print(f"after {t} tokens: m is {mean:.4f} on average, "
          f"{m.min():.4f} at least")
print("your rows are the library's tables within",
      "1e-10 nats" if gap < 1e-10 else f"{gap:.0e} nats")

# %% [markdown]
# What is lost is lost by *factors*. The model's own probability of a prefix,
# and that of the pruned reference, differ by the masses on the way there:
#
# $$p(s_t) = \pi_{\text{ref}}(s_t) \prod_{k=0}^{t-1} m(s_k). \tag{10.2}$$

# %%
def own_logps(tree, masses):
    """log p of every prefix, by depth: the model's own, not the tree's."""
    log_m = [np.zeros(1)]
    for m in masses:
        log_m.append(np.repeat(log_m[-1] + np.log(m), tree.vocab_size))
    return [a + b for a, b in zip(tree.prefix_logps, log_m, strict=True)]


own = own_logps(tree, masses)
inside = np.exp(own[-1])
print(f"the model stays inside the tree with chance {inside.sum():.4f}")
apart = np.abs(inside / inside.sum() - law).sum() / 2
print("the pruned reference, and the model where it happens to stay inside,"
      f"\ndiffer by {apart:.5f} in total variation")

# %% [markdown]
# **Explain.** Nearly their product (exactly, it is the mean of the product).
# And the last line is worth a thought. To renormalise token by token is *not*
# the same as to wait until the model stays inside by itself: if a token leads
# to places where much is cut off, the second way holds it against the token,
# and the first does not. Sampling with top-k is the first.
#
# ## Which digits to believe
#
# So we have tables. How exact are they? Two questions, often mixed up. *Is
# the table that of the model?* Only as far as the model's own arithmetic
# goes. Let us read the tree once more, at another precision of the weights.

# %%
other = torch.float32 if model.dtype == torch.float64 else torch.float64
twin, _ = policies.tree_from_model(
    copy.deepcopy(model).to(other), tokenizer, prompt, 4, 6,
    reward=lambda texts: [g.reward for g in task.grade_texts(texts)])
worst, same = 0.0, np.ones(1, dtype=bool)
for ours, theirs, ids, ids_too in zip(
        tree.step_logps, twin.reference(), mdp.token_ids, twin.token_ids,
        strict=True):
    same &= (ids == ids_too).all(axis=1)  # else the fourth is another one
    worst = max(worst, np.abs(ours - theirs)[same].max())
    rows_left, same = same.mean(), np.repeat(same, 4)
print("float32 and float64 tables differ by more than 1e-9 nats:",
      bool(worst > 1e-9))
print("                                 and by less than 1e-3 nats:",
      bool(worst < 1e-3))
print(f"rows compared at the last depth: {rows_left:.1%}")
off = max(abs(np.exp(table).sum(1) - 1).max() for table in tree.step_logps)
print("each row sums to 1 within 1e-12:", bool(off < 1e-12))

# %% [markdown]
# Most real models are stored in float32 or less, and most compute some parts
# (their norms) in float32 whatever you ask for. So of a log-probability the
# third decimal is the model's, and the tenth is not.
#
# *Do the theorems hold for the table?* That is another question. Once it is
# written down, in float64, with rows that sum to 1, it is a policy like any
# other, and nobody can tell that it came from a network. A theorem about all
# policies has to hold for this one to the precision of our own sums, however
# rough the model was.
#
# **Predict.** To how many digits? Also for the twin's table, which is off by
# all those decimals? And will the two controls of notebook 04, softmax
# weights and answers from a stranger, still miss?

# %%
alpha = 0.5
report = verify.verify_tree(tree, alpha, group_size=2)  # 0.5: visible steps
first = report["soft_value_theorem"]["max_abs_error"]
second = report["constant_shift"]["spread"]
print(f"{report['sequences']:,} continuations, "
      f"{report['prefixes']:,} prefixes")
print("Theorem 1, largest error below 1e-10 nats: ", first < 1e-10)
print("Theorem 2, largest spread below 1e-10 nats:", second < 1e-10)
for control, result in report["controls"].items():
    print(f"control, {control.replace('_', ' ')}: misses by "
          f"{result['violation']:.2f} nats")
twins = exact.enumerate_tree(twin, twin.reference())
for whose, each, a in (("the model's", tree, 0.1),
                       ("the model's", tree, 1.0),
                       ("its twin's", twins, 0.5)):
    proof = exact.verify_soft_value_theorem(each, a)
    print(f"Theorem 1, {whose} table, alpha {a}: below 1e-10 nats:",
          proof.max_abs_error < 1e-10)
assert report["passed"]

# %% [markdown]
# **Explain.** Far below the model's own rounding: $\pi^* =
# \pi_{\text{ref}}\, e^V / Z$ at every one of these prefixes, and a comparison
# of groups finds $V$ up to a constant per depth. The twin is a slightly
# different writer, with a slightly different $V$, and for it all that is true
# as well.
#
# ## The tree, drawn
#
# Here is what we have been talking about. A node's area is its chance under
# the pruned reference, its colour and number are $V - \log Z$, and a thick
# line is drawn to two of the likeliest answers: the best one, and of the
# others the one whose credits are most uneven.
#
# **Predict.** Before you look: with the course's model, which tokens can be
# decisive, and which cannot matter at all?

# %%
key = exact.solve(tree, alpha)
likely = [tree.prefix(6, int(i)) for i in np.argsort(-law)[:4]]
good = max(likely, key=lambda y: tree.rewards[tree.index(y)[1]])
answer = max((y for y in likely if y != good),
             key=lambda y: np.ptp(key.step_credit(y)))
text_tree(key, mdp, nodes=19, keep=[good, answer], show=[(2,), (3,)],
          reference=f"{name}, its 4 likeliest tokens")

# %% [markdown]
# **Explain.** A colour changes only where the future does. The course's model
# gains at the first digit if it carries, `;` changes nothing (what else could
# it write?), and then it is the first digit of the second total that decides
# everything: the rest of the answer only copies out what was chosen there.
# In a story of your own model, look where the colour turns.
#
# ## Which token decides?
#
# A tree is a luxury. In practice one has a model before and a model after
# training. So let us train one: sixty groups of 32 continuations, drawn
# from the model *uncut*, and the loss of notebook 05, in a dozen lines.

# %%
tuned = copy.deepcopy(model)
optimizer = torch.optim.Adam(tuned.parameters(), lr=1e-4)
for step in range(60):
    drawn = policies.sample_completions(model, task, 32, step=step)
    written, lengths = drawn.tokens[0], drawn.lengths[0]
    logps = policies.score_rows(
        tuned, task, written, lengths, fields=("policy_logps",))
    logps = logps["policy_logps"][None]
    rewards = task.reward(written.cpu().numpy(), lengths.cpu().numpy())
    batch = GroupBatch(
        policy_logps=logps, behaviour_logps=drawn.logps.to(logps),
        rewards=torch.tensor(rewards[None]).to(logps), mask=drawn.mask)
    optimizer.zero_grad()
    objectives.gnivo(batch, alpha=alpha).loss.backward()
    optimizer.step()

# %% tags=["tolerance=0.3"]
star = figures.policy_point(tree, key.optimal_step_logps)
print(f"mean reward in the tree, before:     {law @ tree.rewards:.2f}")
print(f"mean reward in the tree, π*:         {star.reward:.2f}")
for when, policy in {"before": model, "after": tuned}.items():
    drawn = policies.sample_completions(policy, task, 256)
    earned = task.reward(drawn.tokens[0].cpu(), drawn.lengths[0].cpu())
    print(f"256 answers of the uncut model, {when + ':':<8}"
          f"{earned.mean():.2f}")

# %% [markdown]
# (With the course's model that is nearly what $\pi^*$ would earn. Where much
# was cut off, the tree and the uncut model earn different rewards already
# before.)
#
# Now take the second of our two answers and ask three ways what each token
# was worth. *Implicit*: how much more the trained model likes the token than
# the first one did, $\log \pi_\theta / \pi_{\text{ref}}$. *By trying*: let
# the model finish each prefix 256 times. *Exact*: in the pruned tree. The
# library's `step_values` does all three, for any model and any answer.
#
# **Predict.** Which of the six tokens will pay? Will the three ways agree?

# %% tags=["tolerance=0.3"]
estimated = step_values(
    tuned, model, task, alpha=alpha, continuations=256, top_k=4,
    answers=[mdp.model_tokens(answer)], policy_name="after 60 groups")
line = estimated.answers[0]
tried = np.array([x.value for x in line.monte_carlo])
rows = {"60 groups": line.credits, "256 tries": np.diff(tried),
        "pruned tree": np.diff(line.exact_values)}
rows = {way: np.round(x, 9) + 0.0 for way, x in rows.items()}
full = max(np.abs(x).max() for x in rows.values())
figures.CreditStrips(
    dict.fromkeys(rows, mdp.pieces(answer)), rows, [""] * 6,
    f"credit in nats; reference: {called(name)}; alpha = {alpha:g}; R = "
    f"{line.reward:.2f}; full colour at ±{full:.2f}", scale=full)

# %%
def with_bars(axis, look, values, estimates, label):
    low = np.array([e.value - e.low for e in estimates])
    high = np.array([e.high - e.value for e in estimates])
    axis.errorbar(np.arange(7), values, yerr=[low, high], label=label,
                  color=look.colour, ls="none", marker=look.marker,
                  capsize=4)


figure, axis = plt.subplots(figsize=(8.6, 3.8), layout="constrained")
first, second, third = styles(3)
axis.plot(line.exact_values, color=first.colour, lw=3, label="pruned tree")
with_bars(axis, second, tried, line.monte_carlo, "256 tries, 95% interval")
axis.plot(line.implicit_values, third.marker, color=third.colour,
          ls=third.dashes, label="implicit, after 60 groups")
axis.set_xticks(range(7), ["start", *mdp.pieces(answer)])
axis.set_ylabel("soft value V, nats")
axis.spines[["top", "right"]].set_visible(False)
axis.legend(frameon=False)
if estimated.binary_reward:
    chance_axis(axis, alpha)
figure.supxlabel(f"reference: {called(name)}; alpha = {alpha:g}; "
                 "the implicit line starts at an estimate of log Z",
                 fontsize=9)
plt.show()

# %%
held = [e.low - 1e-9 <= v <= e.high + 1e-9
        for e, v in zip(line.monte_carlo, line.exact_values, strict=True)]
print(f"the interval of the uncut model holds the pruned tree's value at "
      f"{sum(held)} of {len(held)} places")
worst = np.abs(rows["60 groups"] - rows["pruned tree"]).max()
print(f"implicit and exact credit differ by {worst:.2f} nats at most")
for note in estimated.notes:
    print("-", note)

# %% [markdown]
# **Explain.** Nobody told the trained model which token was wrong; it saw
# 1,920 answers with one mark each. Still, with the course's model, its
# credits are close to the exact ones. Its *line* may lie beside the exact
# line all the way: one error, made once, in the estimate of $\log Z$ that it
# starts from. A credit is a difference and knows nothing of it.
#
# Mind what each line is about. The tries and the training know the *uncut*
# model, the tree the pruned one. Where $m$ is near 1 they have to agree; in a
# story, where much is cut off, they need not.
#
# ## What does a value cost?
#
# The tree asked for one row per inner prefix, once, and gave the values of
# all. But the number of rows grows like $4^t$, and an answer of sixty tokens
# is out of reach for ever. Sampling has no such wall; it has error bars.
#
# ### Exercise 35 · A value from samples (8 minutes, medium, essential)
#
# From the `rewards` of $n$ continuations, return the estimate $V_n = \log
# \frac1n \sum w_i$ with $w_i = e^{R_i/\alpha}$; its standard error, the
# spread of $w$ (`ddof=1`) over the mean of $w$ over $\sqrt n$; and its bias:
# the log of a mean is too low on average, by half the squared standard error.
# Alpha can be small; mind overflow.

# %%
def monte_carlo_value(rewards, alpha):
    ### BEGIN SOLUTION
    exponents = rewards / alpha
    w = np.exp(exponents - exponents.max())
    value = np.log(w.mean()) + exponents.max()
    error = w.std(ddof=1) / w.mean() / np.sqrt(len(w))
    return value, error, -(error**2) / 2
    ### END SOLUTION


check.monte_carlo_value(monte_carlo_value)

# %% [markdown]
# **Predict.** We know the true $\log Z$ of the tree, so for once an error bar
# can be checked. Draw $n$ continuations, six thousand times over. How often
# will $V_n \pm 1.96$ standard errors hold the truth: 95% of the time?
#
# **Run.**

# %%
steps_up = np.cumsum(law)
rng = np.random.default_rng(0)
print(" n    mean error  your bias   true spread  your error   holds V")
for n in (8, 64, 512):
    where = np.searchsorted(steps_up, rng.random((6_000, n)) * steps_up[-1])
    tries = np.array([monte_carlo_value(tree.rewards[which], alpha)
                      for which in where])
    miss = tries[:, 0] - key.log_z
    error, bias = tries[:, 1].mean(), tries[:, 2].mean()
    holds = (np.abs(miss) <= 1.96 * tries[:, 1]).mean()
    print(f"{n:>3} {miss.mean():>12.4f} {bias:>10.4f} {miss.std():>13.4f} "
          f"{error:>11.4f} {holds:>9.1%}")

# %% [markdown]
# **Explain.** At 512 your error bars tell the truth, at 64 nearly, and the
# bias goes away about as fast as you said. At 8 they are too short too often:
# where rewards are 0 or 1, the eight may all be wrong, and then the bar has
# no length at all. (For such rewards the library uses Wilson's interval,
# which has one.)
#
# How many continuations for a given precision? The standard error needs
# $\mathbb{E}[w^2]$, and that is a value as well: that at half the
# temperature! With $V_\alpha$ for the value at $\alpha$,
#
# $$\mathrm{SE}^2 \approx \frac{1}{n}
# \Big(e^{V_{\alpha/2} - 2 V_{\alpha}} - 1\Big), \qquad
# \text{bias} \approx -\tfrac12\, \mathrm{SE}^2. \tag{10.3}$$

# %%
print("continuations for a standard error of   0.1      0.01     1e-10")
for a in (2.0, 1.0, 0.5, 0.2, 0.1):
    half, whole = (exact.solve(tree, x).log_z for x in (a / 2, a))
    noise = np.expm1(half - 2 * whole)
    need = [noise / error**2 for error in (0.1, 0.01, 1e-10)]
    print(f"alpha {a:<4g}" + " " * 22
          + "".join(f"{max(1, x):>10.2g}" for x in need))
count = sum(map(len, tree.step_logps))
print(f"the tree: {count:,} rows, for all {tree.num_prefixes:,} values")

# %% [markdown]
# A hundred times more precision costs ten thousand times more continuations,
# so samples will never see what a certificate sees. The tree is a microscope:
# a small field, and every line in it sharp.
#
# ## And the model itself?
#
# Must the tree be silent about the uncut model? Not quite. Our rewards lie
# between 0 and 1, also those of what the model writes outside the tree. Count
# all that as 0, or all as 1: the $\log Z_p$ of the uncut model lies in
# between. The sums run over the answers $y$ in the tree.
#
# $$\log\!\Big(1 + \sum_y p(y)\,(e^{R/\alpha} - 1)\Big) \;\le\; \log Z_p
# \;\le\; \log\!\Big(e^{1/\alpha} - \sum_y p(y)\,
# (e^{1/\alpha} - e^{R/\alpha})\Big). \tag{10.4}$$

# %%
def bracket(tree, inside):
    w, most = np.exp(tree.rewards / alpha), np.exp(1 / alpha)
    return (np.log1p(inside @ (w - 1)), np.log(most - inside @ (most - w)))


low, high = bracket(tree, inside)
root = line.monte_carlo[0]
print(f"log Z of the pruned reference:  {key.log_z:.4f}")
print(f"log Z of the model lies within  {low:.4f} to {high:.4f}")
print(f"its own {root.samples} tries say{' ' * 12}{root.low:.4f} to "
      f"{root.high:.4f}")

# %% [markdown]
# No sample and no luck in the middle line: that is a bound. It is as tight as
# the mass that was kept.
#
# ## A control that must fail
#
# An easy slip with top-k: compute $V$ in the pruned tree, and use it with the
# probabilities of the *uncut* model, as if nothing had been cut.
# **Predict.** By how much does Theorem 1 fail then? Where would you look for
# the number?

# %%
best = law * np.exp(tree.rewards / alpha)
best /= best.sum()  # by adding up answers: no value is used
errors, explained, right = [], 0.0, 0.0
for t in range(1, 7):
    true = np.log(best.reshape(4**t, -1).sum(axis=1))
    claimed = own[t] + key.values[t] - key.log_z  # p e^V / Z
    lost = tree.prefix_logps[t] - own[t]  # minus the log of the masses
    errors.append(true - claimed)
    explained = max(explained, abs(errors[-1] - lost).max())
    mended = tree.prefix_logps[t] + key.values[t] - key.log_z
    right = max(right, abs(true - mended).max())
worst, here = max(e.max() for e in errors), tree.index(answer)[1]
print(f"V of the tree, p of the uncut model: off by up to {worst:.3f} nats")
print(f"   at the end of the answer above:   off by {errors[-1][here]:.3f}")
print("that is the log of the masses on the way, within 1e-9 nats:",
      bool(explained < 1e-9))
print("V of the tree, with the tree's own reference: within 1e-10 nats:",
      bool(right < 1e-10))
assert worst > 1e-3 and explained < 1e-9 and right < 1e-10

# %% [markdown]
# **Explain.** The error is the product in (10.2), to the last digit. It is
# small along an answer if the model is sure of itself all the way, and large
# where it would have gone elsewhere. Notebook 03 called a value without its
# reference homeless; this is how one becomes homeless in practice.
#
# ## Play
#
# How many tokens have to be kept? Watch the bracket close. Then try another
# question (give `ArithmeticText` a `prompt_seed=1`), or another model: set
# `GNIVO_MODEL` and run the notebook again.

# %%
print("kept   continuations   stays inside   log Z of the model within")
for k in (1, 2, 3):
    small, cut = grow(k)
    held = np.exp(own_logps(cut, kept_masses(small, cut)[0])[-1])
    low, high = bracket(cut, held)
    print(f"{k:>4} {cut.num_sequences:>15,} {held.sum():>14.4f} "
          f"{low:>15.4f} to {high:.4f}")

# %% [markdown]
# From a shell the same goes for any model, prompt and reward:
# `gnivo-edu verify --model NAME --prompt TEXT --top-k 4 --horizon 6` prints
# the certificate, and `gnivo-edu explore --model AFTER --reference BEFORE`
# writes a page on which you click through the steps of its answers. (For the
# model of this notebook: `--model shipped --task arithmetic`.)
#
# ## What we did not show
#
# - Six tokens. The theorems do not care how long an answer is, but a list
#   does. Beyond the tree there are samples, with their error bars.
# - The certificates are about the tables. To how many digits a table is the
#   model's own is a question of the model's arithmetic, not of theirs.
# - Sixty groups were enough for one prompt and this answer. A model in
#   training shares its parameters among thousands of prompts, and its
#   implicit values may be much worse; one run with one seed says little.
# - The course's model is small. A large one takes more time and memory, and
#   its rows are longer; nothing else here depends on its size.
#
# **The credit table.**
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
# | What may replace the critic? | a group's mean, if whole answers are enough; the reference's completions, if steps matter; a KL per step, for another optimum |
# | Where does each loss end up? | at $\pi^*$, if it asks that $R - \alpha h$ be the same for all, and its answers are what it takes them for; else somewhere computable, or nowhere |
# | Is it true inside a real model? | yes, to $10^{-10}$, of the tables that it writes; what was pruned is another policy, and its masses say which |
#
# **Links.** `gnivo_edu/policies/from_model.py`, the tree inside a model;
# `gnivo_edu/verify.py`, both theorems and both controls;
# `gnivo_edu/evaluation/step_values/__init__.py`, three ways to value a step;
# `gnivo_edu/evaluation/step_values/estimate.py`, intervals and their sources;
# `gnivo_edu/tasks/stories.py`, the reward of a happy story.
#
# **Next.** 11, *Table 1 in miniature*: several losses, one model, one budget
# (in preparation).
