"""The study of noise: its exact ends against other ways to them, and all of it once, small."""

from functools import partial

import numpy as np
import pytest
import torch

from gnivo_edu import objectives, studies
from gnivo_edu.population import expect, laws, point_at
from gnivo_edu.population.claims import noise as ledger
from gnivo_edu.studies.noise import lab as noise_lab
from gnivo_edu.studies.noise import study
from gnivo_edu.studies.noise.report import against, losses, named
from gnivo_edu.studies.results import Results


@pytest.mark.parametrize("of", ["group", "answer"])
def test_groups_with_coins_give_the_push_of_the_ledger(of):
    lab = noise_lab.answers()
    loss = partial(objectives.grpo, kl="none")
    groups, flips = noise_lab.noisy_groups(lab, of, chance=ledger.P, sampler="current", size=3)
    point = point_at(lab, 0.5)
    ours = expect(noise_lab.turned_round(loss, flips), groups, point, alpha=0.5)
    plain = noise_lab.noisy_groups(lab, "group", chance=0.0, sampler="current", size=3)[0]
    theirs = expect(partial(ledger.turned_round, loss=loss, of=of), plain, point, alpha=0.5)
    torch.testing.assert_close(ours.gradient["logits"], theirs.gradient["logits"])
    assert float(ours.gradient["logits"].abs().max()) > 1e-3


def test_the_ceiling_is_where_the_expected_push_rests():
    right, law = noise_lab.end("GN-IVO", "group", 0.25)
    assert right == pytest.approx(noise_lab.ceiling(0.25), abs=1e-6)
    assert sum(law) == pytest.approx(1)
    winners, _ = noise_lab.end("SFT-winning", "group", 0.25)
    assert winners == pytest.approx(noise_lab.ceiling(0.25, alpha=0.02), abs=1e-4)
    assert noise_lab.end("GN-IVO", "group", 0.1)[0] > 0.999  # fewer flips than one in K


def test_anchored_ends_are_the_laws_of_the_ledger():
    lab, p, alpha = noise_lab.answers(), 0.25, noise_lab.ALPHA
    weight = (1 - p) * (lab.rewards / alpha).exp() + p * ((1 - lab.rewards) / alpha).exp()
    known = {
        "GN-IVO, anchored": laws.tilt_by(lab, weight.log()),
        "GVPO, anchored": laws.tilt(lab, alpha / (1 - 2 * p)),
        "VIMPO, anchored": laws.vimpo_law(lab, alpha / (1 - 2 * p)),
    }
    for method, law in known.items():
        end = noise_lab.end(method, "group", p)[1]
        assert noise_lab.apart(end, law.tolist()) < 1e-6, method


def test_losses_are_paired_by_seed():
    scores = {"GRPO": [0.8, 0.9], "GRPO, group 25%": [0.7, 0.7],
              "VIMPO": [0.8, 0.6], "VIMPO, group 25%": [0.5, 0.4]}  # fmt: skip
    runs = [
        {"row": row, "seed": seed, "pass@1": {"mean": value}}
        for row, values in scores.items()
        for seed, value in enumerate(values)
    ]
    results = Results(None, runs)
    assert losses(results, "GRPO", ("group", 0.25)) == pytest.approx({0: 0.1, 1: 0.2})
    interval = against(results, "VIMPO", ("group", 0.25))
    assert interval.mean == pytest.approx(0.1)
    wider = against(results, "VIMPO", ("group", 0.25), comparisons=10)
    assert wider.high > interval.high


def test_every_method_is_tried_and_rows_have_names_of_their_own():
    cells = study.cells("full", range(5))
    keys = [(cell.row, cell.seed) for cell in cells]
    assert len(set(keys)) == len(keys) == len({cell.key for cell in cells})
    for method in study.METHODS:
        rows = {named(method, one) for one in (study.CLEAN, study.VIMPOS)}
        assert all(keys.count((row, 4)) == 1 for row in rows)
    noisy = next(cell for cell in cells if cell.row == "VIMPO, group 40%")
    assert noisy.settings["train"]["reward_noise"] == 0.4


@pytest.mark.slow
def test_smoke_form_gives_the_same_numbers_twice(tmp_path):
    done = [studies.run("noise", "smoke", jobs=0, out=tmp_path / name) for name in ("a", "b")]
    assert "against GRPO" in done[0].table
    kept = [
        [
            {key: run[key] for key in run if key in ("row", "seed", "right", "pass@1")}
            for run in runs
        ]
        for runs in (Results.read(one.folder).runs for one in done)
    ]
    assert kept[0] == kept[1]
    assert np.isfinite([run["right"] for run in kept[0] if "right" in run]).all()
