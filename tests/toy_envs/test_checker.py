"""The checker accepts sound environments and names what is broken."""

import gymnasium as gym
import pytest

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
