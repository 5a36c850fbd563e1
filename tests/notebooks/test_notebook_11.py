"""Notebook 11: its equations by other means, and what its prose says of the results on file."""

import json

import numpy as np
import pytest
import torch

from gnivo_edu import objectives, studies
from gnivo_edu.batch import GroupBatch
from gnivo_edu.population.claims.table1 import leads
from gnivo_edu.statistics import t_quantile
from gnivo_edu.studies import curves
from gnivo_edu.studies.arithmetic import TESTED
from gnivo_edu.studies.off_policy.measures import share_kept
from gnivo_edu.studies.results import REPLACED
from gnivo_edu.studies.table1 import conditions, search, tuned
from gnivo_edu.studies.table1 import rows as table1
from tests.notebooks.notebook import Notebook

BOOK = Notebook("11_table_1_in_miniature")


@pytest.fixture(scope="module")
def results():
    return studies.read("table1")


def weight(objective, m, K=8, **options):
    """What a loss of the library gives a right answer of a group with m of them, per token."""
    rewards = torch.tensor([[1.0] * m + [0.0] * (K - m)], dtype=torch.float64)
    old = torch.full((1, K, 1), -1.0, dtype=torch.float64)
    policy = old.clone().requires_grad_()
    batch = GroupBatch(
        policy_logps=policy, behaviour_logps=old, rewards=rewards, mask=torch.ones(1, K, 1) > 0
    )
    objective(batch, **options).loss.backward()
    return -policy.grad[0, :, 0].numpy()


def test_equation_11_1():
    """Of one pair of seeds by hand: d = 0, 0.2, so that the mean is 0.1 and the error is 0.1."""
    check = BOOK.space("def seeds_that_count", np=np, check=_Nothing())["seeds_that_count"]
    low, high = check(np.zeros(2), np.array([0.0, 0.2]), 1, t_quantile)
    assert [low, high] == pytest.approx([0.1 - 12.7062 * 0.1, 0.1 + 12.7062 * 0.1], abs=1e-4)


class _Nothing:
    def __getattr__(self, name):
        return lambda *given: None


@pytest.mark.parametrize("m", range(1, 8))
def test_equation_11_2(m):
    """Against the gradients of the library's losses; a factor of all groups is free."""
    K, p, w = 8, m / 8, np.exp(5.0)
    gnivo = weight(objectives.gnivo, m, alpha=0.2, weights="softmax")
    assert gnivo[0] == pytest.approx(w / (m * w + K - m) - 1 / K, abs=1e-12)
    assert gnivo.sum() == pytest.approx(0, abs=1e-12)
    grpo = weight(objectives.grpo, m, kl="none", scale="group")
    # A sample's deviation divides by K - 1; the 1e-4 beside it is GRPO's own.
    said = (1 - p) / np.sqrt(p * (1 - p)) * np.sqrt((K - 1) / K)
    assert grpo[0] * K == pytest.approx(said, rel=1e-3)
    dr = weight(objectives.dr_grpo, m, kl="none")
    assert dr[0] * K == pytest.approx(1 - p, rel=1e-6)
    # In every group all three push the same way.
    for other in (grpo, dr):
        assert np.corrcoef(gnivo, other)[0, 1] == pytest.approx(1, abs=1e-9)


def test_every_lead_of_the_poster_lies_within_its_uncertainty():
    assert "within its own uncertainty: 10 of 10" in BOOK.printed
    assert sum(cell.k == 1 for cell in leads(over="GRPO")) == 10


def holds_0(x):
    return x.low <= 0 <= x.high


def test_what_is_said_of_the_table(results):
    names = table1.rivals(results)
    sure = {
        (name, tier): results.difference(name, "GRPO", f"pass@1.{tier}", comparisons=30)
        for name in names
        for tier in TESTED
    }
    assert len(sure) == 30
    assert sure["SFT-winning", 3].low > 0
    assert sure["SFT-winning", 4].low > 0
    assert all(sure["DRO", tier].high < 0 for tier in TESTED)
    level = [name for name in names if all(holds_0(sure[name, tier]) for tier in TESTED)]
    assert "GN-IVO" in level
    assert len(level) == 7
    assert sure["PPO", 4].low > 0
    slowest = max(names, key=lambda name: results.mean(name, "training_seconds").mean)
    assert slowest == "PPO"


def test_what_the_choice_of_one_seed_had_cost(results):
    lines = (results.folder / REPLACED).read_text(encoding="utf-8").splitlines()
    first = studies.Results(results.folder, list(map(json.loads, lines)))
    assert set(first.rows) == {"VIMPO", "Dr. GRPO", "PPO"}
    for row in first.rows:
        assert first.mean(row, "pass@1.4").mean < results.mean(row, "pass@1.4").mean - 0.05
    fell = [run["pass@1"]["4"] < 0.1 for run in first.of("VIMPO")]
    assert (sum(fell), len(fell)) == (3, 5)
    # It stood last, and now holds GRPO.
    others = [results.mean(row, "pass@1.4").mean for row in table1.rivals(results)]
    assert first.mean("VIMPO", "pass@1.4").mean < min(others)
    search = studies.read("table1/search")
    points = {row: search.of(row)[0]["pass@1"]["mean"] for row in search.rows}
    assert max(points, key=points.get) == "VIMPO, 0.0003, 8"


def test_no_placebo_gains_and_one_stays(results):
    start = results.mean("base", "pass@1.4").mean
    for method in table1.PLACED:
        for reward in table1.PLACEBOS:
            assert results.mean(table1.placebo(method, reward), "pass@1.4").low < start
    assert abs(table1.gain(results, "GRPO, form")) < 0.02


def test_what_is_said_of_the_conditions():
    found = studies.read("table1/conditions")
    apart = {}
    for name in conditions.CONDITIONS:
        x = conditions.confirmed(found, name)
        if not holds_0(x):
            apart[name] = x.mean
    assert set(apart) == {
        *("4 updates a draw", "8 updates a draw"), "half of the answers replayed"
    }  # fmt: skip
    assert all(mean < 0 for mean in apart.values())
    assert len(conditions.CONDITIONS) == 12


def test_what_is_said_of_rates_chosen_anew():
    first, found = studies.read("table1/conditions"), studies.read("table1/tuned")
    names = tuned.conditions(found)
    assert names == list(conditions.CONDITIONS)
    gains = {name: tuned.gain(found, name) for name in names}
    assert [name for name in names if not holds_0(gains[name])] == ["half of the answers replayed"]
    for name in ("4 updates a draw", "8 updates a draw"):
        assert conditions.confirmed(first, name).mean < 3 * gains[name].mean < 0
    assert max(names, key=lambda name: gains[name].mean) == tuned.FOUND
    by_seed = {
        name: {
            seed: ours - found.values(conditions.row(name, "GRPO"), "pass@1.mean")[seed]
            for seed, ours in found.values(conditions.row(name, "GN-IVO"), "pass@1.mean").items()
        }
        for name in ("half of the answers replayed", tuned.FOUND)
    }
    assert all(gap < 0 for gap in by_seed["half of the answers replayed"].values())
    assert all(gap > 0 for gap in by_seed[tuned.FOUND].values())
    assert len(by_seed[tuned.FOUND]) == 10
    assert tuned.confirmed(found).low > 0
    # The gap where answers are replayed is as large without them, where the reference stays.
    gap, alone = gains["half of the answers replayed"].mean, gains["fixed reference"].mean
    assert abs(alone) > 0.9 * abs(gap)
    kept = share_kept(studies.read("off-policy"), "GN-IVO", "4:4")
    assert kept.low < 1 < kept.high
    assert abs(kept.mean - 1) < 0.05


def test_what_is_said_of_the_way(results):
    lines = {row: curves.bands(results, row, "responses") for row in table1.rivals(results)}
    norms = {row: band["grad_norm"].y[-1].mean for row, band in lines.items()}
    ours = curves.bands(results, "GN-IVO", "responses")
    assert min(norms, key=norms.get) == "VIMPO"
    assert 10**3.8 < ours["grad_norm"].y[-1].mean / norms["VIMPO"] < 10**4.5
    assert [place.mean for place in ours["residual"].y] == [1.0] * curves.POINTS
    drawn = curves.figure(results, "responses")
    assert drawn.x_label == "answers drawn"
    assert set().union(*drawn.sets) == set(search.METHODS)


def test_what_is_said_of_sizes():
    sizes = studies.read("ablations")
    trained = [row for row in sizes.rows if not row.startswith("exact: ")]
    score = {row: sizes.mean(row, "pass@1.mean").mean for row in trained}
    groups = ["GN-IVO", *(f"GN-IVO, K = {k}" for k in (2, 4, 16))]
    assert min(groups, key=score.get) == "GN-IVO, K = 16"
    for row in (*groups[1:], "alpha = 0.1", "alpha = 1", "1 depth", "last depth"):
        assert holds_0(sizes.difference(row, "GN-IVO", "pass@1.mean", comparisons=16))
