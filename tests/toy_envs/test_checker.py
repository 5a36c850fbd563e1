"""The checker accepts sound environments and names what is broken."""

import atexit
import functools
import os
import sys
import threading
import types
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from tests.toy_envs import broken
from toy_envs import ArithmeticChain, TokenMDP, check_token_mdp

SAYS = {
    broken.PaysOnTheWay: "pays 0.1 .* before the answer has ended",
    broken.StepDisagrees: "step pays 0.5 .* reward says 1.0",
    broken.LyingMask: r"action_mask after \(\) must be all 1",
    broken.MaskAfterTheEnd: "action_mask after .* must be all 0",
    broken.RaisesOnIllegal: r"step\(3\) after .* raises IndexError",
    broken.IllegalExtends: "illegal token -1 .* must end the answer",
    broken.NotAbsorbing: "absorbing",
    broken.OutsideTheSpace: "not in the observation space",
    broken.WrongPrompt: "observation after",
    broken.NotNormalised: "rows at depth 3 must sum to 1",
    broken.WrongShape: "reference tables must have shapes",
    broken.TalksAfterTheEnd: "finished prefixes at depth 1 must be 0",
    broken.Undocumented: r"info keys .* differ in \['hint'\]",
    broken.ReferenceMoves: "log Z is .* by backward induction",
    broken.Integers: "float reward",
    broken.BosIsAnAction: "bos and pad",
    broken.NeverEnds: "terminated must be True",
}


@pytest.mark.parametrize("cls", SAYS, ids=lambda cls: cls.__name__)
def test_a_broken_promise_is_named(cls: type[TokenMDP]) -> None:
    with pytest.raises(AssertionError, match=SAYS[cls]) as error:
        check_token_mdp(cls())
    assert str(error.value).startswith(f"{cls.__name__}: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "threshold", "says"),
    [
        ("HashSeeded", None, "second process"),
        ("GlobalRandom", None, "same seed gives another stream"),
        ("CombinationLock", 1.01, "reward_threshold 1.01 is above the best expected reward 1"),
    ],
)
def test_a_broken_registration_is_named(name: str, threshold: float | None, says: str) -> None:
    spec = gym.envs.registration.EnvSpec(
        f"Broken{name}-v0", f"tests.toy_envs.broken:{name}", reward_threshold=threshold
    )
    with pytest.raises(AssertionError, match=says):
        check_token_mdp(gym.make(spec))


def test_anything_else_is_refused() -> None:
    with pytest.raises(AssertionError, match=r"must be a toy_envs\.TokenMDP"):
        check_token_mdp(gym.make("FrozenLake-v1"))


@pytest.mark.parametrize(
    "env",
    [
        TokenMDP(1, 3, reward=lambda y, n: n * 0.0),
        # Any finite reward is accepted.
        TokenMDP(3, 1, reward=lambda y, n: y[:, 0] - 5.0, eos_token_id=0),
        TokenMDP(2, 9, reward=lambda y, n: y.mean(axis=1)),  # 512 answers: a sample is walked
        ArithmeticChain(operations=4, base=10, digits=2, num_prompts=9),
    ],
)
@pytest.mark.slow
def test_sound_environments_pass(env: TokenMDP) -> None:
    check_token_mdp(env)


class OfATest(TokenMDP):
    """An environment that only this module knows.

    ## Information
    `action_mask`, `prefix`, `prompt_index`, `illegal_action`.
    """

    def __init__(self, horizon: int = 2, reward: Any = None, render_mode: str | None = None):
        super().__init__(2, horizon, reward or (lambda y: y.mean(axis=1)), render_mode=render_mode)


class HashOfATest(OfATest):
    def _score(self, tokens: Any, lengths: Any, prompt_index: Any) -> Any:
        # Modulo a large prime: two seeds of the interpreter are not to agree by chance.
        return np.full(len(tokens), hash("the seed of the interpreter") % (2**31 - 1) / 2**31)


def local_class() -> type[TokenMDP]:
    class Local(OfATest):
        """Known to nobody outside this function.

        ## Information
        `action_mask`, `prefix`, `prompt_index`, `illegal_action`.
        """

    return Local


def noisy(parent: int, **options: Any) -> TokenMDP:
    if os.getpid() != parent:
        atexit.register(print, "goodbye from the second process")
    return OfATest(**options)


# Ways of registering a sound environment.
SOUND: dict[str, dict[str, Any]] = {
    "class": {"entry_point": OfATest},
    "local class": {"entry_point": local_class()},
    "lambda": {"entry_point": lambda **options: OfATest(**options)},
    "partial": {"entry_point": functools.partial(OfATest, horizon=np.int64(3))},
    "of the main module": {"entry_point": "__main__:OfATest"},
    "numbers of numpy": {"entry_point": OfATest, "kwargs": {"horizon": np.int32(3)}},
    "prints at the end": {"entry_point": functools.partial(noisy, parent=os.getpid())},
    "reward": {"entry_point": OfATest, "kwargs": {"reward": lambda y: y.sum(axis=1) / 2}},
}


@pytest.mark.slow
@pytest.mark.parametrize("how", SOUND)
def test_a_sound_environment_passes_however_it_was_registered(
    how: str, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "OfATest", OfATest, raising=False)
    check_token_mdp(gym.make(EnvSpec("OfATest-v0", **SOUND[how])))
    assert not [w for w in recwarn if "second process" in str(w.message)]


@pytest.mark.slow
def test_a_class_of_the_main_module_is_compared_with_its_copy() -> None:
    spec = EnvSpec("OfATest-v0", lambda **options: HashOfATest(**options))
    with pytest.raises(AssertionError, match="another stream in a second process"):
        check_token_mdp(gym.make(spec))


@pytest.mark.parametrize("trouble", ["cannot be pickled", "cannot be found there", "no Python"])
def test_a_second_process_that_cannot_build_it_is_said_aloud(
    trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trouble == "no Python":
        monkeypatch.setattr(sys, "executable", "")
        spec = EnvSpec("OfATest-v0", OfATest)
    elif trouble == "cannot be pickled":
        lock = threading.Lock()
        spec = EnvSpec("OfATest-v0", lambda **options: OfATest(2 + 0 * lock.locked(), **options))
    else:
        ghost = types.ModuleType("module_of_nowhere")
        ghost.__dict__["Env"] = OfATest
        monkeypatch.setitem(sys.modules, "module_of_nowhere", ghost)
        spec = EnvSpec("OfATest-v0", "module_of_nowhere:Env")
    with pytest.warns(
        UserWarning, match=r"OfATest: a second process cannot build it.*Error"
    ) as said:
        check_token_mdp(gym.make(spec))
    assert all("\n" not in str(w.message) for w in said)
