"""Ground truth by listing answers in plain Python: dictionaries and math, nothing of the
library.
"""

import itertools
import math


def answers(vocab_size, horizon, eos=None):
    """Every complete answer, as a tuple that stops at its end-of-sequence token."""
    seen = set()
    for tokens in itertools.product(range(vocab_size), repeat=horizon):
        end = tokens.index(eos) + 1 if eos is not None and eos in tokens else horizon
        seen.add(tokens[:end])
    return sorted(seen)


def number(prefix, vocab_size):
    return sum(token * vocab_size ** (len(prefix) - 1 - i) for i, token in enumerate(prefix))


def probability(answer, tables, vocab_size, start=0):
    """Probability of tokens start.. of an answer given what stands before them."""
    p = 1.0
    for t in range(start, len(answer)):
        p *= math.exp(tables[t][number(answer[:t], vocab_size)][answer[t]])
    return p


def soft_value(prefix, all_answers, reward, tables, vocab_size, alpha):
    """log E_ref[exp(R/alpha) | prefix], nats."""
    through = [a for a in all_answers if a[: len(prefix)] == prefix]
    peak = max(reward[a] for a in through) / alpha
    mean = sum(
        probability(a, tables, vocab_size, len(prefix)) * math.exp(reward[a] / alpha - peak)
        for a in through
    )
    return math.log(mean) + peak


def prefixes(all_answers):
    return sorted({a[:t] for a in all_answers for t in range(len(a) + 1)})
