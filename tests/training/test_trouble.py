"""What is said where a run goes wrong or badly: once, in a line, with what to do about it."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import nn

from gnivo_edu import objectives
from gnivo_edu.batch import GroupBatch
from gnivo_edu.objectives import LossOutput
from gnivo_edu.training import trouble
from gnivo_edu.training.trouble import Watch, clip_gradient
from tests.training.training_runs import TINY, run
from toy_envs import TokenMDP

TASK = {"task": TokenMDP(3, 4, reward=lambda tokens, lengths: (tokens == 1).mean(1))}


def parameters(*gradients: list[float]) -> list[nn.Parameter]:
    made = [nn.Parameter(torch.zeros(len(g))) for g in gradients]
    for p, g in zip(made, gradients, strict=True):
        p.grad = torch.tensor(g)
    return made


def test_a_gradient_is_clipped_as_torch_does_and_where_its_squares_overflow():
    made, same = (parameters([3.0, 0.0], [4.0]) for _ in range(2))
    assert clip_gradient(made, 1.0) == 5.0 == float(nn.utils.clip_grad_norm_(same, 1.0))
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(made, same, strict=True))
    huge = parameters([3e30, 0.0], [4e30])
    assert clip_gradient(huge, 1.0) == pytest.approx(5e30)
    torch.testing.assert_close(huge[0].grad, torch.tensor([0.6, 0.0]))
    torch.testing.assert_close(huge[1].grad, torch.tensor([0.8]))
    free = parameters([3e30, 4e30])
    assert clip_gradient(free, float("inf")) == pytest.approx(5e30)
    torch.testing.assert_close(free[0].grad, torch.tensor([3e30, 4e30]))


def broken_at(n: int, k: int) -> Any:
    """An objective whose gradient is not finite in one answer, and whose loss is finite."""

    def objective(batch: GroupBatch, alpha: float = 0.1) -> LossOutput:
        out = objectives.gvpo(batch, alpha=alpha)
        if batch.policy_logps.shape[0] == 1:  # asked what it needs
            return out
        x = batch.policy_logps[n, k, 0]
        return LossOutput(out.loss + (x - x.detach()).sqrt(), out.metrics)

    return objective


def test_coefficients_that_are_not_finite_name_the_answer(tmp_path):
    with pytest.raises(ValueError, match=r"stopped at step 0: .*coefficient of policy_logps") as e:
        run(tmp_path, **TINY | {"task_options": {}}, things={"objective": broken_at(1, 2)})
    assert "it is that of answer 2 to prompt 0, '" in str(e.value)
    assert "\n" not in str(e.value)


def test_a_coefficient_too_large_for_float32_names_its_answer(tmp_path):
    def huge(batch: GroupBatch, alpha: float = 0.1) -> LossOutput:
        out = objectives.gvpo(batch, alpha=alpha)
        return LossOutput(out.loss + 1e50 * batch.policy_logps[0, 1].sum(), out.metrics)

    with pytest.raises(ValueError, match=r"1e\+50, too large for torch.float32; it is .*answer 1"):
        run(tmp_path, **TINY | {"precision": "float32"}, things={"objective": huge})


class Brittle(torch.autograd.Function):
    """The identity, with a gradient of nan for the rows that hold a token."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, bad: torch.Tensor) -> torch.Tensor:
        ctx.bad = bad
        return logits.clone()

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> Any:
        return torch.where(ctx.bad[:, None, None], torch.nan, g), None


def test_a_network_whose_gradient_breaks_names_the_answer(tmp_path, monkeypatch):
    from gnivo_edu.policies import TabularLM

    real = TabularLM.forward

    def forward(self: Any, input_ids: torch.Tensor, **named: Any) -> Any:
        out = real(self, input_ids=input_ids, **named)
        if torch.is_grad_enabled():
            second = input_ids[:, 1] if input_ids.shape[1] > 1 else input_ids[:, 0]
            out.logits = Brittle.apply(out.logits, second == 2)
        return out

    monkeypatch.setattr(TabularLM, "forward", forward)
    settings = TINY | {"prompts_per_step": 4}
    with pytest.raises(
        ValueError, match=r"the norm of the gradient nan; it is that of answer"
    ) as e:
        run(tmp_path, **settings, things=TASK)
    saved = torch.load(next(tmp_path.glob("stopped-at-step-*.pt")), weights_only=True)
    text = str(e.value).split("answer ")[1]
    k = int(text.split(" ")[0])
    broken = (saved["tokens"][..., 0] == 2).nonzero().tolist()
    assert broken[0][1] == k, (text, broken)


def test_a_norm_far_above_the_clip_is_said_once(tmp_path):
    said: list[str] = []
    run(tmp_path / "far", progress=said.append, **TINY | {"max_grad_norm": 1e-4})
    assert len(said) == 1
    assert "clipped to max_grad_norm=0.0001" in said[0]
    run(tmp_path / "near", progress=said.append, **TINY | {"objective": "gvpo"})
    assert len(said) == 1


def watched(monkeypatch: pytest.MonkeyPatch, waited: float) -> list[str]:
    """What is said of steps of a second in which threads waited so long for each second run."""
    now = iter([(t, t * waited) for t in range(20)])
    clock = iter(range(20))
    said: list[str] = []
    watch = Watch(said.append)
    watch.watching = True
    monkeypatch.setattr(trouble, "WATCHED", 2.0)
    monkeypatch.setattr(trouble, "thread_seconds", lambda: next(now))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    for _ in range(10):
        watch.step()
    return said


@pytest.mark.skipif(not trouble.THREADS.exists(), reason="Linux says how long a thread waits")
def test_threads_that_wait_for_cores_are_said_once_and_no_others(monkeypatch):
    said = watched(monkeypatch, waited=1.0)
    assert len(said) == 1
    assert "threads wait for a core 50% of their time" in said[0]
    assert "OMP_NUM_THREADS=" in said[0]
    assert watched(monkeypatch, waited=0.05) == []
    ran, waited = trouble.thread_seconds()
    assert ran >= 0 <= waited
