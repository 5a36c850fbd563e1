"""How happy is a story? A word-list score, small enough to read."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


POSITIVE = _words("""
    amazing beautiful best better brave bright calm careful cheer cheered cheerful clever comfortable cozy cute
    delicious delighted enjoy enjoyed excited exciting fine friend friendly friends fun funny gentle gift glad good
    grateful great happily happiness happy help helped helpful helping hope hug hugged hugs joy kind kindness
    laugh laughed laughing laughs love loved lovely loves loving lucky magic magical nice party peaceful perfect
    play played playful playing pleased pretty proud safe safely share shared sharing shiny smile smiled smiles
    smiling special strong sunny surprise sweet tasty thank thanked thankful thanks treasure treat warm welcome
    win wonderful won yay yummy
""")
NEGATIVE = _words("""
    afraid alone angry annoyed ashamed awful bad badly bite bitter bored boring break broke broken careless cold cried
    cries cruel cry crying danger dangerous dark die died dirty disappointed enemy evil fail failed fear feared
    fell fight fighting fought frightened frown frowned grumpy guilty hate hated hungry hurt hurts ill jealous
    lonely lose lost mad mean mess messy miserable missed mistake monster nasty naughty nervous noisy pain painful
    poor rude ruined sad sadly sadness scare scared scary scream screamed selfish shouted sick sorry stole stuck
    terrible tired trouble ugly unhappy upset weak worried worry worse worst wrong yelled yucky
""")


def sentiment(texts: Sequence[str]) -> NDArray[np.float64]:
    """Happiness of each text, float64 [B] in (0, 1): (p + 1/2) / (p + n + 1), 1/2 where no listed word occurs.

    p and n count the words of `POSITIVE` and `NEGATIVE`; a word is a run of letters, in any case, and a word that is
    said twice counts twice. This is the mean of a Beta(1/2, 1/2) prior updated with p happy and n unhappy words, so
    that more evidence moves the score further. Context is ignored: "not happy" counts as happy.

    >>> sentiment(["The cat sat.", "Lily was happy.", "Happy, happy Lily!", "Tom was sad but brave."]).round(2)
    array([0.5 , 0.75, 0.83, 0.5 ])
    """
    if isinstance(texts, str):
        raise ValueError("sentiment takes a list of texts, got one text: put it in a list")
    words = [re.findall(r"[^\W\d_]+", text.lower()) for text in texts]
    p = np.array([sum(word in POSITIVE for word in own) for own in words], dtype=np.float64)
    n = np.array([sum(word in NEGATIVE for word in own) for own in words], dtype=np.float64)
    return (p + 0.5) / (p + n + 1)
