"""Who wrote the answers of a step: the policy or its reference just now, the policy in earlier
steps, or somebody else before the run began; joined into groups, each answer with its writer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from gnivo_edu.policies.sampling import SampledGroups
from gnivo_edu.training.config import TrainConfig
from gnivo_edu.training.sampler import FRESH, POLICY, REFERENCE, REPLAY, WRITERS
from gnivo_edu.training.stock import FIELDS, Replay, Rows, stocks_of

Drawn = dict[str, Tensor]
Counts = dict[str, Int[np.ndarray, " N"]]


class Writers:
    """The writers of a run and the answers of theirs that lie ready, `stocks` by name."""

    def __init__(self, config: TrainConfig, task: Any) -> None:
        self.config, self.task, self.counts = config, task, config.counts
        self.stocks = stocks_of(self.counts, task, replay_age=config.replay_age, data=config.data)

    @property
    def unknown(self) -> list[str]:
        """Whose answers do not all come with the log-probabilities of their writer."""
        return [name for name, x in self.stocks.items() if bool(x.rows["logps"].isnan().any())]

    def questions(
        self, gradable: Int[np.ndarray, " N"], progress: Callable[[str], None]
    ) -> Int[np.ndarray, " n"]:
        """Numbers of the prompts that the run asks: those to which the file has as many answers as
        a group takes, and `config.questions` of them, spread evenly. Says how many are left out.

        Raises ValueError, in one line, where there are fewer, and where a prompt does not come
        again before its answers are too old for a replay.
        """
        config, data = self.config, self.stocks.get("data")
        if data is not None:
            asked = len(gradable)
            most = [len(data.of(int(prompt))) for prompt in gradable]
            gradable = gradable[np.array(most) >= self.counts["data"]]
            if not len(gradable):
                raise ValueError(
                    f"a group takes {self.counts['data']} answers of {config.data}, which has at "
                    f"most {max(most)} to a question that can be graded: lower the count, or give "
                    "more"
                )
            if len(gradable) < asked:
                progress(
                    f"{asked - len(gradable):,} of {asked:,} questions are left out: "
                    f"{config.data} has fewer than {self.counts['data']} answers to them"
                )
        total = len(gradable)
        count = total if config.questions is None else config.questions
        if count > total:
            raise ValueError(f"questions={count:,}, but the task has {total:,}: lower it")
        steps = -(-count // config.prompts_per_step)
        if "replay" in self.stocks and steps > config.replay_age:
            raise ValueError(
                f"{count:,} questions come again after {steps:,} steps, and replay_age is "
                f"{config.replay_age}: set questions to "
                f"{config.replay_age * config.prompts_per_step:,} or fewer, or raise replay_age"
            )
        return gradable[np.arange(count) * total // count]

    def groups(
        self,
        step: int,
        prompts: Int[np.ndarray, " N"],
        share: slice,
        sample: Callable[..., SampledGroups],
    ) -> Drawn:
        """Groups of answers to a share of the prompts of a step, on the CPU: [N, K] and [N, K, T],
        and `prompt_index` [N].

        `writer` [N, K] is the number of each answer's writer in `WRITERS`; `logps` [N, K, T] are
        the writer's, nan where it is not known. `sample(writer, **which)` draws fresh answers, as
        `sample_completions` does. Where too few answers lie ready, the policy writes the others.
        """
        config = self.config
        ready = {
            name: stock.pick(prompts, self.counts[name], seed=config.seed, step=step)
            for name, stock in self.stocks.items()
        }
        fresh = {name: np.full(len(prompts), self.counts.get(name, 0)) for name in FRESH}
        for name, picked in ready.items():
            fresh["policy"] += self.counts[name] - np.array([len(rows) for rows in picked])
        start, stop, _ = share.indices(len(prompts))
        parts = self._written(step, prompts, fresh, slice(start, stop), sample)
        for name, picked in ready.items():
            mine = picked[start:stop]
            rows = {key: x[torch.cat(mine)] for key, x in self.stocks[name].rows.items()}
            parts.append(_of(name, rows, [len(each) for each in mine]))
        # Prompt by prompt; within a group in the order of the writers.
        flat = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        order = flat.pop("place").argsort(stable=True)
        count = len(order) // config.group_size
        drawn = {key: x[order].unflatten(0, (count, -1)) for key, x in flat.items()}
        return drawn | {"prompt_index": drawn["prompt_index"][:, 0]}

    def _written(
        self,
        step: int,
        prompts: Int[np.ndarray, " N"],
        counts: Counts,
        share: slice,
        sample: Callable[..., SampledGroups],
    ) -> list[Drawn]:
        """What the policy and its reference write to a share of the prompts, `counts` [N] of each,
        as they would write it to all.
        """
        # One list of all fresh answers, so that no two of them read the same random numbers: the
        # answers to a prompt are numbered as they come in it.
        at_once = int(np.gcd.reduce(np.concatenate(list(counts.values()))))
        if not at_once:
            return []
        listed = np.concatenate([np.repeat(prompts, counts[name] // at_once) for name in FRESH])
        parts, before = [], 0
        for name in FRESH:
            times = counts[name] // at_once
            start = before + int(times[: share.start].sum())
            before += int(times.sum())
            if not (mine := int(times[share].sum())):
                continue
            samples = sample(
                name,
                group_size=at_once,
                prompt_index=listed,
                share=slice(start, start + mine),
            )
            tokens, lengths, index = (x.cpu() for x in samples.rows)
            rows = {
                "tokens": tokens,
                "lengths": lengths,
                "logps": samples.logps.flatten(0, 1).cpu(),
                "truncated": samples.truncated.flatten().cpu(),
                "rewards": samples.rewards(self.task).flatten(),
                "prompt_index": index,
                "written": torch.full_like(index, step),
            }
            parts.append(_of(name, rows, counts[name][share]))
        return parts

    def remember(self, step: int, drawn: Drawn) -> None:
        """Keep what the policy wrote in a step that is done, if some of it is to be learned from
        again.
        """
        replay = self.stocks.get("replay")
        if not isinstance(replay, Replay):
            return
        K = drawn["lengths"].shape[1]
        flat = {
            **{name: drawn[name].flatten(0, 1) for name in FIELDS if name != "prompt_index"},
            "logps": drawn["behaviour_logps"].flatten(0, 1),
            "prompt_index": drawn["prompt_index"].repeat_interleave(K),
            # Noise is drawn anew in every step.
            "rewards": drawn.get("clean_rewards", drawn["rewards"]).flatten(0, 1),
        }
        by_policy = drawn["writer"].flatten() == POLICY
        new = {name: x[by_policy] for name, x in flat.items()}
        self.stocks["replay"] = replay.after(step, new)

    def memory(self) -> Rows | None:
        """The answers to be replayed, as a checkpoint keeps them; None without a replay."""
        return self.stocks["replay"].rows if "replay" in self.stocks else None

    def recall(self, rows: Rows | None) -> None:
        """Go on with the answers that a checkpoint has kept."""
        if rows is not None:
            self.stocks["replay"] = Replay(rows, self.config.replay_age)

    def metrics(self, drawn: Mapping[str, Tensor], step: int) -> dict[str, float]:
        """Where there is a replay: the share of its answers in a step, and their mean age."""
        if "replay" not in self.stocks:
            return {}
        old = drawn["writer"] == REPLAY
        ages = (step - drawn["written"][old]).double()
        return {
            "sampler/replay_share": float(old.double().mean()),
            "sampler/replay_age": float(ages.mean()) if len(ages) else 0.0,
        }


def writers_logps(drawn: Drawn) -> Drawn:
    """`behaviour_logps` [N, K, T] as they are known when a step is drawn, each answer's under its
    writer; and `logps`, what the writers noted themselves.

    The reference's are those that it is scored with, `reference_logps`, so that a ratio to them is
    free of the rounding between drawing and scoring. Where nobody knows the writer, the reference
    stands for it.
    """
    noted = drawn["logps"]
    if "reference_logps" not in drawn:
        return {"logps": noted, "behaviour_logps": noted}
    reference = drawn["reference_logps"]
    noted = torch.where(noted.isnan(), reference, noted)
    by_reference = (drawn["writer"] == REFERENCE)[..., None]
    return {"logps": noted, "behaviour_logps": torch.where(by_reference, reference, noted)}


def live_logps(drawn: Drawn, scored: Tensor) -> Tensor:
    """`behaviour_logps` [N, K, T] with `scored`, the live log-probabilities before a step's first
    update, for the answers that the policy has just written.

    The policy that is scored there wrote them. What it scores takes the place of what it noted when
    it drew, which differs by rounding alone: by a cache, by other shapes. Else the log-ratio of
    this update would be that rounding, and all of its gradient where the rewards are equal. Answers
    of others keep their writer's.
    """
    by_policy = (drawn["writer"] == POLICY)[..., None]
    return torch.where(by_policy, scored, drawn["behaviour_logps"].to(scored.dtype))


def _of(name: str, rows: Rows, counts: Sequence[int] | np.ndarray) -> Drawn:
    """Rows of one writer, with the places of their prompts in the share; `counts` of each place."""
    places = torch.as_tensor(np.repeat(np.arange(len(counts)), counts))
    return rows | {"place": places, "writer": torch.full_like(places, WRITERS.index(name))}
