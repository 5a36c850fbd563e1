r"""Other writings of a gold, and mutations of it: what `bench_grading` makes pairs with.

A rule is named after what it does; it gives None where a gold has not the form that it needs.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

Rule = Callable[[str, random.Random], str | None]

# --- other writings of a gold -------------------------------------------------------------------


def _integer(gold: str) -> int | None:
    return int(gold) if re.fullmatch(r"-?[1-9]\d*", gold) else None


def _number(gold: str) -> bool:
    return (
        re.fullmatch(r"-?(?:\d+(?:\.\d+)?|\\frac\{\d+\}\{\d+\}|\d*\\sqrt\{\d+\})", gold) is not None
    )


def _as_a_decimal(gold: str, rng: random.Random) -> str | None:
    return f"{gold}.0" if _integer(gold) is not None else None


def _thousands_apart(gold: str, rng: random.Random) -> str | None:
    if (value := _integer(gold)) is None or abs(value) < 1000:
        return None
    return f"{value:,}".replace(",", rng.choice([",", r"\,", "\u2009", "{,}", "~", r",\!"]))


def _halved_and_doubled(gold: str, rng: random.Random) -> str | None:
    return None if (value := _integer(gold)) is None else rf"\frac{{{2 * value}}}{{2}}"


def _in_two_parts(gold: str, rng: random.Random) -> str | None:
    return None if (value := _integer(gold)) is None else f"{value - 7} + 7"


def _with_a_name(gold: str, rng: random.Random) -> str | None:
    return f"N = {gold}" if _number(gold) else None


def _with_a_unit(gold: str, rng: random.Random) -> str | None:
    return rf"{gold}\text{{ {rng.choice(['metres', 'units', 'pages'])}}}" if _number(gold) else None


def _in_unicode(gold: str, rng: random.Random) -> str | None:
    changed = re.sub(r"\\sqrt\{(\w+)\}", r"√\1", gold).replace("-", "−")
    changed = changed.replace(r"\frac{1}{2}", "½").replace(r"\infty", "∞").replace(r"\cup", "∪")
    changed = re.sub(r"\^(?:2|\{2\})(?!\d)", "²", re.sub(r"\\pi(?![A-Za-z])", "π", changed))
    return None if changed == gold else changed


def _with_slashes(gold: str, rng: random.Random) -> str | None:
    changed = re.sub(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}(?!\w|\\)", r"(\1/\2)", gold)
    return None if changed == gold or re.search(r"\d\(", changed) else changed


def _with_thin_spaces(gold: str, rng: random.Random) -> str | None:
    return (
        gold.replace(" + ", r"\,+\,").replace(", ", r",\;") if re.search(r" \+ |, ", gold) else None
    )


def _in_larger_brackets(gold: str, rng: random.Random) -> str | None:
    plain = re.fullmatch(r"\(([^()]*)\)", gold)
    return None if plain is None else rf"\left( {plain[1]} \right)"


def _in_dollars(gold: str, rng: random.Random) -> str | None:
    return None if "$" in gold else f"${gold}$"


# --- mutations ----------------------------------------------------------------------------------


def _a_digit_changed(gold: str, rng: random.Random) -> str | None:
    digits = list(re.finditer(r"\d", gold))
    if not digits:
        return None
    digit = rng.choice(digits)
    other = (int(digit[0]) + rng.randint(1, 9)) % 10
    return gold[: digit.start()] + str(other) + gold[digit.end() :]


def _sign_changed(gold: str, rng: random.Random) -> str | None:
    return None if not _number(gold) or gold == "0" else f"-{gold}".replace("--", "")


def _one_more(gold: str, rng: random.Random) -> str | None:
    return f"{gold} + 1" if _number(gold) else None


def _a_tiny_part_more(gold: str, rng: random.Random) -> str | None:
    return f"{gold} + 10^{{-30}}" if _integer(gold) is not None else None


def _squared(gold: str, rng: random.Random) -> str | None:
    return f"{gold}²" if (_integer(gold) or 0) > 1 else None


def _only_a_bound(gold: str, rng: random.Random) -> str | None:
    bounds = ["> ", "< ", "≥ ", r"\neq ", r"\le "]
    return rng.choice(bounds) + gold if _number(gold) else None


def _one_of_two(gold: str, rng: random.Random) -> str | None:
    return rf"{gold} \text{{ or }} 9876" if _number(gold) else None


def _in_millions(gold: str, rng: random.Random) -> str | None:
    return rf"{gold}\text{{ million}}" if _number(gold) and gold != "0" else None


def _unfinished(gold: str, rng: random.Random) -> str | None:
    return rf"{gold}\ldots" if _integer(gold) is not None else None


def _an_element_left_out(gold: str, rng: random.Random) -> str | None:
    parts = gold.split(",")
    return ",".join(parts[1:]) if re.fullmatch(r"[-\d\s,]+", gold) and len(parts) > 2 else None


def _other_brackets(gold: str, rng: random.Random) -> str | None:
    interval = re.fullmatch(r"\(([^()\[\],]*,[^()\[\],]*)\)", gold)
    return None if interval is None else f"[{interval[1]}]"


def _letters_in_the_other_case(gold: str, rng: random.Random) -> str | None:
    names = re.findall(r"(?<![\\A-Za-z{])([a-hj-z]|[A-Z])(?![A-Za-z}(])", gold)
    names = [name for name in names if name not in "de"]
    if not names or "\\text" in gold or "\\in" in gold:
        return None
    name = rng.choice(names)
    return re.sub(rf"(?<![\\A-Za-z]){name}(?![A-Za-z])", name.swapcase(), gold)


def _marked(form: str, name: str, divisor: int = 1) -> Rule:
    """A rule of GSM8K: a text with the gold `n`, and numbers made of it, in its place."""

    def rule(gold: str, rng: random.Random) -> str | None:
        if (value := _integer(gold)) is None or value % divisor or abs(value) < 2:
            return None
        return form.format(
            n=value, grouped=f"{value:,}", double=2 * value, less=value - 3, more=value + 1,
            part=value // divisor,
        )  # fmt: skip

    rule.__name__ = name
    return rule


MADE: dict[str, tuple[list[Rule], list[Rule], str]] = {
    "mathematics": (
        [
            _as_a_decimal,
            _thousands_apart,
            _halved_and_doubled,
            _in_two_parts,
            _with_a_name,
            _with_a_unit,
            _in_unicode,
            _with_slashes,
            _with_thin_spaces,
            _in_larger_brackets,
            _in_dollars,
        ],
        [
            _a_digit_changed,
            _sign_changed,
            _one_more,
            _a_tiny_part_more,
            _squared,
            _only_a_bound,
            _one_of_two,
            _in_millions,
            _unfinished,
            _an_element_left_out,
            _other_brackets,
            _letters_in_the_other_case,
        ],
        "First \\boxed{{0}}, but then \\boxed{{{}}}.",
    ),
    "GSM8K": (
        [
            _marked("#### ${grouped}", "currency and commas"),
            _marked("#### {n}/day", "a day"),
            _marked("#### {double} / 2 = {n} dollars", "operators and words"),
            _marked("#### {n} - that is what she makes", "words behind a dash"),
            _marked("#### {n}\n\n#### Explanation: 16-3-4 is 9", "a heading behind"),
            _marked("#### Step 2: money\n9*2=18\nSo \\boxed{{{n}}}", "a heading before a box"),
            _marked("#### {part} thousand", "thousands", divisor=1000),
            _marked("#### **{n}.00**", "bold, with cents"),
        ],
        [
            _marked("#### {more}", "one more"),
            _marked("#### -{n}", "the sign"),
            _marked("#### {n} or {more}", "one of two"),
            _marked("#### {n}, {more}", "two numbers"),
            _marked("#### {n} million", "millions"),
            _marked("#### {n} - 3", "an operator"),
            _marked("#### {n}/7", "a fraction"),
            _marked("#### {n} 1/2", "a mixed number"),
            _marked("#### Step {n}: money\nSo \\boxed{{{more}}}", "a heading with the number"),
            _marked("#### > {n}", "a bound"),
            _marked("She makes {n}.", "no marker"),
        ],
        "#### {}",
    ),
}
