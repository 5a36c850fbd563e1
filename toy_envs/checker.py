"""A stricter checker than gymnasium's, of what a token MDP promises and not only of its types."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from numpy.typing import NDArray

from toy_envs.core import Prefix, Tables, TokenMDP
from toy_envs.optimum import as_batch, complete_answers, count_answers, optimum

SAMPLE = 500  # answers walked per prompt; all of them where there are no more
SMALL = 5_000  # answers up to which every prefix is visited by backward induction
ALPHA = 0.5  # the temperature at which log Z is compared, reward per nat
TOLERANCE = 1e-9


def check_token_mdp(env: gym.Env[Any, Any]) -> None:
    """Check that a token MDP's step, batch reward, masks, tables and documentation agree.

    Checked: spaces; documented info keys; normalised reference tables; on all answers of every
    prompt (or a seeded sample of 500, fewer where prompts are many) observations, masks, the
    outcome of illegal tokens, step's rewards against the batch `reward`, and absorption; on small
    environments, log Z by backward induction over `step` against brute force over complete answers,
    and the registered threshold against the best expected reward; where there is a spec to rebuild
    it from, the same seeded stream in a second process with another hash seed. Raises
    AssertionError, in one line, on the first promise that is broken. Where a second process cannot
    build it, a warning says that this check was skipped.

    >>> check_token_mdp(TokenMDP(2, 3, reward=lambda tokens, lengths: tokens.all(axis=1)))
    """
    mdp = env.unwrapped
    try:
        if not isinstance(mdp, TokenMDP):
            raise TypeError("it must be a toy_envs.TokenMDP")
        _check_spaces(mdp)
        _check_documented_info(mdp)
        _check_reference(mdp)
        for n in range(len(mdp.prompts())):
            _check_answers(mdp, n)
        _check_backward_induction(mdp)
        _check_threshold(mdp)
        _check_second_process(mdp)
    except Exception as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise AssertionError(f"{type(mdp).__name__}: {line}") from error


def _require(condition: Any, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _check_spaces(mdp: TokenMDP) -> None:
    prompts = mdp.prompts()
    v = mdp.vocab_size
    _require(mdp.action_space == gym.spaces.Discrete(v), f"action_space must be Discrete({v})")
    _require(
        (mdp.bos_token_id, mdp.pad_token_id) == (v, v + 1),
        "bos and pad must be vocab_size and vocab_size + 1",
    )
    _require(
        mdp.eos_token_id is None or 0 <= mdp.eos_token_id < v, "eos_token_id must be an action"
    )
    _require(
        len(mdp.vocabulary) == v, f"vocabulary must have {v} entries, got {len(mdp.vocabulary)}"
    )
    _require(
        prompts.ndim == 2 and len(prompts) > 0,
        f"prompts must be [N, P], N >= 1, got {prompts.shape}",
    )
    _require((prompts[:, 0] == v).all(), "every prompt must start with bos_token_id")


def _check_documented_info(mdp: TokenMDP) -> None:
    sections = re.split(r"^## ", inspect.getdoc(type(mdp)) or "", flags=re.MULTILINE)
    information = [section for section in sections if section.startswith("Information\n")]
    _require(information, "the class docstring must have an '## Information' section")
    documented = set(re.findall(r"`([a-z_]+)`", information[0]))
    for name, info in (("reset", mdp.reset(seed=0)[1]), ("step", mdp.step(0)[-1])):
        wrong = sorted(documented ^ set(info))
        _require(not wrong, f"info keys documented and returned by {name} differ in {wrong}")


def _check_reference(mdp: TokenMDP) -> None:
    for n in range(min(len(mdp.prompts()), 10)):
        tables = mdp.reference(n)
        if tables is None:
            return
        shapes = [(mdp.vocab_size**t, mdp.vocab_size) for t in range(mdp.horizon)]
        _require(
            [table.shape for table in tables] == shapes,
            f"reference tables must have shapes {shapes}",
        )
        for t, table in enumerate(tables):
            error = float(np.abs(np.exp(table).sum(axis=1) - 1).max())
            _require(
                error < TOLERANCE,
                f"reference rows at depth {t} must sum to 1, the worst is off by {error:.2g}",
            )
            if t and (eos := mdp.eos_token_id) is not None:
                stays = (table[eos :: mdp.vocab_size, eos] == 0).all()
                _require(
                    stays,
                    f"reference rows of finished prefixes at depth {t} must be 0 (log 1) at EOS",
                )


def _sample_answers(mdp: TokenMDP, count: int, seed: int) -> Iterator[Prefix]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        answer: Prefix = ()
        while not mdp.is_finished(answer):
            answer = (*answer, int(rng.integers(mdp.vocab_size)))
        yield answer


def _answers_to_walk(mdp: TokenMDP, prompt_index: int) -> list[Prefix]:
    """All answers where there are few, else a seeded sample, smaller for many prompts."""
    count = max(5, min(SAMPLE, 8 * SAMPLE // len(mdp.prompts())))
    if count_answers(mdp) <= count:
        return [answer for answer, _ in complete_answers(mdp)]
    return list(_sample_answers(mdp, count, seed=prompt_index))


def _check_answers(mdp: TokenMDP, prompt_index: int) -> None:
    answers = _answers_to_walk(mdp, prompt_index)
    by_batch = mdp.reward(*as_batch(answers, mdp.horizon), prompt_index)
    _require(by_batch.dtype == np.float64, f"reward must return float64, got {by_batch.dtype}")
    for answer, expected in zip(answers, by_batch, strict=True):
        paid = _walk(mdp, prompt_index, answer=answer)
        _require(
            abs(paid - expected) < TOLERANCE,
            f"step pays {paid} for {answer}, reward says {expected}",
        )
    prefixes = dict.fromkeys(answer[:t] for answer in answers for t in range(len(answer)))
    for prefix in list(prefixes)[: len(answers)]:
        for token in (-1, mdp.vocab_size):
            _check_illegal(mdp, prompt_index, prefix=prefix, token=token)


def _walk(mdp: TokenMDP, prompt_index: int, answer: Prefix) -> float:
    """Write `answer` step by step, checking every state on the way; its return."""
    observation, info = mdp.reset(options={"prompt_index": prompt_index})
    _check_state(mdp, observation, info=info, prompt_index=prompt_index, prefix=(), finished=False)
    total = 0.0
    for t, token in enumerate(answer, start=1):
        observation, reward, terminated, truncated, info = _step(mdp, token, prefix=answer[: t - 1])
        last = t == len(answer)
        _require(
            type(reward) is float, f"step must return a float reward, got {type(reward).__name__}"
        )
        _require(
            (terminated, truncated) == (last, False),
            f"after {answer[:t]} terminated must be {last}",
        )
        _require(
            last or reward == 0, f"step pays {reward} at {answer[:t]}, before the answer has ended"
        )
        _check_state(
            mdp, observation, info=info, prompt_index=prompt_index, prefix=answer[:t], finished=last
        )
        total += reward
    for token in (0, mdp.vocab_size - 1, mdp.vocab_size):
        observation, reward, terminated, _, info = _step(mdp, token, prefix=answer)
        _require(
            terminated and reward == 0, f"the finished answer {answer} must be absorbing and pay 0"
        )
        _check_state(
            mdp, observation, info=info, prompt_index=prompt_index, prefix=answer, finished=True
        )
    return total


def _step(
    mdp: TokenMDP, token: int, prefix: Prefix
) -> tuple[Any, float, bool, bool, dict[str, Any]]:
    try:
        return mdp.step(token)
    except Exception as error:
        raise AssertionError(
            f"step({token}) after {prefix} raises {type(error).__name__}: {error}"
        ) from error


def _check_state(
    mdp: TokenMDP,
    observation: Any,
    info: dict[str, Any],
    prompt_index: int,
    prefix: Prefix,
    finished: bool,
) -> None:
    _require(
        observation in mdp.observation_space,
        f"the observation after {prefix} is not in the observation space",
    )
    padding = (mdp.pad_token_id,) * (mdp.horizon - len(prefix))
    expected = (*mdp.prompts()[prompt_index].tolist(), *prefix, *padding)
    _require(
        tuple(observation.tolist()) == expected,
        f"the observation after {prefix} must be {expected}",
    )
    _require(
        info["prefix"] == prefix,
        f"after the legal tokens {prefix} info['prefix'] is {info['prefix']}",
    )
    _require(info["prompt_index"] == prompt_index, f"info['prompt_index'] must be {prompt_index}")
    _require(not info["illegal_action"], f"the legal tokens {prefix} are called illegal")
    mask = info["action_mask"]
    legal = int(not finished)
    _require(
        mask.dtype == np.int8 and mask.shape == (mdp.vocab_size,),
        "action_mask must be int8 [vocab_size]",
    )
    _require(
        (mask == legal).all(),
        f"action_mask after {prefix} must be all {legal}, got {mask.tolist()}",
    )


def _check_illegal(mdp: TokenMDP, prompt_index: int, prefix: Prefix, token: int) -> None:
    _replay(mdp, prompt_index, prefix=prefix)
    _, reward, terminated, _, info = _step(mdp, token, prefix=prefix)
    outcome = terminated and reward == 0 and info["illegal_action"] and info["prefix"] == prefix
    _require(
        outcome,
        f"the illegal token {token} after {prefix} must end the answer, pay 0 and leave the prefix",
    )
    _require(
        not info["action_mask"].any(),
        f"action_mask after an illegal token must be all 0, at {prefix}",
    )


def _replay(
    mdp: TokenMDP, prompt_index: int, prefix: Prefix
) -> tuple[NDArray[np.int64], float, bool]:
    observation, _ = mdp.reset(options={"prompt_index": prompt_index})
    reward, finished = 0.0, False
    for token in prefix:
        observation, reward, finished, _, _ = mdp.step(token)
    return observation, reward, finished


def _log_value(
    mdp: TokenMDP, tables: Tables, prompt_index: int, prefix: Prefix = (), row: int = 0
) -> float:
    """V(s) = log sum_a pi_ref(a|s) e^{V(s, a)}; at the end R/alpha, the reward paid by `step`."""
    observation, reward, finished = _replay(mdp, prompt_index, prefix=prefix)
    _require(
        observation in mdp.observation_space,
        f"the observation after {prefix} is not in the observation space",
    )
    if finished:
        return reward / ALPHA
    logps = tables[len(prefix)][row]
    below = row * mdp.vocab_size  # the number of the first child
    terms = [
        logps[a]
        + _log_value(mdp, tables, prompt_index=prompt_index, prefix=(*prefix, a), row=below + a)
        for a in np.flatnonzero(logps > -np.inf).tolist()
    ]
    return float(np.logaddexp.reduce(terms))


def _check_backward_induction(mdp: TokenMDP, prompt_index: int = 0) -> None:
    if count_answers(mdp) > SMALL:
        return
    uniform = [
        np.full((mdp.vocab_size**t, mdp.vocab_size), -np.log(mdp.vocab_size))
        for t in range(mdp.horizon)
    ]
    reference = mdp.reference(prompt_index) or uniform
    by_steps = _log_value(mdp, reference, prompt_index=prompt_index)
    by_answers = optimum(mdp, ALPHA, prompt_index=prompt_index).log_z
    _require(
        abs(by_steps - by_answers) < TOLERANCE,
        f"log Z is {by_steps:.12g} by backward induction over step, "
        f"{by_answers:.12g} over complete answers",
    )


def _check_threshold(mdp: TokenMDP) -> None:
    threshold = mdp.spec.reward_threshold if mdp.spec else None
    count = len(mdp.prompts())
    if threshold is None or count * count_answers(mdp) > 20 * SMALL:
        return
    batch = as_batch([answer for answer, _ in complete_answers(mdp)], mdp.horizon)
    best = float(np.mean([mdp.reward(*batch, n).max() for n in range(count)]))
    _require(
        threshold <= best,
        f"reward_threshold {threshold} is above the best expected reward {best:.6g}",
    )


def fingerprint(mdp: TokenMDP) -> str:
    """Hash of all that a seed must fix: prompts, rewards, reference, and 200 random steps."""
    digest = hashlib.sha256(mdp.prompts().tobytes())
    batch = as_batch(list(_sample_answers(mdp, 50, seed=0)), mdp.horizon)
    for n in range(min(len(mdp.prompts()), 10)):
        digest.update(mdp.reward(*batch, n).tobytes())
        for table in mdp.reference(n) or []:
            digest.update(table.tobytes())
    mdp.action_space.seed(0)
    mdp.reset(seed=0)
    for _ in range(200):
        observation, reward, terminated, _, info = mdp.step(mdp.action_space.sample())
        digest.update(f"{observation.tolist()} {reward!r} {terminated} {info}".encode())
        if terminated:
            digest.update(str(mdp.reset()).encode())
    return digest.hexdigest()


# What the second process runs: 3 says that it could not build the environment.
_SECOND_PROCESS = """
import pickle, sys
try:
    spec = pickle.load(sys.stdin.buffer)
    import gymnasium
    mdp = gymnasium.make(spec).unwrapped
except BaseException as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    sys.exit(3)
from toy_envs.checker import fingerprint
print(fingerprint(mdp))
"""


def _check_second_process(mdp: TokenMDP) -> None:
    # Without a spec there is nothing to rebuild it from; a browser has no processes.
    if mdp.spec is None or sys.platform == "emscripten":
        return
    here = fingerprint(mdp)
    _require(
        here == fingerprint(mdp), "the same seed gives another stream when the environment is reset"
    )
    try:
        spec = _pickled(mdp.spec)
    except Exception as error:
        _skip_second_process(mdp, f"{type(error).__name__}: {error}")
        return
    hash_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    path = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    child = [sys.executable, "-c", _SECOND_PROCESS]
    try:
        there = subprocess.run(child, input=spec, env=environment, capture_output=True)
    except OSError as error:  # Python inside another program has no command of its own
        _skip_second_process(mdp, f"{type(error).__name__}: {error}")
        return
    complaint = there.stderr.decode(errors="replace").strip().splitlines()[-1:]
    if there.returncode == 3:
        _skip_second_process(mdp, *complaint)
        return
    _require(there.returncode == 0, f"in a second process it raises {complaint}")
    _require(
        here.encode() in there.stdout.split(),  # other modules may print, before and after
        "the same seed gives another stream in a second process",
    )


def _pickled(spec: EnvSpec) -> bytes:
    """The spec for another process: a class of a notebook or a lambda travels as its code."""
    import cloudpickle  # gymnasium brings it

    if isinstance(spec.entry_point, str) and spec.entry_point.startswith("__main__:"):
        # The main module of the other process is another one.
        entry_point: Any = load_env_creator(spec.entry_point)
        spec = replace(spec, entry_point=entry_point)
    pickled: bytes = cloudpickle.dumps(spec)
    return pickled


def _skip_second_process(mdp: TokenMDP, *why: str) -> None:
    reason = " ".join(" ".join(why).split())
    warnings.warn(
        f"{type(mdp).__name__}: a second process cannot build it, so that its seeded stream was "
        f"not compared with one there ({reason})",
        stacklevel=4,
    )
