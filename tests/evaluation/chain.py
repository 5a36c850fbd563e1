"""Four questions of arithmetic, and policies on them that answer more or less well."""

import numpy as np

import toy_envs
from gnivo_edu import exact, policies

CHAIN = toy_envs.ArithmeticChain(num_prompts=4)


def table(seed=0, sharp=0.0, task=CHAIN):
    """A policy on a small task; `sharp` moves it towards each prompt's demonstration."""
    of_prompts = []
    for i in range(len(task.prompts())):
        tables = exact.random_reference(task.vocab_size, task.horizon, seed + i)
        number = 0
        for t, token in enumerate(task.demonstration(i).tolist() if sharp else ()):
            row = tables[t][number]
            row[token] += sharp
            row -= np.logaddexp.reduce(row)
            number = number * task.vocab_size + token
        of_prompts.append(tables)
    return policies.TabularLM.from_tables(task, of_prompts)
