"""Soft values, theorems and controls, exactly, on enumerated trees: numpy, float64, no torch."""

from gnivo_edu.exact.certificate import Certificate, below
from gnivo_edu.exact.controls import Control, off_policy_samples, softmax_weights
from gnivo_edu.exact.groups import GroupObjective
from gnivo_edu.exact.indices import index_question
from gnivo_edu.exact.size import TreeTooLargeError, check_size, tree_size
from gnivo_edu.exact.solution import (
    Solution,
    check_alpha,
    solve,
    success_probability,
    value_of_chance,
)
from gnivo_edu.exact.theorems import verify_constant_shift, verify_soft_value_theorem
from gnivo_edu.exact.tree import (
    Array,
    Tables,
    TokenTree,
    enumerate_prompts,
    enumerate_tree,
    enumerate_tree_from_rewards,
    random_reference,
    uniform_reference,
)

__all__ = [
    "Array",
    "Certificate",
    "Control",
    "GroupObjective",
    "Solution",
    "Tables",
    "TokenTree",
    "TreeTooLargeError",
    "below",
    "check_alpha",
    "check_size",
    "enumerate_prompts",
    "enumerate_tree",
    "enumerate_tree_from_rewards",
    "index_question",
    "off_policy_samples",
    "random_reference",
    "softmax_weights",
    "solve",
    "success_probability",
    "tree_size",
    "uniform_reference",
    "value_of_chance",
    "verify_constant_shift",
    "verify_soft_value_theorem",
]
