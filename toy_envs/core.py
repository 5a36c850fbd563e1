"""Token MDPs: state = prefix, action = token, transition = append, one reward at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import ArrayLike, NDArray

from toy_envs.arguments import (
    RewardFunction,
    read_reward,
    read_rewards,
    whole,
    whole_number,
    whole_numbers,
)

LARGEST = 10**7  # tokens of a vocabulary or an answer: a list of either has to fit into memory
Prefix = tuple[int, ...]
Tables = list[NDArray[np.float64]]


class TokenMDP(gym.Env[NDArray[np.int64], np.int64]):
    """Writing an answer token by token, with a reward only at the end.

    ## Description
    A prompt is given; each action appends one token; the answer ends with `eos_token_id` (an action
    like any other, and rewarded as part of the answer) or at `horizon` tokens. The same object
    rewards one episode step by step (`step`) and a whole batch of answers at once (`reward`). Pose
    your own problem with a function:

    >>> import numpy as np
    >>> mdp = TokenMDP(3, 4, reward=lambda tokens, lengths: (tokens == 2).mean(axis=1))
    >>> mdp.reward(np.array([[2, 2, 0, 1]]), np.array([4]))
    array([0.5])

    ## Action Space
    `Discrete(vocab_size)`: the token to append, an integer of Python, numpy or torch (True is 1, as
    in Python). Anything else is illegal, be it -1, vocab_size, 1.0, 1.7, nan, None or an array of
    one: the episode ends at once with reward 0, the prefix unchanged and `info["illegal_action"]`
    true. No action raises.

    ## Observation Space
    `MultiDiscrete`, int64 of length P + horizon: the prompt (P tokens, the first is
    `bos_token_id`), the prefix, then `pad_token_id`.

    ## Starting State
    The empty prefix of a prompt drawn at random; `options={"prompt_index": i}` chooses it.

    ## Rewards
    0 until the answer ends, then `reward(answer)`; any finite number, in reward units.

    ## Episode End
    Termination: the end-of-sequence token, the horizon, or an illegal token. Truncation: never,
    since the horizon is part of the problem. A finished answer is absorbing: further steps change
    nothing and pay 0.

    ## Information
    `action_mask` (int8, 1 = legal; all 0 once the answer has ended), `prefix` (tuple of tokens),
    `prompt_index` (int), `illegal_action` (bool).

    ## Arguments
    `vocab_size` >= 1; `horizon` >= 1; `reward`, a batched function of `(tokens, lengths)` or
    `(tokens, lengths, prompt_index)`, tokens int64 [B, horizon] padded after `lengths` [B], whose
    parameters are read by name: others keep their defaults (see `read_reward`); `eos_token_id`;
    `vocabulary`, the text of each token; `prompts` int [N, P], each row starting with
    `bos_token_id`; `render_mode` None, "ansi" or "rgb_array". Raises ValueError, in one line, on
    anything else.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        vocab_size: int,
        horizon: int,
        reward: RewardFunction | None = None,
        eos_token_id: int | None = None,
        vocabulary: Sequence[str] | None = None,
        prompts: ArrayLike | None = None,
        render_mode: str | None = None,
    ) -> None:
        vocab_size, horizon = whole(vocab_size=vocab_size, horizon=horizon)
        if not (1 <= vocab_size <= LARGEST and 1 <= horizon <= LARGEST):
            raise ValueError(
                f"vocab_size and horizon must be at least 1, and at most {LARGEST:,}, "
                f"got {vocab_size} and {horizon}"
            )
        if eos_token_id is not None:
            eos_token_id = whole_number(eos_token_id, "eos_token_id")
            if not 0 <= eos_token_id < vocab_size:
                raise ValueError(
                    f"eos_token_id must be one of the actions 0..{vocab_size - 1}, "
                    f"got {eos_token_id}"
                )
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode must be 'ansi' or 'rgb_array', got {render_mode!r}")
        self.name = type(self).__name__
        self.vocab_size, self.horizon = vocab_size, horizon
        self.eos_token_id = eos_token_id
        # A task in words may have several tokens that end an answer; here there is one, or none.
        self.eos_token_ids: Prefix = () if eos_token_id is None else (eos_token_id,)
        self.bos_token_id, self.pad_token_id = self.vocab_size, self.vocab_size + 1
        self.vocabulary = tuple(vocabulary or (str(token) for token in range(vocab_size)))
        if len(self.vocabulary) != vocab_size:
            raise ValueError(
                f"vocabulary has {len(self.vocabulary)} entries for vocab_size={vocab_size}"
            )
        self._prompts = whole_numbers(
            [[self.bos_token_id]] if prompts is None else prompts, "prompts"
        ).copy()
        if (
            self._prompts.ndim != 2
            or self._prompts.size == 0
            or (self._prompts[:, 0] != self.bos_token_id).any()
        ):
            raise ValueError(
                f"prompts must be [N, P] and start with bos_token_id={self.bos_token_id}"
            )
        self._reward_call = None if reward is None else read_reward(reward)
        self.render_mode = render_mode
        self.action_space = gym.spaces.Discrete(self.vocab_size)
        shape = self._prompts.shape[1] + self.horizon
        self.observation_space = gym.spaces.MultiDiscrete(np.full(shape, self.vocab_size + 2))
        self._prompt_index = 0
        self._prefix: Prefix = ()
        self._finished = self._illegal = False

    # --- the problem, as a batch ------------------------------------------------------------------

    def prompts(self) -> NDArray[np.int64]:
        """Prompts, int64 [N, P]; each starts with `bos_token_id`."""
        return self._prompts.copy()

    def reward(
        self, tokens: ArrayLike, lengths: ArrayLike, prompt_index: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """Reward of whole answers: tokens int [B, T], lengths int [B] -> float64 [B].

        `prompt_index` (an int or [B]) defaults to prompt 0. What stands after `lengths`, or after
        the first `eos_token_id`, is ignored: a finished answer is absorbing. Raises ValueError on
        shapes that do not fit, on tokens that are not actions, on an unknown prompt and on a reward
        that is not finite.
        """
        tokens, lengths = check_answers(tokens, lengths)
        columns = tokens.shape[1]
        if columns > self.horizon:
            raise ValueError(f"answers have at most {self.horizon} tokens, got {columns} columns")
        if columns and self.eos_token_id is not None:
            ends = tokens == self.eos_token_id
            until_end = np.minimum(lengths, ends.argmax(axis=1) + 1)
            lengths = np.where(ends.any(axis=1), until_end, lengths)
        else:
            lengths = lengths.copy()  # the function may write into what it is given
        inside = np.arange(columns) < lengths[:, None]
        strange = inside & ((tokens < 0) | (tokens >= self.vocab_size))
        if strange.any():
            raise ValueError(
                f"token {int(tokens[strange][0])} is not an action 0..{self.vocab_size - 1}: check "
                "`lengths`"
            )
        padded = np.full((len(tokens), self.horizon), self.pad_token_id)
        padded[:, :columns] = np.where(inside, tokens, self.pad_token_id)
        index = self.prompt_numbers(0 if prompt_index is None else prompt_index, len(tokens))
        rewards = read_rewards(self._score(padded, lengths, index))
        if rewards.shape != lengths.shape:
            raise ValueError(
                f"the reward function returned shape {rewards.shape}: give one number per answer, "
                f"{lengths.shape}"
            )
        if not np.isfinite(rewards).all():
            bad = int(np.flatnonzero(~np.isfinite(rewards))[0])
            answer = self.decode(padded[bad])
            raise ValueError(f"the reward of {answer!r} is {rewards[bad]}; rewards must be finite")
        return rewards

    def _score(
        self, tokens: NDArray[np.int64], lengths: NDArray[np.int64], prompt_index: NDArray[np.int64]
    ) -> ArrayLike:
        """Reward of answers padded to [B, horizon]; override this, or pass `reward=`."""
        if self._reward_call is None:
            raise ValueError("this TokenMDP has no reward: pass reward=function(tokens, lengths)")
        return self._reward_call(tokens, lengths, prompt_index)

    def prompt_numbers(self, prompt_index: ArrayLike, count: int) -> NDArray[np.int64]:
        """The prompt of each of `count` answers, int64 [count], from an int or [count]; ValueError,
        in one line, on a prompt that is not there.
        """
        index = whole_numbers(prompt_index, "prompt_index")
        if ((index < 0) | (index >= len(self._prompts))).any():
            last = len(self._prompts) - 1
            raise ValueError(f"prompt_index must be in 0..{last}, got {index.tolist()}")
        if index.shape not in ((), (1,), (count,)):
            raise ValueError(
                f"prompt_index must be a number or one per answer, {(count,)}, got {index.shape}"
            )
        return np.broadcast_to(index, (count,)).copy()

    def reference(self, prompt_index: int = 0) -> Tables | None:
        """Log-probability tables [V**t, V], t = 0..T-1, if the problem states them, else None."""
        return None

    # --- what a task may say of itself; each has a plain default ----------------------------------

    # The Hugging Face tokenizer of a task in words; a toy environment has none.
    tokenizer: Any = None
    # Whether the vocabulary is the task's own, so that it cannot be bound to a model's tokenizer.
    own_vocabulary = True

    def without_noise(self) -> TokenMDP:
        """The problem that is meant: itself, unless it is one with noise in its rewards."""
        return self

    def prompt_mask(self) -> NDArray[np.bool_]:
        """Which places of `prompts()` hold a token, bool [N, P]; padding stands on the left."""
        return np.ones(self._prompts.shape, dtype=np.bool_)

    def gradable(self) -> NDArray[np.int64]:
        """Numbers of the prompts whose answers can be graded, int64; all, unless some gold answers
        cannot be read.
        """
        return np.arange(len(self._prompts))

    def prompt_text(self, prompt_index: int) -> str:
        """What the model reads, as text."""
        return self.decode(self._prompts[prompt_index])

    def question_text(self, prompt_index: int) -> str:
        """The question alone: of a task in words without the tokens around it."""
        return self.prompt_text(prompt_index)

    def asked(self, prompts: Sequence[int]) -> list[Any]:
        """What some prompts ask, whatever the tokenizer: equal lists are the same questions."""
        rows: list[Any] = self._prompts[list(prompts)].tolist()
        return rows

    def grade(
        self, tokens: ArrayLike, lengths: ArrayLike, prompt_index: ArrayLike = 0
    ) -> list[Any] | None:
        """A verdict on each answer in detail, `gnivo_edu.tasks.grading.Grade`, if the task has more
        to say than its reward.
        """
        return None

    def statuses(
        self, tokens: ArrayLike, lengths: ArrayLike, prompt_index: ArrayLike = 0
    ) -> list[str | None]:
        """What became of answers, "right", "wrong" and so on; None where nothing grades them."""
        grades = self.grade(tokens, lengths, prompt_index)
        return [None] * np.size(lengths) if grades is None else [grade.status for grade in grades]

    def step_ids(self, tokens: ArrayLike, lengths: ArrayLike) -> NDArray[np.int64]:
        """Step of each token, int64 [B, T]: 0, 1, 2, ...; here each token is a step."""
        shape = np.asarray(tokens).shape
        return np.broadcast_to(np.arange(shape[1]), shape).copy()

    def pieces(self, answer: Sequence[int]) -> list[str]:
        """Text of each token of an answer."""
        return [self.vocabulary[token] for token in answer]

    def token_texts(self, answer: Sequence[int]) -> list[str]:
        """What each token says where it stands in an answer; here its piece."""
        return self.pieces(answer)

    def demonstration(self, prompt_index: int) -> NDArray[np.int64] | None:
        """Tokens of a right answer to a prompt, None if the task writes none."""
        return None

    def demonstrations(
        self, count: int, wrong_rate: float = 0.0, seed: int = 0
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Right answers with slips: tokens [count, T], lengths [count], prompt_index [count].

        Prompts are drawn evenly, with replacement. Each token of `demonstration` but the last
        becomes, with chance `wrong_rate`, another one than it should be, drawn evenly among those
        that do not end the answer. Raises ValueError where the task writes no demonstration.

        >>> from toy_envs import ArithmeticChain
        >>> chain = ArithmeticChain()
        >>> tokens, lengths, index = chain.demonstrations(3)
        >>> bool((tokens[0, : lengths[0]] == chain.demonstration(index[0])).all())
        True
        """
        if count < 1 or not 0 <= wrong_rate <= 1:
            raise ValueError(
                f"count must be at least 1 and wrong_rate in 0..1, got {count} and {wrong_rate}"
            )
        rng = np.random.default_rng(seed)
        index = rng.integers(len(self._prompts), size=count)
        tokens = np.full((count, self.horizon), self.pad_token_id)
        lengths = np.zeros(count, dtype=np.int64)
        for row, number in enumerate(index.tolist()):
            answer = self._demonstration_with_slips(number, wrong_rate, rng)
            lengths[row] = len(answer)
            tokens[row, : len(answer)] = answer
        return tokens, lengths, index

    def _demonstration_with_slips(
        self, prompt_index: int, wrong_rate: float, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Tokens of an answer to a prompt, int64: the right one but for slips."""
        right = self.demonstration(prompt_index)
        if right is None:
            raise ValueError(
                f"{self.name} writes no demonstrations: give it a method `demonstration`"
            )
        answer = np.array(right, dtype=np.int64)
        for t in np.flatnonzero(rng.random(len(answer) - 1) < wrong_rate):
            excluded = (answer[t], *self.eos_token_ids)
            answer[t] = rng.choice([v for v in range(self.vocab_size) if v not in excluded])
        return answer

    # --- texts and ends ---------------------------------------------------------------------------

    def decode(self, tokens: ArrayLike) -> str:
        """Text of an answer; `bos_token_id` and `pad_token_id` are left out."""
        numbers = np.asarray(tokens, dtype=np.int64).tolist()
        words = [self.vocabulary[t] for t in numbers if 0 <= t < self.vocab_size]
        space = "" if all(len(word) == 1 for word in self.vocabulary) else " "
        return space.join(words)

    def is_finished(self, prefix: Sequence[int]) -> bool:
        """Whether an answer has ended: by an end-of-sequence token or at the horizon."""
        return len(prefix) >= self.horizon or (len(prefix) > 0 and prefix[-1] in self.eos_token_ids)

    # --- the problem, step by step ----------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.int64], dict[str, Any]]:
        """Start an answer to a random prompt, or to `options={"prompt_index": i}`."""
        super().reset(seed=seed)
        count = len(self._prompts)
        index = (options or {}).get("prompt_index")
        if index is None:
            index = int(self.np_random.integers(count))
        index = whole_number(index, "prompt_index")
        if not 0 <= index < count:
            raise ValueError(f"prompt_index must be in 0..{count - 1}, got {index}")
        self._prompt_index, self._prefix = index, ()
        self._finished = self._illegal = False
        return self._observation(), self._info()

    def step(self, action: Any) -> tuple[NDArray[np.int64], float, bool, bool, dict[str, Any]]:
        """Append one token; the reward comes with the token that ends the answer. What is no token
        ends the answer too, as illegal: no action raises.
        """
        reward = 0.0
        if not self._finished:
            token = self._token_of(action)
            self._illegal = token is None
            if token is not None:
                self._prefix = (*self._prefix, token)
            self._finished = self._illegal or self.is_finished(self._prefix)
            if self._finished and not self._illegal:
                answer = np.array([self._prefix], dtype=np.int64)
                reward = float(self.reward(answer, [answer.shape[1]], self._prompt_index)[0])
        return self._observation(), reward, self._finished, False, self._info()

    def _token_of(self, action: Any) -> int | None:
        """The token that an action stands for; None if it is none of 0..vocab_size-1."""
        try:
            token = whole_number(action, "action")
        except Exception:  # an action may be anything, and none may raise
            return None
        return token if 0 <= token < self.vocab_size else None

    def _observation(self) -> NDArray[np.int64]:
        padding = (self.pad_token_id,) * (self.horizon - len(self._prefix))
        return np.array(
            [*self._prompts[self._prompt_index], *self._prefix, *padding], dtype=np.int64
        )

    def _info(self) -> dict[str, Any]:
        return {
            "action_mask": np.full(self.vocab_size, not self._finished, dtype=np.int8),
            "prefix": self._prefix,
            "prompt_index": self._prompt_index,
            "illegal_action": self._illegal,
        }

    def render(self) -> Any:
        """The prefix as text (`ansi`), or a coloured cell per token (uint8 [32, 32 T, 3])."""
        if self.render_mode == "ansi":
            text = self.decode(self._prefix) or "(empty)"
            return f"{text}  [{len(self._prefix)} of {self.horizon} tokens]\n"
        if self.render_mode == "rgb_array":
            picture = np.full((32, 32 * self.horizon, 3), 255, dtype=np.uint8)
            for t in range(self.horizon):
                written = t < len(self._prefix)
                colour = _OKABE_ITO[self._prefix[t] % len(_OKABE_ITO)] if written else 235
                picture[2:30, 32 * t + 2 : 32 * t + 30] = colour
            return picture
        return None


def check_answers(
    tokens: ArrayLike, lengths: ArrayLike
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Answers as arrays, tokens int64 [B, T] and lengths int64 [B]; ValueError, in one line, on
    shapes that do not fit, on numbers that are not whole and on lengths outside 0..T.
    """
    tokens, lengths = whole_numbers(tokens, "tokens"), whole_numbers(lengths, "lengths")
    if tokens.ndim != 2 or lengths.shape != tokens.shape[:1]:
        raise ValueError(
            f"need tokens [B, T] and lengths [B], got {tokens.shape} and {lengths.shape}"
        )
    columns = tokens.shape[1]
    if ((lengths < 0) | (lengths > columns)).any():
        raise ValueError(f"lengths must be in 0..{columns}, got {lengths.min()}..{lengths.max()}")
    return tokens, lengths


# Okabe and Ito's eight colours, told apart by colour-blind readers.
_OKABE_ITO = np.frombuffer(
    bytes.fromhex("e69f00 56b4e9 009e73 f0e442 0072b2 d55e00 cc79a7 000000"), dtype=np.uint8
).reshape(8, 3)
