"""Notebook 10: its equations, each under its number and by other means, and what its prose says.

The whole notebook is also run inside a second model.
"""

import ast
import itertools
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gnivo_edu import exact
from tests.notebooks.notebook import ROOT, Notebook

BOOK = Notebook("10_inside_a_real_language_model")
TREE = ROOT / "notebooks" / "trees" / "smollm2_lily.json"
STORIES = Path(os.environ.get("GNIVO_SHARED", ROOT.parent / "shared")) / "models" / "stories260k"

# Runs every code cell in one plain interpreter; what it prints, and its figures as text, go to
# standard output.
RUNNER = """
import ast, sys
import jupytext
space = {"__name__": "__main__"}
for cell in jupytext.read(sys.argv[1], fmt="py:percent").cells:
    if cell.cell_type == "code":
        body = ast.parse(cell.source).body
        last = body.pop() if isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), "cell", "exec"), space)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), space) if last else None
        if hasattr(value, "text"):
            value._repr_mimebundle_()
            print(value.text())
"""


@pytest.fixture(autouse=True)
def _no_model_of_the_readers(monkeypatch):
    monkeypatch.delenv("GNIVO_MODEL", raising=False)


def numbers(pattern, text=None):
    """The numbers of every printed line that matches."""
    return [
        tuple(float(x.replace(",", "").replace("−", "-")) for x in match.groups())
        for match in re.finditer(pattern, BOOK.printed if text is None else text)
    ]


@pytest.fixture(scope="module")
def book():
    """The names that the notebook defines, from those of its cells that define what the tests
    use.
    """
    words = (
        "import copy",
        "name = os.environ",
        "def prune_row(",
        "added = task",
        "tree, toy_tree =",
        "def kept_masses(",
        "def own_logps(",
        "key = exact.solve",
        "def bracket(",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GNIVO_MODEL", raising=False)
        # The bracket's own cell goes on with what was trained.
        return SimpleNamespace(**BOOK.space(*words, until="start = line", alpha=0.5))


# --- the equations --------------------------------------------------------------------------------


@pytest.mark.slow
def test_equation_10_1(book):
    """The masses and rows of the toy's first two depths, from its softmax and nothing else."""
    for t in range(2):
        for number in range(4**t):
            ids = book.toy_mdp.prompt_ids + book.toy_mdp.model_tokens(
                book.toy_tree.prefix(t, number)
            )
            with torch.inference_mode():
                p = book.toy(torch.tensor([ids])).logits[0, -1].softmax(-1).numpy()
            # The characters: BOS and padding have ids 15 and 16.
            likeliest = sorted(range(15), key=lambda i: -p[i])[:4]
            mass = math.fsum(p[likeliest])
            assert book.toy_mdp.token_ids[t][number].tolist() == likeliest
            assert book.toy_masses[t][number] == pytest.approx(mass, abs=1e-12)
            np.testing.assert_allclose(
                np.exp(book.toy_tree.step_logps[t][number]), p[likeliest] / mass, atol=1e-12
            )


def test_equation_10_1_in_the_file():
    """The masses that are printed of SmolLM2, from the file's own numbers."""
    rows = json.loads(TREE.read_text(encoding="utf-8"))["model_logps"]
    law = [1.0]
    printed = numbers(r"m is ([\d.]+) on average, ([\d.]+) at least")[:6]
    for depth, (mean, least) in zip(rows, printed, strict=True):
        masses = [math.fsum(map(math.exp, row)) for row in depth]
        assert mean == pytest.approx(
            math.fsum(p * m for p, m in zip(law, masses, strict=True)), abs=6e-5
        )
        assert least == pytest.approx(min(masses), abs=6e-5)
        law = [
            chance * math.exp(logp) / mass
            for chance, row, mass in zip(law, depth, masses, strict=True)
            for logp in row
        ]


@pytest.mark.slow
def test_equation_10_2(book):
    """The toy's own probability of some prefixes, token by token, in one forward pass."""
    rng = np.random.default_rng(0)
    for t, number in [(6, int(i)) for i in rng.integers(4**6, size=20)] + [(1, 3), (3, 17)]:
        own = book.toy_mdp.model_tokens(book.toy_tree.prefix(t, number))
        with torch.inference_mode():
            logps = (
                book.toy(torch.tensor([book.toy_mdp.prompt_ids + own])).logits[0].log_softmax(-1)
            )
        steps = [
            float(logps[len(book.toy_mdp.prompt_ids) - 1 + k, token]) for k, token in enumerate(own)
        ]
        assert book.toy_own[t][number] == pytest.approx(math.fsum(steps), abs=1e-10)
        assert math.fsum(steps) < book.toy_tree.prefix_logps[t][number]
    for kept, own in ((book.inside, book.own), (book.toy_inside, book.toy_own)):
        assert kept.sum() == pytest.approx(math.fsum(np.exp(own[6])), abs=1e-12)


def test_equation_10_3():
    """Its left side over every draw of n answers; the bias over every outcome of many draws of a
    coin.
    """
    p, rewards, alpha, n = np.array([0.2, 0.5, 0.3]), np.array([0.0, 0.4, 1.0]), 0.7, 4
    tree = exact.enumerate_tree_from_rewards(rewards, 3, [np.log(p)[None]])
    half, whole = (exact.solve(tree, a).log_z for a in (alpha / 2, alpha))
    w, total = np.exp(rewards / alpha), 0.0
    for drawn in itertools.product(range(3), repeat=n):
        total += math.prod(p[list(drawn)]) * (w[list(drawn)].mean() / math.exp(whole) - 1) ** 2
    assert total == pytest.approx((math.exp(half - 2 * whole) - 1) / n, abs=1e-12)
    n, q = 4_000, 0.3
    c = np.arange(n + 1)
    log_law = np.array(
        [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in c]
    )
    log_law += c * math.log(q) + (n - c) * math.log(1 - q)
    truth = 1 - q + q * math.exp(1 / alpha)
    bias = np.exp(log_law) @ np.log((1 + c / n * (math.exp(1 / alpha) - 1)) / truth)
    spread = (1 - q + q * math.exp(2 / alpha)) / truth**2 - 1
    assert bias == pytest.approx(-spread / n / 2, rel=0.01)


def test_equation_10_4(book):
    """A model of four tokens whose two likeliest are kept: any rewards outside stay in the bracket;
    0 and 1 attain.
    """
    rng, alpha = np.random.default_rng(0), book.alpha
    p = rng.dirichlet(np.ones(16))
    inside = np.isin(np.arange(16) // 4, (0, 1)) & np.isin(np.arange(16) % 4, (0, 1))
    rewards = rng.random(16)
    low, high = book.bracket(rewards[inside], p[inside])
    for outside in (rng.random(16), np.zeros(16), np.ones(16)):
        log_z = math.log(p @ np.exp(np.where(inside, rewards, outside) / alpha))
        assert low - 1e-12 <= log_z <= high + 1e-12
        if np.ptp(outside) == 0:
            assert log_z == pytest.approx(high if outside[0] else low, abs=1e-12)


# --- the claims of the prose ----------------------------------------------------------------------


def test_the_claim_thousands_of_continuations_both_theorems():
    assert numbers(r"([\d,]+) continuations, ([\d,]+) prefixes, from ([\d,]+) rows") == [
        (4096, 5461, 1365)
    ]
    assert len(re.findall(r"Theorem 1.*below 1e-10 nats: +True", BOOK.printed)) == 5
    assert len(re.findall(r"Theorem 2.*below 1e-10 nats: +True", BOOK.printed)) == 2
    assert min(numbers(r"control, .*: misses by ([\d.]+) nats"))[0] > 0.01
    assert "False" not in BOOK.printed


def test_the_committed_runs_of_the_command(book):
    told = json.loads((ROOT / "recipes/smollm2/theorems.json").read_text(encoding="utf-8"))
    assert numbers(r"(\d+) pairs of alpha and K; all hold: True") == [(len(told["results"]),)]
    ((count, least),) = numbers(r"(\d+) controls miss, the least of them by ([\d.]+)")
    assert (count, least > 0.01) == (18, True)
    whole = numbers(r"of whole continuations: ([\d.]+)")
    assert whole == numbers(r"SmolLM2 stays inside its tree with chance ([\d.]+)")
    command = " ".join(BOOK.printed.partition("made by:")[2].replace("\\", "").split()[:30])
    assert f"--prompt '{book.mdp.prompt}' --top-k 4 --horizon 6 --reward sentiment" in command


def stories_and_sums():
    """(share, reward, text) of the eight likeliest stories, and of the eight likeliest sums."""
    lines = re.findall(r"(?m)^ *([\d.]+)%  R = ([\d.]+)  (['\"].+['\"])$", BOOK.printed)
    lines = [(float(share), float(reward), ast.literal_eval(text)) for share, reward, text in lines]
    return lines[:8], lines[8:]


def test_four_answers_and_one_of_them_right(book):
    stories, sums = stories_and_sums()
    likeliest = sums[:4]
    assert sum(share for share, *_ in likeliest) > 98
    assert [reward for _, reward, _ in likeliest].count(1.0) == 1
    assert {text for *_, text in likeliest} == {"64;56.", "64;64.", "54;46.", "54;54."}
    assert book.task.totals(0) == [59, 64, 56]
    assert stories[0][2].startswith(" curious")
    assert stories[0][0] > 5 * stories[1][0], "likelier than all the others by far"
    assert len({text.split()[0] for *_, text in stories}) >= 3, "they part at once"


def test_four_words_about_as_likely_as_each_other(book):
    first = np.exp(book.mdp.model_logps()[1])
    assert first.max() < 2 * first.min()
    assert first.sum() < 0.3, "a small part of the row"


def test_staying_inside_is_about_the_product_of_the_masses():
    means = [mean for mean, _ in numbers(r"m is ([\d.]+) on average, ([\d.]+) at least")]
    stays = [row[0] for row in numbers(r"stays inside its tree with chance ([\d.]+)")]
    assert len(means) == 12
    for chance, own, near in zip(stays, (means[:6], means[6:]), (0.02, 2e-3), strict=True):
        assert chance == pytest.approx(math.prod(own), abs=near)
        assert chance < min(own)
    assert stays[0] < 0.1 < 0.95 < stays[1], "a small window, and nearly all"
    apart = numbers(r"differ by ([\d.]+) in total variation")
    assert min(apart)[0] > 0


def test_renormalising_is_not_waiting():
    """A tree in which the likelier first token leads to places where more is cut off: the two laws
    differ.
    """
    first, masses = np.array([0.6, 0.4]), np.array([0.5, 1.0])
    waited = first * masses / (first @ masses)
    assert waited[0] < 0.5 < first[0]


def test_the_first_word_opens_futures_and_a_later_one_turns_the_even_beginning(book):
    """In nats, alpha = 0.5: what the prose says of the tree of stories."""
    key, words = book.key, [book.mdp.decode((r,)) for r in range(4)]
    first = dict(zip(words, key.values[1] - key.log_z, strict=True))
    assert max(first, key=first.get) == " happy"
    assert min(first, key=first.get) == " feeling"
    credit = key.step_credit(book.story)
    assert np.abs(credit).argmax() == 0
    assert np.abs(credit[1:]).max() < 0.2, "little is left to decide"
    even = [row for row in range(4) if abs(first[words[row]]) < 0.1]
    later = [abs(key.values[2][4 * row + r] - key.values[1][row]) for row in even for r in range(4)]
    assert len(even) == 2
    assert max(later) > 0.25


def test_the_token_that_decides_and_the_credits_found_by_training(book):
    assert book.toy_mdp.decode(book.answer) == "64;64."
    assert book.toy_mdp.decode(book.good) == "64;56."
    credit = book.toy_key.step_credit(book.answer)
    assert credit[0] > 0.5
    assert credit[3] < -1
    assert np.abs(np.delete(credit, (0, 3))).max() < 0.01
    assert numbers(r"credit differ by ([\d.]+) nats at most")[0][0] < 0.1
    assert numbers(r"value at (\d+) of (\d+) places") == [(7, 7)]
    ((before,),) = numbers(r"mean reward in the tree, before: +([\d.]+)")
    ((best,),) = numbers(r"mean reward in the tree, π\*: +([\d.]+)")
    (uncut, after) = [row[0] for row in numbers(r"256 answers of the uncut model, \w+: +([\d.]+)")]
    assert before < 0.25 < 0.5 < after
    for share, wanted in ((uncut, before), (after, best)):
        assert abs(share - wanted) < 3 * math.sqrt(wanted * (1 - wanted) / 256)


def test_error_bars_hold_what_they_say():
    printed = numbers(r"(?m)^ *(\d+) +(-?[\d.]+) +(-[\d.]+) +([\d.]+) +([\d.]+) +([\d.]+)%")
    assert len(printed) == 6
    of_stories, of_sums = ({int(n): rest for n, *rest in printed[i : i + 3]} for i in (0, 3))
    assert of_sums[8][4] < 85
    assert of_sums[8][4] < of_stories[8][4] < 94, "too short, most of all for the toy"
    for rows in (of_stories, of_sums):
        assert rows[8][4] < rows[64][4]
        assert rows[64][4] == pytest.approx(94.5, abs=1)
        assert rows[512][4] == pytest.approx(95, abs=0.7)
        assert rows[8][0] < 0
        for n in (64, 512):
            mean, bias, spread, error, _ = rows[n]
            assert mean == pytest.approx(bias, abs=4 * spread / math.sqrt(6_000))
            assert spread == pytest.approx(error, rel=0.05)


def test_precision_costs_its_square():
    rows = numbers(r"(?m)^alpha [\d.]+ +([\d.e+]+) +([\d.e+]+) +([\d.e+]+)$")
    assert len(rows) == 5
    for tenth, hundredth, tiny in rows:
        assert hundredth == pytest.approx(100 * tenth, rel=0.1)
        assert tiny > 1e15


def test_the_bracket_holds_and_closes():
    brackets = numbers(r"model lies within +([\d.]+) to ([\d.]+)")
    (low, high), (toy_low, toy_high) = brackets
    tries_low, tries_high = numbers(r"tries say +([\d.]+) to ([\d.]+)")[0]
    assert low + 1 < high < 2, "of log Z, which lies between 0 and 2, next to nothing"
    assert toy_low < toy_high < toy_low + 0.01
    assert tries_low < toy_high
    assert tries_high > toy_low
    play = numbers(r"(?m)^ +(\d) +([\d,]+) +([\d.]+) +([\d.]+) to ([\d.]+)$")
    assert [int(k) for k, *_ in play] == [1, 2, 3, 4] * 2
    for rows, whole in ((play[:4], brackets[0]), (play[4:], brackets[1])):
        widths = [b - a for *_, a, b in rows]
        assert widths == sorted(widths, reverse=True)
        assert tuple(rows[-1][3:]) == whole


def test_the_control_fails_and_the_mended_one_does_not():
    assert numbers(r"off by up to ([\d.]+) nats")[0][0] > 1
    assert numbers(r"uneven story: +off by ([\d.]+)")[0][0] > 0.1
    assert "on the way, within 1e-9 nats: True" in BOOK.printed
    assert "own reference: within 1e-10 nats: True" in BOOK.printed


# --- sums, from what recipes/sums wrote -----------------------------------------------------------


@pytest.fixture(scope="module")
def sums():
    return json.loads((ROOT / "recipes" / "sums" / "results.json").read_text(encoding="utf-8"))


def test_the_printed_numbers_of_sums_are_those_of_the_file(sums):
    steps = sums["steps"]
    rows = {**steps["hit_rates"], **{run: told["change"] for run, told in sums["runs"].items()}}
    for name, told in rows.items():
        shown = numbers(rf"(?m)^{re.escape(name)} +([-+]\d\.\d+) \((\S+) to (\S+)\)$")
        wanted = [told[end] for end in ("mean", "low", "high")]
        assert any(row == pytest.approx(wanted, abs=6e-3) for row in shown), name
    assert steps["judged"] >= 100


def test_what_the_prose_says_of_the_first_wrong_steps(sums):
    """Free rows at least as good as tries; tries and GN-IVO's credits better than a draw."""
    rates = sums["steps"]["hit_rates"]
    tries = [rate for way, rate in rates.items() if way.startswith("Monte-Carlo")]
    implicit = rates["implicit values, `gnivo`"]
    assert min(rate["low"] for rate in (*tries, implicit)) > rates["chance"]["high"]
    assert rates["least likely step"]["mean"] >= max(rate["mean"] for rate in tries)
    usual = rates["position: the tier's commonest"]
    assert usual["low"] < implicit["mean"] < usual["high"]


def test_what_the_prose_says_of_training_on_sums(sums):
    runs, correlated = sums["runs"], sums["steps"]["correlations"]
    assert min(runs[run]["change"]["low"] for run in ("gnivo", "gvpo", "vimpo", "grpo")) > 0
    assert runs["gnivo_shuffled"]["change"]["high"] < 0
    ceiling = correlated["Monte-Carlo, half against half"]
    free = correlated["log p of the step under the warm-up"]
    assert ceiling["mean"] > correlated["gnivo"]["mean"] > free["mean"]
    assert correlated["gnivo"]["low"] < free["high"], "the two intervals touch"
    assert correlated["gnivo_shuffled"]["low"] < 0 < correlated["gnivo_shuffled"]["high"]


# --- another model --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not STORIES.is_dir(), reason="GNIVO_SHARED holds no models/stories260k")
def test_every_cell_runs_inside_a_model_that_tells_stories():
    """The model that GNIVO_MODEL names: it is said which, and both theorems hold inside it as
    well.
    """
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(BOOK.source)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT / "notebooks",
        env={
            **os.environ,
            "GNIVO_MODEL": str(STORIES),
            "MPLBACKEND": "Agg",
            "GNIVO_STATIC": "1",
            "OMP_NUM_THREADS": "1",
        },
    )
    text = done.stdout
    assert f"{STORIES}: 260,032 parameters" in text
    assert text.count("Correct.") == 2
    assert len(re.findall(r"Theorem \d.*below 1e-10 nats: +True", text)) == 7
    assert min(numbers(r"control, .*: misses by ([\d.]+) nats", text))[0] > 0.01
    assert numbers(r"stays inside its tree with chance ([\d.]+)", text)[0][0] < 0.9
    assert numbers(r"off by up to ([\d.]+) nats", text)[0][0] > 1
    low, high = numbers(r"model lies within +([\d.]+) to ([\d.]+)", text)[0]
    assert low < numbers(r"of the pruned reference: +([\d.]+)", text)[0][0] < high
