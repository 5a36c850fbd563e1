"""Policies: every one is a Hugging Face causal LM. Importing this registers TabularLM with
transformers.
"""

from gnivo_edu.machine import pick_device
from gnivo_edu.policies.critic import Critic, load_critic
from gnivo_edu.policies.from_model import TextTree, tree_from_model
from gnivo_edu.policies.generation import behaviour_check, sample_completions
from gnivo_edu.policies.loading import (
    load_checkpoint,
    load_model,
    load_policy,
    load_transformer,
    precise_norms,
)
from gnivo_edu.policies.sampling import SampledGroups, all_groups, make_group_batch, sample_groups
from gnivo_edu.policies.sampling_law import SamplingLaw
from gnivo_edu.policies.score_model import (
    divergences,
    score_rows,
    score_tokens,
    two_pass_scorers,
    weighted_rows,
)
from gnivo_edu.policies.scoring import evaluating, next_token_logps, tabulate, token_logps
from gnivo_edu.policies.small import small_transformer
from gnivo_edu.policies.tabular import TabularConfig, TabularLM
from gnivo_edu.policies.tree_file import read_tree, write_tree

__all__ = [
    "Critic",
    "SampledGroups",
    "SamplingLaw",
    "TabularConfig",
    "TabularLM",
    "TextTree",
    "all_groups",
    "behaviour_check",
    "divergences",
    "evaluating",
    "load_checkpoint",
    "load_critic",
    "load_model",
    "load_policy",
    "load_transformer",
    "make_group_batch",
    "next_token_logps",
    "pick_device",
    "precise_norms",
    "read_tree",
    "sample_completions",
    "sample_groups",
    "score_rows",
    "score_tokens",
    "small_transformer",
    "tabulate",
    "token_logps",
    "tree_from_model",
    "two_pass_scorers",
    "weighted_rows",
    "write_tree",
]
