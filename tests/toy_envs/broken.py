"""Environments that break one promise each; the checker must name it."""

from typing import Any

import numpy as np

from toy_envs import Brackets, CombinationLock, PosterProblem, RandomTree, TokenMDP


class PaysOnTheWay(CombinationLock):
    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward if terminated else 0.1, terminated, truncated, info


class StepDisagrees(CombinationLock):
    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, 0.5 * reward, terminated, truncated, info


class LyingMask(CombinationLock):
    def _info(self) -> dict[str, Any]:
        info = super()._info()
        info["action_mask"][0] = 0
        return info


class MaskAfterTheEnd(CombinationLock):
    def _info(self) -> dict[str, Any]:
        return super()._info() | {"action_mask": np.ones(self.vocab_size, dtype=np.int8)}


class RaisesOnIllegal(CombinationLock):
    def step(self, action: Any) -> Any:
        assert self.vocabulary[int(action)]
        return super().step(action)


class IllegalExtends(CombinationLock):
    def step(self, action: Any) -> Any:
        return super().step(min(max(int(action), 0), self.vocab_size - 1))


class NotAbsorbing(CombinationLock):
    def step(self, action: Any) -> Any:
        finished = self._finished
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, 1.0 if finished else reward, terminated, truncated, info


class OutsideTheSpace(CombinationLock):
    def _observation(self) -> Any:
        observation = super()._observation()
        observation[observation == self.pad_token_id] += 1
        return observation


class WrongPrompt(CombinationLock):
    def _observation(self) -> Any:
        observation = super()._observation()
        observation[0] = 0
        return observation


class NotNormalised(PosterProblem):
    def reference(self, prompt_index: int = 0) -> Any:
        tables = super().reference(prompt_index)
        tables[3] = tables[3] + 1e-6
        return tables


class WrongShape(PosterProblem):
    def reference(self, prompt_index: int = 0) -> Any:
        return super().reference(prompt_index)[:-1]


class TalksAfterTheEnd(Brackets):
    def reference(self, prompt_index: int = 0) -> Any:
        return [np.full((3**t, 3), -np.log(3)) for t in range(self.horizon)]


class Undocumented(CombinationLock):
    def _info(self) -> dict[str, Any]:
        return super()._info() | {"hint": 1}


class ReferenceMoves(PosterProblem):
    """Normalised, but another one at every call.

    ## Information
    `action_mask`, `prefix`, `prompt_index`, `illegal_action`.
    """

    calls = 0

    def reference(self, prompt_index: int = 0) -> Any:
        self.calls += 1
        chance = 1 / (1 + self.calls)
        return [np.log(np.tile([chance, 1 - chance], (2**t, 1))) for t in range(7)]


class Integers(CombinationLock):
    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, np.float32(reward), terminated, truncated, info


class BosIsAnAction(CombinationLock):
    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.bos_token_id = 0


class NeverEnds(CombinationLock):
    def step(self, action: Any) -> Any:
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, False, truncated, info


class HashSeeded(RandomTree):
    """Its rewards depend on Python's string hashes, which change from process to process."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(tree_seed=hash("tree") % 2**31, **arguments)

    __doc__ = RandomTree.__doc__


class GlobalRandom(TokenMDP):
    """Its prompts come from numpy's global stream, which `reset(seed=...)` does not know.

    ## Information
    `action_mask`, `prefix`, `prompt_index`, `illegal_action`.
    """

    def __init__(self, render_mode: str | None = None) -> None:
        prompts = [[2, 0], [2, 1], [2, 2]]
        super().__init__(2, 3, lambda y, n: y.all(axis=1), prompts=prompts, render_mode=render_mode)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        options = options or {"prompt_index": int(np.random.randint(3))}  # noqa: NPY002
        return super().reset(seed=seed, options=options)
