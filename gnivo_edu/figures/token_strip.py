"""The token strip: one answer as running text, a chip per token or step with its number, wrapped
where it is long.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from gnivo_edu.figures.chips import GAP, Chip, captioned, draw_row, sheet
from gnivo_edu.figures.style import Numbers, Shown, conditions, full_scale, signed
from gnivo_edu.figures.tokens import Token, in_text, width_of

PAGE = 9.0  # inches: width of the picture
COLUMNS = 100  # width of the text


@dataclass(frozen=True)
class TokenStrip(Shown):
    """Values of the tokens of one text, nats; `special` tells which positions hold special tokens,
    to be boxed.

    Tokens are strings, or bytes where a token is a piece of a character. `scale`: the value at
    which the colour is full. `unit`: what a chip is, "token" or "step".
    """

    tokens: Sequence[Token]
    values: Numbers
    caption: str
    scale: float
    special: Collection[int] = ()
    unit: str = "token"

    def chips(self) -> list[Chip]:
        """One chip per token."""
        return [
            Chip(token, float(x), special=t in self.special)
            for t, (token, x) in enumerate(zip(self.tokens, self.values, strict=True))
        ]

    def lines(self) -> list[list[tuple[Chip, float, float]]]:
        """Lines of the picture: chips with their widths and heights, inches, as many as fit the
        page.
        """
        lines: list[list[tuple[Chip, float, float]]] = [[]]
        for chip in self.chips():
            width, height = chip.size()
            if lines[-1] and sum(w + GAP for _, w, _ in lines[-1]) + width > PAGE:
                lines.append([])
            lines[-1].append((chip, width, height))
        return lines

    def _draw(self) -> Any:
        lines = self.lines()
        heights = [max(height for _, _, height in line) for line in lines]
        axes = sheet(PAGE, sum(heights) + 0.12 * len(lines) + 0.12, caption=self.caption)
        y = 0.03
        for line, height in zip(lines, heights, strict=True):
            chips, widths, _ = zip(*line, strict=True)
            draw_row(axes, chips, x=0.03, y=y, widths=widths, height=height, scale=self.scale)
            y += height + 0.12
        return captioned(axes, self.caption, x=0.03, y=y, width=PAGE)

    def html(self) -> str:
        """Chips in running text; the page wraps them."""
        chips = [chip.html(self.scale, "span", style="margin:2px 0") for chip in self.chips()]
        return self._framed(" ".join(chips))

    def text(self) -> str:
        """Tokens with their numbers, wrapped at 100 columns."""
        lines = [""]
        for chip in self.chips():
            word = chip.text()
            if lines[-1] and width_of(lines[-1]) + 3 + width_of(word) > COLUMNS:
                lines.append("")
            lines[-1] += ("   " if lines[-1] else "") + word
        return self._captioned(lines)

    def table(self) -> tuple[list[str], list[list[str]]]:
        """One row per token."""
        return ["position", self.unit, "nats"], [
            [str(t), in_text(c.token), signed(c.value)] for t, c in enumerate(self.chips(), start=1)
        ]

    def alt(self) -> str:
        """Length, sum, and the token with the largest value either way."""
        top = max(range(len(self.values)), key=lambda t: abs(self.values[t]))
        return (
            f"Strip of {len(self.tokens)} {self.unit}s whose credits sum to "
            f"{signed(sum(self.values))} nats; the largest, {signed(self.values[top])}, is that of "
            f"{self.unit} {top + 1}, “{in_text(self.tokens[top])}”."
        )


def token_strip(
    tokens: Sequence[Token],
    credits: Numbers,
    alpha: float,
    reference: str = "the initial model",
    special: Collection[int] = (),
    unit: str = "token",
    scale: float | None = None,
) -> TokenStrip:
    """A strip of one answer: credits V(s_t) - V(s_{t-1}), nats: `Solution.step_credit`, or the
    log-ratios of a model.

    `special`: positions, from 0, of special tokens. `scale` defaults to the largest credit shown.

    >>> import toy_envs
    >>> from gnivo_edu import exact
    >>> problem, answer = toy_envs.PosterProblem(), (0, 0, 1)
    >>> key = exact.solve(exact.enumerate_tree(problem), alpha=0.5)
    >>> texts = [problem.step_text(answer[:t]) for t in (1, 2, 3)]
    >>> print(token_strip(texts, key.step_credit(answer), alpha=0.5, unit="step").text())
    Restate: find x with √(20 + √(T + x)) = 5, where T = 11. ▲+0.01
    Substitute T = 11: √(20 + √(11 + x)) = 5. ▲+0.03   Square both sides: 20 + ... = 10. ▼−0.67
    credit per step in nats, sum −0.63; reference: the initial model; alpha = 0.5; ... at ±0.67
    """
    values = [float(credit) for credit in credits]
    if not tokens or len(tokens) != len(values):
        raise ValueError(
            f"a strip needs one credit per token, got {len(values)} for {len(tokens)} tokens"
        )
    full = full_scale(values, scale)
    return TokenStrip(
        tokens,
        values,
        caption=(
            f"credit per {unit} in nats, sum {signed(sum(values))}; "
            f"{conditions(reference, alpha)}; full colour at ±{full:.2f}"
        ),
        scale=full,
        special=special,
        unit=unit,
    )
