import numpy as np

from gnivo_edu import exact, verify
from gnivo_edu.commands.tables import print_verification


def test_a_reward_that_does_not_vary_is_said_first(capsys):
    tree = exact.enumerate_tree_from_rewards(np.full(8, 0.5), 2)
    result = verify.verify_tree(tree, 0.5, group_size=2)
    print_verification({"passed": True, "results": [result]})
    first = capsys.readouterr().out.splitlines()[0]
    assert first == (
        "tree: all 8 continuations are rewarded 0.5: nothing to verify; take another prompt or "
        "reward"
    )
    other = exact.enumerate_tree_from_rewards([0.0, 0.5], 2)
    assert "notice" not in verify.verify_tree(other, 0.5, group_size=2)
