"""Value lines and the second axis; theory plots; training curves; the reward-KL plane."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

import toy_envs
from gnivo_edu import exact, figures
from gnivo_edu.figures.lines import apart
from gnivo_edu.figures.style import number, percent
from gnivo_edu.figures.values import chance_axis


@settings(deadline=None, max_examples=40)
@given(st.floats(0.02, 5.0), st.floats(-0.5, 0.8), st.floats(0.1, 1.2))
def test_the_second_axis_is_the_chance_of_ending_right(alpha, start, length):
    axes = Figure().add_subplot()
    axes.set_ylim(start / alpha, (start + length) / alpha)
    right = chance_axis(axes, alpha)
    assert right.get_ylim() == axes.get_ylim()
    places, labels = right.get_yticks(), [label.get_text() for label in right.get_yticklabels()]
    shown = np.array([float(label.removesuffix("%")) / 100 for label in labels])
    assert exact.success_probability(np.array(places), alpha) == pytest.approx(
        shown, rel=1e-6, abs=1e-9
    )
    assert np.diff(np.sort(places)).min(initial=np.inf) >= 0.07 * length / alpha - 1e-9
    assert all(start / alpha - 1e-9 <= place <= (start + length) / alpha + 1e-9 for place in places)


def test_value_lines_draw_and_write_exact_values(problem, key, words):
    answer = problem.examples["wrong at 3"]
    values = np.array([key.soft_value(answer[:t]) for t in range(8)])
    other = values + np.array([0, 0, 0, 0.3, 0, -0.4, 0, 0])
    shown = figures.value_lines(key, answer, problem.step_names, {"learned": other})
    axes, right = shown.figure().axes
    assert right.get_ylabel() == "chance of ending right"
    drawn = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 8]
    assert np.allclose(drawn, [values, other])
    area = axes.collections[-1].get_paths()[0].vertices[:, 1]
    assert area.min() == min(values.min(), other.min())
    assert "largest 0.40 nats after step 5" in shown.caption
    _, rows = shown.table()
    assert [row[1] for row in rows] == [f"{v:.2f}" for v in values]
    assert [row[3] for row in rows] == [
        percent(key.success_probability(answer[:t])) for t in range(8)
    ]
    assert {"exact", "learned"} <= set(words(shown.figure()))
    assert [label.get_text() for label in axes.get_xticklabels()][3] == "3\nSquare"


def test_graded_rewards_have_no_second_axis():
    key = exact.solve(exact.enumerate_tree(toy_envs.RandomTree(2, 3)), 0.5)
    shown = figures.value_lines(key, (0, 1, 0), "abc")
    assert shown.alpha is None
    assert len(shown.figure().axes) == 1
    assert "chance" not in shown.text()


def test_long_answers_fit_and_refusals_help(key, problem):
    long = figures.ValueLines(
        ["token"] * 24, {"exact": np.linspace(0, 1, 25)}, "reference: r; alpha = 1"
    )
    assert long.figure().axes[0].get_xticklabels()[5].get_rotation() == 90
    with pytest.raises(ValueError, match="needs 8 finite values"):
        figures.value_lines(
            key, problem.examples["right"], problem.step_names, {"learned": [0.0] * 7}
        )
    with pytest.raises(ValueError, match="no line 'x'"):
        figures.value_lines(key, problem.examples["right"], problem.step_names, shade="x")


def test_intervals_are_drawn_from_end_to_end_and_written(words):
    values, ends = [0.0, 1.0, 0.5], [(-0.004, 0.2), (0.8, 1.5), (0.5, 0.5)]
    lines = figures.ValueLines(
        ["a", "b"],
        {"exact": [0.1, 0.9, 0.5], "sampled": values},
        "reference: r; alpha = 1",
        intervals={"sampled": ends},
    )
    (bars,) = lines.figure().axes[0].collections
    assert [tuple(bar[:, 1]) for bar in bars.get_segments()] == ends
    assert [row[2] for row in lines.table()[1]] == [
        "0.00 (0.00 to 0.20)",
        "1.00 (0.80 to 1.50)",
        "0.50 (0.50 to 0.50)",
    ]
    with pytest.raises(ValueError, match="line 'sampled' needs 3 finite values"):
        figures.ValueLines(
            ["a", "b"], {"sampled": values}, "", intervals={"sampled": [(0.0, np.inf)] * 3}
        )


def test_implicit_values_of_pi_star_are_v_and_of_the_reference_log_z(problem, key):
    for answer in problem.examples.values():
        values = [key.soft_value(answer[:t]) for t in range(8)]
        assert figures.implicit_values(key, key.optimal_step_logps, answer) == pytest.approx(
            values, abs=1e-12
        )
        assert figures.implicit_values(key, key.tree.step_logps, answer) == pytest.approx(
            [key.log_z] * 8
        )


def test_sampled_values_are_near_and_their_errors_honest(problem, key):
    answer = problem.examples["wrong at 3"]
    values = np.array([key.soft_value(answer[:t]) for t in range(8)])
    runs = [figures.sampled_values(key, answer, samples=400, seed=seed) for seed in range(30)]
    spread = np.std([v for v, _ in runs], axis=0)
    assert np.abs(np.mean([v for v, _ in runs], axis=0) - values).max() < 0.03
    assert np.mean([e for _, e in runs], axis=0)[:7] == pytest.approx(spread[:7], rel=0.5)
    assert runs[0][0][7] == values[7]
    assert np.array_equal(
        figures.sampled_values(key, answer, 50, 3)[0], figures.sampled_values(key, answer, 50, 3)[0]
    )


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=6), st.floats(0.1, 2))
def test_labels_are_moved_apart_and_keep_their_order(ends, gap):
    placed = np.array(apart(ends, gap))
    order = np.argsort(ends, kind="stable")
    assert np.diff(np.sort(placed)).min(initial=np.inf) >= gap - 1e-9
    rising = [i for i in range(1, len(ends)) if ends[order[i]] > ends[order[i - 1]]]
    assert all(placed[order[i]] > placed[order[i - 1]] for i in rising)
    assert placed.mean() == pytest.approx(np.mean(ends), abs=1e-9)


@given(st.floats(-3, 3), st.floats(-2, 2))
def test_the_slope_of_a_power_law_is_recovered(slope, intercept):
    x = np.array([1, 3, 10, 50])
    fit = figures.scaling_plot(x, {"y": np.exp(intercept) * x**slope}, {}, "n", "y", "c").fit("y")
    assert fit == pytest.approx((slope, intercept, 0), abs=1e-9)


def test_the_fitted_slope_and_its_error_are_those_of_least_squares(words):
    x, noise = np.array([1.0, 2, 4, 8, 16]), np.array([0.1, -0.1, 0.05, 0.1, -0.15])
    y = np.exp(noise) * x**-0.5
    shown = figures.scaling_plot(x, {"error": y}, {"error": -0.5}, "samples", "nats", "c")
    line, covariance = np.polyfit(np.log(x), np.log(y), 1, cov=True)
    fit = shown.fit("error")
    assert (fit.slope, fit.error) == pytest.approx((line[0], covariance[0, 0] ** 0.5))
    printed = f"{line[0]:+.2f} ± {number(fit.error, 1)}".replace("-", "−")
    label = next(word for word in words(shown.figure()) if word.startswith("error\n"))
    assert label == f"error\nfitted slope {printed}\npredicted −0.50 (dashed)"
    assert printed in shown.text()
    assert printed in shown.html()
    guide = next(drawn for drawn in shown.figure().axes[0].lines if drawn.get_alpha()).get_xydata()
    assert np.diff(np.log(guide[:, 1])) == pytest.approx(-0.5 * np.diff(np.log(guide[:, 0])))
    for bad in ([1.0, 0, 1, 1, 1], [1.0, 2]):
        with pytest.raises(ValueError, match="positive values"):
            figures.scaling_plot(x, {"y": bad}, {}, "n", "y", "c")
    with pytest.raises(ValueError, match="no series"):
        figures.scaling_plot(x, {"y": y}, {"z": 1}, "n", "y", "c")


@pytest.fixture
def records():
    def run(rate):
        return [
            {
                "groups": n,
                "kl": 2 * (n + 1.0) ** -rate,
                "loss": float("nan") if n == 0 else 3.0,
                "seed": s,
            }
            for s in (0, 1)
            for n in (0, 1, 10, 100)
        ]

    return {"fast": run(2), "slow": run(1)}


def test_training_curves_share_axes_and_choose_log_scales(records, words):
    shown = figures.training_curves(records, {"kl": "KL, nats", "loss": "loss"}, alpha=0.5)
    axes = np.array(shown.figure().axes).reshape(2, 2)
    assert axes[0, 0].get_ylim() == axes[0, 1].get_ylim()
    assert axes[0, 0].get_shared_y_axes().joined(axes[0, 0], axes[0, 1])
    assert axes[0, 0].get_xlim() == axes[1, 1].get_xlim()
    assert [a.get_yscale() for a in axes[:, 0]] == ["log", "linear"]
    assert axes[0, 0].get_xscale() == "symlog"  # the record at 0 groups keeps its place
    own = [line for line in axes[0, 1].lines if line.get_marker() != "None"]
    assert len(own) == 2
    assert own[0].get_ydata() == pytest.approx([2 * (n + 1.0) ** -1 for n in (0, 1, 10, 100)])
    assert len(axes[1, 0].lines[-1].get_xdata()) == 3  # no loss before the first step
    _, rows = shown.table()
    assert rows[2] == ["slow", "KL, nats", "2", number(2 / 101), "100"]
    assert {"fast", "slow", "KL, nats"} <= set(words(shown.figure()))
    one = figures.training_curves(
        {"fast": records["fast"]}, {"kl": "KL", "loss": "loss"}, alpha=0.5
    )
    assert len(one.figure().axes) == 2
    with pytest.raises(ValueError, match="no finite 'reward'"):
        figures.training_curves(records, {"reward": "reward"}, alpha=0.5)


@pytest.mark.parametrize(
    "env", [toy_envs.PosterProblem(), toy_envs.RandomTree(3, 3), toy_envs.Brackets(4)]
)
def test_the_frontier_is_solved_exactly_and_no_policy_lies_above_it(env):
    tree = exact.enumerate_tree(env)
    rng, policies = np.random.default_rng(0), {}
    for n in range(5):
        tables = [t + np.log(rng.gamma(0.5 + n, size=t.shape)) for t in tree.step_logps]
        policies[f"random {n}"] = [
            t - np.logaddexp.reduce(t, axis=1, keepdims=True) for t in tables
        ]
    plane = figures.reward_kl_plane(tree, policies)
    for alpha, point in plane.frontier.items():
        if 0 < alpha < np.inf:
            key = exact.solve(tree, alpha)
            assert point == (key.kl, key.expected_reward)
            best = alpha * key.log_z
            assert all(p.reward - alpha * p.kl <= best + 1e-9 for p in plane.policies.values())
    limit = exact.solve(tree, 1e-3)
    assert plane.frontier[0.0] == pytest.approx((limit.kl, limit.expected_reward), abs=1e-6)
    assert plane.frontier[np.inf] == plane.policies["reference"]
    assert np.diff([p.kl for p in plane.curve()]).min() >= -1e-12


def test_policy_points_are_those_of_the_definition():
    tree = exact.enumerate_tree(toy_envs.RandomTree(2, 3))
    policy = exact.random_reference(2, 3, seed=1)
    kl = reward = 0.0
    for number_of, answer in enumerate(tree.answers()):
        logp = sum(policy[t][tree.index(answer[:t])[1], token] for t, token in enumerate(answer))
        kl += np.exp(logp) * (logp + 3 * np.log(2))
        reward += np.exp(logp) * tree.rewards[number_of]
    assert figures.policy_point(tree, policy) == pytest.approx((kl, reward))
    plane = figures.reward_kl_plane(tree, {"mine": policy}, named=[0.5])
    assert ["mine", number(kl), number(reward)] in plane.table()[1]
    assert any(
        mark.get_xydata()[0] == pytest.approx((kl, reward)) for mark in plane.figure().axes[0].lines
    )
    with pytest.raises(ValueError, match="infinite"):
        figures.policy_point(
            exact.enumerate_tree(toy_envs.Brackets(3)), exact.uniform_reference(3, 3)
        )
    with pytest.raises(ValueError, match="same reward"):
        figures.reward_kl_plane(exact.enumerate_tree_from_rewards([1, 1], 2))
