"""Stories to continue, with a graded reward: how happy is a story? A word-list score, small enough
to read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnivo_edu.tasks.data_sets import first_rows, load_rows, text_field
from gnivo_edu.tasks.grading import Grade, Problem
from gnivo_edu.tasks.rewards import TextReward, get_reward
from gnivo_edu.tasks.text_task import TextTask
from gnivo_edu.values import convert
from toy_envs.arguments import read_rewards


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


POSITIVE = _words("""
    amazing beautiful best better brave bright calm careful cheer cheered cheerful clever
    comfortable cozy cute delicious delighted enjoy enjoyed excited exciting fine friend
    friendly friends fun funny gentle gift glad good grateful great happily happiness happy help
    helped helpful helping hope hug hugged hugs joy kind kindness laugh laughed laughing laughs
    love loved lovely loves loving lucky magic magical nice party peaceful perfect play played
    playful playing pleased pretty proud safe safely share shared sharing shiny smile smiled
    smiles smiling special strong sunny surprise sweet tasty thank thanked thankful thanks
    treasure treat warm welcome win wonderful won yay yummy
""")
NEGATIVE = _words("""
    afraid alone angry annoyed ashamed awful bad badly bite bitter bored boring break broke
    broken careless cold cried cries cruel cry crying danger dangerous dark die died dirty
    disappointed enemy evil fail failed fear feared fell fight fighting fought frightened frown
    frowned grumpy guilty hate hated hungry hurt hurts ill jealous lonely lose lost mad mean
    mess messy miserable missed mistake monster nasty naughty nervous noisy pain painful poor
    rude ruined sad sadly sadness scare scared scary scream screamed selfish shouted sick sorry
    stole stuck terrible tired trouble ugly unhappy upset weak worried worry worse worst wrong
    yelled yucky
""")


def sentiment(texts: Sequence[str]) -> NDArray[np.float64]:
    """Happiness of each text, float64 [B] in (0, 1): (p + 1/2) / (p + n + 1), 1/2 where no listed
    word occurs.

    p and n count the words of `POSITIVE` and `NEGATIVE`; a word is a run of letters, in any case,
    and a word that is said twice counts twice. This is the mean of a Beta(1/2, 1/2) prior updated
    with p happy and n unhappy words, so that more evidence moves the score further. Context is
    ignored: "not happy" counts as happy.

    >>> sentiment(["The cat sat.", "Lily was happy.", "Happy, happy Lily!"]).round(2)
    array([0.5 , 0.75, 0.83])
    >>> sentiment(["Tom was sad but brave."])
    array([0.5])
    """
    if isinstance(texts, str):
        raise ValueError("sentiment takes a list of texts, got one text: put it in a list")
    words = [re.findall(r"[^\W\d_]+", text.lower()) for text in texts]
    p, n = (
        np.array([sum(word in listed for word in text) for text in words], dtype=np.float64)
        for listed in (POSITIVE, NEGATIVE)
    )
    return (p + 0.5) / (p + n + 1)


# Openings to continue; ours.
OPENINGS = (
    "Once upon a time, there was a little girl named Lily. She",
    "One day, Tom went to the park. He saw",
    "Ben had a red ball. One morning, the ball",
    "The sun was hot, and the small dog wanted",
    "Mia and her mom made a cake. Then",
    "There was a big tree near the house. In the tree",
    "It was raining, and Sam could not go outside. He",
    "Anna found a tiny kitten under the bed. The kitten",
)


def stories(
    tokenizer: Any,
    path_or_id: str | None = None,
    split: str = "train",
    openings: Sequence[str] | None = None,
    reward: str | TextReward = "sentiment",
    limit: int | None = None,
    **options: Any,
) -> TextTask:
    """Stories to continue, each rewarded by a number that is not only 0 or 1; every grade is
    "scored".

    `openings` are the beginnings of stories, by default `OPENINGS`, or come from `path_or_id` (a
    data set with a column prompt, opening or text). `reward` takes a list of continuations to
    numbers, or to a tensor, whose gradient is left behind: a named one, `module:function`, or the
    function. Steps are sentences; an answer has at most 64 tokens unless `horizon` says otherwise.
    `options` are those of `TextTask`. Raises ValueError on a data set without such a column, and on
    rewards that are not one finite number for each text.
    """
    if path_or_id is not None:
        if openings is not None:
            raise ValueError("pass openings or path_or_id, not both")
        columns = ("prompt", "opening", "text")
        openings = [
            text_field(row, columns, number=number, source=path_or_id)
            for number, row in enumerate(load_rows(path_or_id, split), 1)
        ]
    else:
        openings = convert("openings", OPENINGS if openings is None else openings, list[str])
    problems = [Problem(question=text) for text in first_rows(openings, limit)]
    score = get_reward(reward) if isinstance(reward, str) else reward
    grader = partial(_score_texts, score)
    standard = {"horizon": 64, "segmenter": "sentence", "instruction": "Continue this story."}
    return TextTask(
        "stories", problems, tokenizer=tokenizer, grader=grader, **{**standard, **options}
    )


def _score_texts(
    score: TextReward, texts: Sequence[str], problems: Sequence[Problem]
) -> list[Grade]:
    """Grades that hold the score of each text; `problems` have no gold answer to compare with."""
    scores = score(list(texts))
    try:
        rewards = read_rewards(scores)
    except ValueError as error:
        raise ValueError("the reward must give one number for each text") from error
    if rewards.shape != (len(texts),):
        raise ValueError(
            f"the reward gave numbers of shape {rewards.shape} for {len(texts)} texts: one for "
            "each text"
        )
    if not np.isfinite(rewards).all():
        i = int(np.argmin(np.isfinite(rewards)))
        raise ValueError(f"the reward of {texts[i][:24]!r} is {rewards[i]}; rewards must be finite")
    return [
        Grade(text=text, answer=text, gold="", status="scored", reward=float(reward))
        for text, reward in zip(texts, rewards, strict=True)
    ]
