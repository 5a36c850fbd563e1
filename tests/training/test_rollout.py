"""One step's answers: who draws them, and in what precision they are scored. For GN-IVO with raw
weights the sampler decides where a run ends.
"""

import pytest
import torch

from gnivo_edu import tasks
from gnivo_edu.policies import evaluating, load_checkpoint
from gnivo_edu.policies.dense import dense_scores
from gnivo_edu.policies.heads import find_head
from gnivo_edu.training.config import load_config
from gnivo_edu.training.rollout import Rollouts
from tests.training.training_runs import SUMS, TINY, run

RUN = TINY | {
    "task": "toy_envs/RandomTree-v0",
    "task_options": {"vocab_size": 2, "horizon": 3},
    "objective_options": {"alpha": 0.3, "reward_max": 1.0},
    "reference": "initial",
    "steps": 400,
    "prompts_per_step": 16,
    "group_size": 8,
    "learning_rate": 0.05,
    "schedule": "cosine",
    "max_grad_norm": 1e9,
    "save_every": 1000,
    "completions_every": 20,
}
FEW = SUMS | {
    "precision": "bf16",
    "prompts_per_step": 4,
    "group_size": 4,
}


def error(tmp_path, **changes):
    done, _ = run(tmp_path / "-".join(map(str, changes.values())), **RUN | changes)
    return done.metrics["value/exact_error"]


@pytest.mark.slow
def test_gnivo_ends_at_the_optimum_on_answers_of_its_reference_and_elsewhere_on_its_own(tmp_path):
    right, own = (error(tmp_path, sampler=name) for name in ("reference", "policy"))
    assert right < 0.05
    assert own > 2 * right


@pytest.mark.slow
def test_gvpo_forgives_either(tmp_path):
    options = {"objective": "gvpo", "objective_options": {"alpha": 0.3}}
    for sampler in ("reference", "policy"):
        assert error(tmp_path, sampler=sampler, **options) < 0.05


def test_the_reference_draws_what_it_would_draw_alone(tmp_path):
    rewards = {}
    for rate in (0.05, 1e-9):  # however far the policy has gone
        changes = {"sampler": "reference", "steps": 3, "learning_rate": rate}
        _, rows = run(tmp_path / str(rate), **RUN | changes)
        rewards[rate] = [row["reward"] for row in rows]
    assert rewards[0.05] == rewards[1e-9]


def test_scores_are_summed_in_float32():
    config = load_config(**FEW, objective="vimpo")
    policy, task = load_checkpoint(), tasks.get(config.task, **config.task_options)
    rollouts = Rollouts(config, torch.device("cpu"), policy, task, {"policy_kl", "values"})
    drawn = rollouts.draw(0, torch.arange(4).numpy())
    fields = rollouts.score(drawn, torch.arange(16))
    assert fields.keys() == {"policy_logps", "entropy", "policy_kl", "values"}
    assert {x.dtype for x in fields.values()} == {torch.float32}
    seen = []
    backbone, head = find_head(policy)
    hook = backbone.register_forward_hook(lambda *call: seen.append(call[-1].last_hidden_state))
    with evaluating(policy), torch.no_grad():
        scored = rollouts.score(drawn, torch.arange(1))["policy_logps"][0]
    hook.remove()
    length = int(drawn["lengths"][0, 0])
    hidden, targets = seen[0][0, -length:].float(), drawn["tokens"][0, 0, :length]
    head = type(head)(weight=head.weight, num_actions=task.vocab_size)
    wide = dense_scores(hidden, head, targets)["policy_logps"].detach()
    assert float((scored[:length] - wide).abs().max()) < 1e-5
    half = (
        head.logits(hidden.bfloat16().float())
        .bfloat16()
        .float()
        .log_softmax(-1)
        .gather(1, targets[:, None])[:, 0]
        .detach()
    )
    assert float((half - wide).abs().max()) > 1e-4  # which a head in bfloat16 would not give
