"""Both theorems and their controls: on every environment, with a transformer as the reference,
inside a language model; and a transformer that minimises the exact population loss.
"""

from gnivo_edu.verify.environments import verify_environments, verify_transformer
from gnivo_edu.verify.fit import fit_transformer
from gnivo_edu.verify.of_model import describe_tree, verify_model
from gnivo_edu.verify.one_tree import ALPHAS, GROUP_SIZES, verify_tree

__all__ = [
    "ALPHAS",
    "GROUP_SIZES",
    "describe_tree",
    "fit_transformer",
    "verify_environments",
    "verify_model",
    "verify_transformer",
    "verify_tree",
]
