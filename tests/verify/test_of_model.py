"""Inside a model: what its tree keeps is told, and written; SmolLM2's is as it was committed."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from gnivo_edu import exact, policies, verify
from gnivo_edu.commands.tables import print_verification
from gnivo_edu.policies.fetch import place_of
from gnivo_edu.tasks import get_reward
from gnivo_edu.tasks.stories import sentiment
from gnivo_edu.training.origin import hash_of_weights

ROOT = Path(__file__).resolve().parents[2]
STORIES = Path(os.environ.get("GNIVO_SHARED", ROOT.parent / "shared")) / "models" / "stories260k"
TREE = ROOT / "notebooks" / "trees" / "smollm2_lily.json"
THEOREMS = ROOT / "recipes" / "smollm2" / "theorems.json"


@pytest.fixture(scope="module")
def committed():
    return policies.read_tree(TREE, sentiment)


@pytest.mark.skipif(not STORIES.is_dir(), reason="GNIVO_SHARED holds no models/stories260k")
def test_what_a_tree_keeps_is_told_and_the_tree_written(tmp_path, capsys):
    asked = {"prompt": "Lily was", "top_k": 3, "horizon": 3}
    few = {"alphas": [0.5], "group_sizes": [2], "tree": tmp_path / "tree.json"}
    report = verify.verify_model(str(STORIES), **asked, **few)
    mdp, facts = policies.read_tree(tmp_path / "tree.json", sentiment)
    assert report["passed"]
    assert facts["model"]["parameters"] == 260_032
    assert (facts["model"]["vocabulary"], facts["reward"]) == (512, "sentiment")
    assert facts["command"].endswith("--horizon 3 --reward sentiment --tree tree.json")
    kept = report["tree"]["kept_mass"]
    # The chance to stay inside is the mean of the product of the masses, over the tree's answers.
    leaves = np.array(list(np.ndindex(3, 3, 3)))
    place = [0, leaves[:, 0], leaves[:, 0] * 3 + leaves[:, 1]]
    products = np.prod([np.broadcast_to(mdp.kept_mass[t][place[t]], 27) for t in range(3)], axis=0)
    law = np.exp(exact.enumerate_tree(mdp).prefix_logps[-1])
    assert kept["whole"] == pytest.approx(law @ products, abs=1e-5)
    assert kept["by_depth"][0] == pytest.approx(mdp.kept_mass[0][0], abs=1e-5)
    assert 0 < kept["whole"] < min(kept["by_depth"]) < 1
    assert kept["least"] == pytest.approx(min(m.min() for m in mdp.kept_mass), abs=1e-5)
    assert report["tree"]["rewards"]["mean"] == pytest.approx(
        law @ exact.enumerate_tree(mdp).rewards, abs=1e-5
    )
    print_verification(report)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"it stays in the tree with chance {kept['whole']:.3f}." in shown
    assert json.loads(json.dumps(report)) == report


def test_a_tree_that_cannot_be_written_is_told_in_one_line(committed, tmp_path):
    from gnivo_edu.verify.of_model import _write

    model = policies.load_checkpoint()
    with pytest.raises(ValueError, match="could not be written") as raised:
        _write(committed[0], tmp_path / "none" / "x.json", model=model, name="m", reward="r")
    assert "\n" not in str(raised.value)


# --- SmolLM2, from its committed tree -------------------------------------------------------------


def test_the_committed_numbers_are_those_of_the_committed_tree(committed):
    """theorems.json was written where the model is; its tree says the same without it."""
    mdp, facts = committed
    told = json.loads(THEOREMS.read_text(encoding="utf-8"))
    assert told["passed"]
    assert len(told["results"]) == 9
    assert all(result["soft_value_theorem"]["max_abs_error"] < 1e-10 for result in told["results"])
    described = verify.describe_tree(mdp, facts["reward"])
    kept, written = (tree.pop("kept_mass") for tree in (described, told["tree"]))
    assert described.pop("rewards") == pytest.approx(told["tree"].pop("rewards"), abs=1e-5)
    assert described == told["tree"]
    assert kept["whole"] == pytest.approx(written["whole"], abs=1e-5)
    assert kept["by_depth"] == pytest.approx(written["by_depth"], abs=1e-5)
    controls = [control for result in told["results"] for control in result["controls"].values()]
    assert min(control["violation"] for control in controls) > 1e-4


def test_the_committed_tree_passes_and_its_reward_varies(committed):
    tree = exact.enumerate_tree(committed[0])
    result = verify.verify_tree(tree, 0.5, group_size=2)
    assert result["passed"]
    assert result["sequences"] == 4**6
    assert "notice" not in result
    assert len(np.unique(tree.rewards)) >= 5


@pytest.mark.slow
@pytest.mark.skipif(
    not (place_of("smollm2") / "config.json").is_file(),
    reason="SmolLM2 is not on this machine: gnivo-edu fetch smollm2, or GNIVO_MODELS",
)
def test_the_committed_tree_is_that_of_the_model(committed):
    """Recomputed. Where two tokens are about as likely, another machine may rank them the other way
    round, so that rows are compared as long as the prefixes agree.
    """
    mdp, facts = committed
    model, tokenizer = policies.load_policy("smollm2")
    assert hash_of_weights(model) == facts["model"]["sha256 of the weights"]
    fresh, _ = policies.tree_from_model(
        model, tokenizer, mdp.prompt, mdp.vocab_size, mdp.horizon, get_reward(facts["reward"])
    )
    assert fresh.prompt_ids == mdp.prompt_ids
    same, shares = np.ones(1, dtype=bool), []
    for t in range(mdp.horizon):
        ours, theirs = (tree.reference()[t] for tree in (mdp, fresh))
        equal = (mdp.token_ids[t] == fresh.token_ids[t]).all(axis=1)
        same &= equal
        np.testing.assert_allclose(ours[same], theirs[same], atol=1e-3, rtol=0)
        np.testing.assert_allclose(mdp.kept_mass[t][same], fresh.kept_mass[t][same], atol=1e-3)
        shares.append(same.mean())
        same = np.repeat(same, mdp.vocab_size)
    assert min(shares) > 0.95
    assert mdp.decode([0] * 6) == fresh.decode([0] * 6)
