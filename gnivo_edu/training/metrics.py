"""What is logged at every step, under the names that TRL's users know, and what only implicit
values have.

A row is written once a step; `step_time` is in seconds. All that follows is of all answers of the
step and, unless it says otherwise, of the policy before the step's last update: what an update has
done shows in the next row.

Rewards, in reward units: `reward`, mean; `rewards/<task or reward>/mean` and `/std`, of all
answers; `reward_std`, the standard deviation among the answers to one prompt, averaged over
prompts; `frac_reward_zero_std`, share of prompts whose answers are all rewarded alike. With
`reward_noise` these are of the rewards that the objective saw, and `reward_clean` is the mean of
those that the task paid.
Lengths, in tokens, of all answers and of those that ended by themselves (0 if none did):
`completions/mean_length`, `min_length`, `max_length`, `mean_terminated_length`,
`min_terminated_length`, `max_terminated_length`; `completions/clipped_ratio`, share of answers that
were cut off.
Tokens: `step_tokens`, of the step's answers; `num_tokens`, of all prompts and answers since the run
began, a prompt counted once for each of its answers.
Sampling, per token: `sampling/sampling_logp_difference/mean` and `/max`, |log pi_theta - log
pi_sampler|, nats; `sampling/importance_sampling_ratio/min`, `/mean`, `/max`, pi_theta/pi_sampler.
The sampler's are those that it noted when it drew; of a mixture, each answer's writer's. Rounding
on the first update of a step, of which the loss has none (there the sampler is the policy, unless
answers of others are among them); after it, also how far the policy has moved
from the sampler.
Of whom the answers are, where some are replayed: `sampler/replay_share`, share of the step's
answers that the policy wrote in earlier steps, and `sampler/replay_age`, how many steps ago, on
average.
Divergences, in nats: `logratio`, mean log pi_theta/pi_ref of answers; `kl`, the exact KL that the
loss has in it; `kl_to_initial`, that to the model as it was. Both are summed over the tokens of an
answer and averaged over answers, where TRL's `kl` is a mean over tokens: along the policy's own
answers an unbiased estimate of the KL of whole answers, whatever `kl_gradient`. `kl_to_initial` is
there
every `completions_every` steps, and at every step where it costs nothing. `entropy`, of the next
token, is a mean over tokens, as in TRL.
Clipping, where the objective clips: `clip_ratio/low_mean`, `high_mean` and `region_mean`, shares of
ratios below, above and outside the range; `low_min` and `high_max`, the smallest and the largest
share in one answer. A ratio counts whatever the sign of its advantage, where TRL counts those alone
that the clip stops. RLOO's ratios are of answers, GSPO's the geometric means of an answer's.
Preferences: `rewards/accuracies`, share of pairs whose better answer has the larger implicit reward
alpha log pi_theta/pi_ref; `rewards/margins`, by how much, reward units.
Fit: `fit/residual_rms_over_target_rms`, see `fit_metrics`; `value/exact_error` and
`value/rank_correlation`, see `exact_error`, both measured after the step's last update. Updates:
`loss`, `policy_loss`, `grad_norm` before it is clipped, `learning_rate`, `token_weight`, see there.
`objective/...`: what else an objective reports, see its docstring.

With reference=sampler and one update a step, `logratio` is 0 and the residual 1 in every row, since
the policy is its own reference: `kl_to_initial` is what moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gnivo_edu import exact
from gnivo_edu.batch import GroupBatch
from gnivo_edu.evaluation.agreement import agreement_with, answer_keys
from gnivo_edu.objectives import LossOutput
from gnivo_edu.objectives.surrogate import behaviour_logratio
from gnivo_edu.population.questions import unexplained
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.field_gradients import Coefficients
from gnivo_edu.training.settings import option_of

MAX_SEQUENCES = 2**14  # over all prompts: a fraction of a second on a CPU
Ratio = Literal["token", "answer", "mean of an answer"]
# Metrics of objectives: those that TRL's users know by another name, and those that say what is
# logged already.
KNOWN = {
    "accuracy": "rewards/accuracies",
    "margin": "rewards/margins",
    "policy_loss": "policy_loss",
}
# What an objective takes a ratio of, where that is not a token.
RATIO_OF: dict[str, Ratio] = {"rloo": "answer", "gspo": "mean of an answer"}
SAID = {"reward", "logratio", "tied_groups", "clipped", "kl_to_initial"}


def rollout_metrics(drawn: Mapping[str, Tensor], name: str) -> dict[str, float]:
    """Rewards and lengths of one step's answers; `name` is the reward's."""
    rewards, truncated = drawn["rewards"], drawn["truncated"]
    lengths = drawn["lengths"].double()
    ended = lengths[~truncated] if not bool(truncated.all()) else torch.zeros(1)
    spread = rewards.std(1) if rewards.shape[1] > 1 else torch.zeros(len(rewards))
    clean = drawn.get("clean_rewards")
    return {
        "reward": float(rewards.mean()),
        **({} if clean is None else {"reward_clean": float(clean.mean())}),
        "reward_std": float(spread.mean()),
        "frac_reward_zero_std": float((spread == 0).double().mean()),
        f"rewards/{name}/mean": float(rewards.mean()),
        f"rewards/{name}/std": float(rewards.std()) if rewards.numel() > 1 else 0.0,
        **{f"completions/{which}_length": x for which, x in _extent(lengths).items()},
        **{f"completions/{which}_terminated_length": x for which, x in _extent(ended).items()},
        "completions/clipped_ratio": float(truncated.double().mean()),
        "step_tokens": int(lengths.sum()),
    }


@torch.no_grad()
def fit_metrics(batch: GroupBatch, alpha: float | None) -> dict[str, float]:
    """How much of the rewards the policy explains: `fit/residual_rms_over_target_rms`, 1 at the
    reference, 0 at pi*.

        sqrt( sum_i (R_i - mean R - alpha (h_i - mean h))^2 / sum_i (R_i - mean R)^2 )

    with h = log pi_theta/pi_ref. Beside it `logratio`, the mean of h; `kl` and `entropy` where they
    are known; and what is said of sampling.
    """
    gap = behaviour_logratio(batch)[batch.mask]
    row: dict[str, Any] = {
        "logratio": float(batch.sequence_logratio.mean()),
        "sampling/sampling_logp_difference/mean": float(gap.abs().mean()),
        "sampling/sampling_logp_difference/max": float(gap.abs().max()),
        **{
            f"sampling/importance_sampling_ratio/{which}": x
            for which, x in _extent(gap.exp()).items()
        },
    }
    if batch.policy_kl is not None:
        row["kl"] = float(batch.policy_kl.masked_fill(~batch.mask, 0.0).sum(-1).mean())
    if batch.entropy is not None:
        row["entropy"] = float(batch.entropy[batch.mask].mean())
    share = math.nan if alpha is None else unexplained(batch, alpha)
    if not math.isnan(share):  # it is where every group is tied
        row["fit/residual_rms_over_target_rms"] = share
    return row


def objective_metrics(
    metrics: Mapping[str, Tensor],
    batch: GroupBatch,
    objective: Callable[..., LossOutput],
    config: TrainConfig,
) -> dict[str, float]:
    """What an objective reports, by known names where there are any; margins of log-ratios become
    reward units.
    """
    row = {
        KNOWN.get(name, f"objective/{name}"): float(x)
        for name, x in metrics.items()
        if name not in SAID
    }
    alpha, low, high = (
        option_of(objective, config, name=name) for name in ("alpha", "clip_low", "clip_high")
    )
    if "rewards/margins" in row and alpha is not None:
        row["rewards/margins"] *= alpha
    if config.objective == "cispo":
        low = 1.0  # its weights have no lower bound, and no ratio is below 0
    if "clipped" in metrics and low is not None and high is not None:
        acted = batch.by_step() if config.level == "step" else batch
        ratio_of = RATIO_OF.get(config.objective, "token")
        row |= clip_metrics(acted, low, high=high, ratio_of=ratio_of)
    return row


def token_weight(taken: Coefficients) -> float:
    """Root mean square, over tokens, of dL/dlog pi times the number of answers: what an advantage
    is for a policy gradient, whatever the loss.
    """
    weights = taken.by_field["policy_logps"].double() * taken.mask.shape[:2].numel()
    return float(weights.square().sum() / taken.mask.sum().clamp(min=1)) ** 0.5


@torch.no_grad()
def clip_metrics(
    batch: GroupBatch, low: float, high: float, ratio_of: Ratio = "token"
) -> dict[str, float]:
    """Shares of ratios pi_theta/pi_sampler that lie outside [1 - low, 1 + high]: those of tokens,
    of whole answers, or the geometric means of an answer's.
    """
    logratio, mask = behaviour_logratio(batch), batch.mask
    if ratio_of != "token":
        logratio, mask = logratio.sum(-1, keepdim=True), torch.ones_like(mask[..., :1])
    if ratio_of == "mean of an answer":
        logratio = logratio / batch.lengths[..., None].clamp(min=1)
    below, above = (logratio.exp() < 1 - low) & mask, (logratio.exp() > 1 + high) & mask
    count = mask.sum(-1).clamp(min=1)
    return {
        "clip_ratio/low_mean": float(below.sum() / count.sum()),
        "clip_ratio/low_min": float((below.sum(-1) / count).min()),
        "clip_ratio/high_mean": float(above.sum() / count.sum()),
        "clip_ratio/high_max": float((above.sum(-1) / count).max()),
        "clip_ratio/region_mean": float((below | above).sum() / count.sum()),
    }


def _extent(x: Tensor) -> dict[str, float]:
    return {"min": float(x.min()), "mean": float(x.mean()), "max": float(x.max())}


def exact_keys(reference: nn.Module, task: Any, alpha: float | None) -> list[exact.Solution]:
    """The answer key of every prompt, or none where there is no alpha, or more than `MAX_SEQUENCES`
    answers.

    >>> from gnivo_edu.policies import TabularLM
    >>> from toy_envs import RandomTree, TokenMDP
    >>> small, large = RandomTree(vocab_size=2, horizon=3), TokenMDP(10, 10)
    >>> policy = TabularLM.from_mdp(small)
    >>> len(exact_keys(policy, small, 0.5)), exact_keys(policy, large, 0.5)
    (1, [])
    """
    mask = task.prompt_mask()
    # V**T in logarithms: of a language model it has thousands of digits.
    most = math.log(MAX_SEQUENCES / len(mask))
    small = task.horizon * math.log(task.vocab_size) <= most + 1e-9
    if alpha is None or not small or len(task.eos_token_ids) > 1 or not mask.all():
        return []
    return answer_keys(reference, task, alpha=alpha)


def exact_error(policy: nn.Module, task: Any, keys: list[exact.Solution]) -> dict[str, float]:
    """`value/exact_error`: the RMS, nats, of log pi/pi_ref + log Z - V over all prefixes; and the
    rank correlation.

    Reference: the initial model, at the objective's alpha, whatever reference the run itself moves
    to. A run whose reference stays can take it to 0; one whose reference moves passes by.
    """
    if not keys:
        return {}
    agreement = agreement_with(policy, task, keys=keys)
    error = {
        "value/exact_error": agreement.rms,
        "value/rank_correlation": agreement.rank_correlation,
    }
    # Where all values are equal they have no rank.
    return {name: value for name, value in error.items() if math.isfinite(value)}


def reward_name(config: TrainConfig) -> str:
    """What the reward is called in `rewards/<name>/mean`: its own name where the task is given one,
    else the task's.

    >>> reward_name(TrainConfig(task="toy_envs/Brackets-v0"))
    'Brackets-v0'
    >>> reward_name(TrainConfig(task="stories", task_options={"reward": "my:own"}))
    'own'
    """
    reward = config.task_options.get("reward")
    name = reward if isinstance(reward, str) else config.task
    return name.rpartition("/")[2].rpartition(":")[2]
