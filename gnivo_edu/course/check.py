"""Checks for the student's functions: `check.NAME(your_function)` prints one line, or says what is wrong and why.

>>> from gnivo_edu.course import check
>>> check.sequence_logprob.hint()
Hint 1 of 3: An answer's probability is a product of choices. What does a logarithm make of a product?
>>> check.sequence_logprob(lambda logps, tokens, length: logps[range(length), tokens[:length]].sum())
Correct. sequence_logprob gives the right answer in 13 cases: it adds up every choice, the end token included, ...

Each of them also has `.statement`, `.hint()`, one hint further at every call, and `.solution()`. numpy only.
"""

from gnivo_edu.course.exercises.base import CheckFailed
from gnivo_edu.course.exercises.enumerate_leaves import EXERCISE as enumerate_leaves
from gnivo_edu.course.exercises.sequence_logprob import EXERCISE as sequence_logprob

__all__ = ["CheckFailed", "enumerate_leaves", "sequence_logprob"]
