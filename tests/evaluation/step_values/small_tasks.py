"""A graded task and one of rights and wrongs, with random tables and what is optimal under them."""

from __future__ import annotations

from gnivo_edu import exact
from gnivo_edu.policies import TabularLM
from toy_envs import Brackets, RandomTree, TokenMDP

ALPHA = 0.5
TASKS = {"tree": RandomTree(3, 3), "brackets": Brackets(5)}


def random_tables(task: TokenMDP, seed: int) -> exact.Tables:
    return exact.random_reference(task.vocab_size, task.horizon, seed)


def solved(task: TokenMDP, seed: int = 1, alpha: float = ALPHA) -> exact.Solution:
    return exact.solve(exact.enumerate_tree(task, random_tables(task, seed)), alpha)


def table_of(task: TokenMDP, tables: exact.Tables) -> TabularLM:
    return TabularLM.from_tables(task, tables)
