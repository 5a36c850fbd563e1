"""The README's picture, drawn from the same numbers as notebook 00."""

from __future__ import annotations

from pathlib import Path

from gnivo_edu.names import home


def draw_pictures(folder: str | Path) -> list[Path]:
    """Write `which_step.png` into `folder`; the same bytes each time. Returns the paths."""
    import toy_envs
    from gnivo_edu import exact, figures

    problem = toy_envs.PosterProblem()
    key = exact.solve(exact.enumerate_tree(problem), alpha=0.5)
    strips = figures.credit_strips(key, problem.examples, problem.vocabulary, problem.step_names)
    folder = home(folder, what="the folder")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "which_step.png"
    path.write_bytes(strips.png())
    return [path]
