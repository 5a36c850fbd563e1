"""What every registered toy environment promises."""

import inspect
import json
import math
import os
import re
import subprocess
import sys
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec, registry
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode

import toy_envs
from toy_envs.checker import fingerprint

NAMES = [
    "ArithmeticChain",
    "Brackets",
    "CombinationLock",
    "CriticalStep",
    "DigitSum",
    "PosterProblem",
    "RandomTree",
]
IDS = sorted(name for name in registry if name.startswith("toy_envs/"))
HEADINGS = [
    "Description",
    "Action Space",
    "Observation Space",
    "Starting State",
    "Rewards",
    "Episode End",
    "Information",
    "Arguments",
    "Exact Optimum",
    "References",
    "Version History",
]


@pytest.fixture(params=IDS)
def env_id(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_first_set_is_registered() -> None:
    assert [f"toy_envs/{name}-v0" for name in NAMES] == IDS


@pytest.mark.parametrize("render_mode", [None, "ansi", "rgb_array"])
def test_gymnasium_checker_finds_nothing(env_id: str, render_mode: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(env_id, render_mode=render_mode).unwrapped)


@pytest.mark.slow
def test_our_checker_finds_nothing(env_id: str) -> None:
    toy_envs.check_token_mdp(gym.make(env_id))


def test_vectorises_with_a_named_autoreset_mode(env_id: str) -> None:
    envs = gym.make_vec(
        env_id,
        num_envs=3,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
    )
    mdp = envs.envs[0].unwrapped
    envs.action_space.seed(0)
    observations, infos = envs.reset(seed=0)
    ended = 0
    for _ in range(36):
        observations, rewards, terminated, truncated, infos = envs.step(envs.action_space.sample())
        assert observations in envs.observation_space
        assert not truncated.any()
        assert ((rewards == 0) | terminated).all()
        assert infos["action_mask"].shape == (3, mdp.vocab_size)
        ended += terminated.sum()
        for n in np.flatnonzero(terminated):
            last = infos["final_info"]["prefix"][n]
            index = infos["final_info"]["prompt_index"][n]
            assert rewards[n] == mdp.reward([last], [len(last)], index)[0]
            assert infos["prefix"][n] == ()
    assert ended >= 36 * 3 // mdp.horizon - 3
    envs.close()


def test_renders_text_and_pixels(env_id: str) -> None:
    frames = {}
    for mode in ("ansi", "rgb_array"):
        env = gym.make(env_id, render_mode=mode)
        env.reset(seed=0)
        blank = env.render()
        env.step(0)
        frames[mode] = (blank, env.render())
        assert np.any(frames[mode][0] != frames[mode][1])
    mdp = env.unwrapped
    assert frames["ansi"][0].startswith("(empty)")
    assert frames["ansi"][1].startswith(mdp.decode([0]))
    assert frames["rgb_array"][1].shape == (32, 32 * mdp.horizon, 3)
    assert frames["rgb_array"][1].dtype == np.uint8


def test_spec_survives_json(env_id: str) -> None:
    env = gym.make(env_id)
    again = gym.make(EnvSpec.from_json(json.dumps(json.loads(env.spec.to_json()))))
    assert type(again.unwrapped) is type(env.unwrapped)
    assert again.spec.reward_threshold == env.spec.reward_threshold is not None
    # A time limit would call the end of the horizon a truncation.
    assert env.spec.max_episode_steps is None
    assert isinstance(registry[env_id].entry_point, str)


def test_twins_stay_equal(env_id: str) -> None:
    one, two = gym.make(env_id), gym.make(env_id)
    assert data_equivalence(one.reset(seed=7), two.reset(seed=7))
    one.action_space.seed(7)
    for _ in range(50):
        action = one.action_space.sample()
        first, second = one.step(action), two.step(action)
        assert data_equivalence(first, second)
        if first[2]:
            assert data_equivalence(one.reset(), two.reset())


def test_threshold_can_be_reached(env_id: str) -> None:
    mdp = gym.make(env_id).unwrapped
    greedy = [toy_envs.optimum(mdp, 1e-3, n).expected_reward for n in range(len(mdp.prompts()))]
    assert 0.9 <= registry[env_id].reward_threshold <= np.mean(greedy) <= 1 + 1e-12


@pytest.mark.parametrize("name", NAMES)
def test_docstring_has_the_fixed_headings(name: str) -> None:
    text = inspect.cleandoc(getattr(toy_envs, name).__doc__)
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    assert re.search(r"^Question: .*\?", text, re.MULTILINE | re.DOTALL)
    assert re.search(r"^Tags: .*\.$", text, re.MULTILINE)
    optima = text.split("## Exact Optimum")[1].split("## References")[0]
    assert "alpha 0.1: log Z = " in optima
    assert "alpha 1: log Z = " in optima  # computed: the doctest of the class prints both
    parameters = set(inspect.signature(getattr(toy_envs, name)).parameters)
    documented = text.split("## Arguments")[1].split("## Exact Optimum")[0]
    assert parameters <= set(re.findall(r"`(\w+)`", documented))


def test_import_brings_nothing_heavy() -> None:
    program = (
        "import sys, numpy, gymnasium; before = set(sys.modules); import toy_envs; "
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}), "
        "[name for name in ('torch', 'matplotlib', 'gnivo_edu', 'pygame') if name in sys.modules])"
    )
    root = os.path.dirname(os.path.dirname(toy_envs.__file__))
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "['toy_envs'] []"


WITH_A_HORIZON = ("Brackets", "CombinationLock", "CriticalStep", "DigitSum", "RandomTree")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [1.5, 2.0, math.nan, None, "3", [3], np.float64(3), 3j])
def test_every_number_of_an_environment_is_whole(name: str, bad: Any) -> None:
    make = getattr(toy_envs, name)
    for argument in set(inspect.signature(make).parameters) - {"render_mode"}:
        with pytest.raises(ValueError, match=f"^{argument} must be a whole number, got") as error:
            make(**{argument: bad})
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_whole_numbers_of_numpy_are_taken(name: str) -> None:
    make = getattr(toy_envs, name)
    parameters = inspect.signature(make).parameters
    plain = {key: p.default for key, p in parameters.items() if key != "render_mode"}
    ours, theirs = make(**plain), make(**{key: np.int64(x) for key, x in plain.items()})
    assert fingerprint(ours) == fingerprint(theirs)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("PosterProblem", {"render_mode": "human"}, "render_mode"),
        ("RandomTree", {"horizon": 0}, "horizon"),
        ("RandomTree", {"tree_seed": -1}, "tree_seed"),
        ("RandomTree", {"horizon": 13}, "2\\*\\*24"),
        ("CombinationLock", {"vocab_size": 0}, "vocab_size"),
        ("CombinationLock", {"code_seed": -1}, "code_seed"),
        ("DigitSum", {"vocab_size": 11}, "vocab_size"),
        ("DigitSum", {"target": 16}, "0..15"),
        ("DigitSum", {"target": -1}, "target"),
        ("Brackets", {"horizon": 2}, "horizon"),
        ("CriticalStep", {"vocab_size": 1, "right_token": 0}, "vocab_size"),
        ("CriticalStep", {"critical_step": 0}, "1..5"),
        ("CriticalStep", {"critical_step": 6}, "1..5"),
        ("CriticalStep", {"right_token": 3}, "0..2"),
        ("ArithmeticChain", {"base": 11}, "base"),
        ("ArithmeticChain", {"operations": 0}, "operations"),
        ("ArithmeticChain", {"num_prompts": 9}, "only 8 such questions"),
        ("ArithmeticChain", {"operations": 10**9}, "more than 10,000 tokens"),
        ("ArithmeticChain", {"digits": 10**9}, "more than 10,000 tokens"),
        ("RandomTree", {"horizon": 10**7}, "2\\*\\*24"),
        *[(name, {"horizon": 10**9}, "at most 10,000,000") for name in WITH_A_HORIZON],
    ],
)
def test_wrong_arguments_get_one_clear_line(
    name: str, arguments: dict[str, int], says: str
) -> None:
    with pytest.raises(ValueError, match=says) as error:
        getattr(toy_envs, name)(**arguments)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 160
