r"""What may follow a number: a percent sign, a magnitude, a unit.

A magnitude is part of the number. A unit is words alone, and is taken away; words that change what
is said ("or", "at most", "half") are no unit, and the answer stays unread.
"""

from __future__ import annotations

import re

from gnivo_edu.tasks.answers.patterns import DEGREES, GROUP, TEXT

MAGNITUDES = {
    "dozen": 12,
    "hundred": 10**2,
    "thousand": 10**3,
    "million": 10**6,
    "billion": 10**9,
    "trillion": 10**12,
    "quadrillion": 10**15,
    "lakh": 10**5,
    "crore": 10**7,
    "mil": 10**6,
    "bn": 10**9,
}
_DIGIT_WORDS = (
    "zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|[a-z]+teen|twenty|thirty"
    "|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|billion"
)
# What makes another number of the one before it, or takes it back; read in a line of words too.
_CHANGED = re.compile(
    r"\b(?:tenths?|hundredths?|thousandths?|squared|cubed|doubled?|tripled?|twice|factorial|roots?"
    r"|divided|multiplied|to the power|pi|at (?:least|most)|minimum|maximum|bounds?|inverse"
    r"|wrong|incorrect|invalid|false"
    rf"|(?:to|through|less|point|below|above|and|of) (?:{_DIGIT_WORDS})"
    rf"|over (?:{_DIGIT_WORDS})\W*$)\b|^\W*(?:score|no)\b",
    re.IGNORECASE,
)
_LETTERS = frozenset("mgshlLJNWVAKF")  # that stand for a unit by themselves
_CHANGES = """
squared cubed root factorial or and not no none nor but if when where for mod modulo to than
least most more less over under above below about approximately around nearly almost plus minus
times half halves third thirds quarter quarters double twice is isn base e i d pi probably maybe
perhaps possibly wrong incorrect false excluded except unlike
"""
NO_UNIT = frozenset(_CHANGES.split())
# Units by the names they go by: 18 km is not 18 m, whatever the words of others may mean.
_NAMES = """
mm millimeter millimetre | cm centimeter centimetre | m meter metre | km kilometer kilometre
| in inch inches | ft foot feet | yd yard | mi mile | mg milligram | g gram | kg kilogram
| lb lbs pound | ml mL milliliter millilitre | l L liter litre | ms millisecond | s sec second
| min minute
| h hr hrs hour
| day | week | month | year | cent | dollar | degree | radian rad | mph | km/h kph | m/s
"""
_CANONICAL = {
    form: names.split()[0]
    for names in _NAMES.split("|")
    for name in names.split()
    for form in ((name, f"{name}s") if len(name) > 2 else (name,))  # ms are no metres
}

_PER_CENT = re.compile(
    rf"\s*(?:\\?%|{TEXT}\s*\{{\s*(?:per\s?cent|pct|\\?%)\s*\}}|\b(?:per\s?cent|pct)\b)"
)
_MAGNITUDE = re.compile(
    rf"(?<=[\d}}])\s*(?:{TEXT}\s*\{{)?\s*((?i:{'|'.join(MAGNITUDES)}))s?\b"
    r"(?:\s*\}|(?P<rest>[^{}]*\}))?"
)
_UNIT = re.compile(
    rf"(?<=[\w}})\]!])\s*/?\s*{TEXT}\s*\{{(?P<words>[A-Za-z\s.,/()^\d$-]*)\}}"
    r"(?:\s*\^\s*\{?\s*(?P<power>-?\d+)\s*\}?)?\s*$"
)
_POWER_INSIDE = re.compile(rf"({TEXT}\s*\{{[^{{}}^]*)\^(\d|\{{\d\}})\s*\}}")  # \text{ cm^2}
# Without braces a letter may be a variable: so only these words.
_COMMON = re.compile(
    r"(?<=[\d}\s)])\s*(?:(?:square|sq|cubic|cu)\.?\s+)?(?P<words>[ckm]m|k?g|m[gls]|km/h|m/s|mph"
    r"|feet|foot|ft|inch(?:es)?|yards?|miles?|(?:centi|milli|kilo)?met(?:er|re)s?|(?:kilo)?grams?"
    r"|lit(?:er|re)s?|pounds?|lbs?|hours?|hrs?|min(?:ute)?s?|sec(?:ond)?s?|days?|weeks?|months?"
    r"|years?|degrees?|radians?|dollars?|cents?|units?|students?|people|ways|coins?|points?)"
    r"(?:\s*\^\s*\{?\s*(?P<power>\d+)\s*\}?)?\s*$"
)


def per_cent(latex: str) -> str:
    r"""Every way to write per cent as `\%`.

    >>> per_cent(r"17.5 percent"), per_cent(r"5\text{ per cent}"), per_cent("8 %")
    ('17.5\\%', '5\\%', '8\\%')
    """
    return _PER_CENT.sub(r"\\%", latex)


def magnitude(latex: str) -> str:
    r"""Thousands and millions as factors; what else stands between their braces stays.

    >>> magnitude("1.5 million"), magnitude(r"2\text{ thousand dollars}")
    ('1.5 \\times 1000000', '2 \\times 1000\\text{ dollars}')
    """

    def factor(match: re.Match[str]) -> str:
        rest = match["rest"]
        unit = "" if rest is None else rf"\text{{{rest}"
        return rf" \times {MAGNITUDES[match[1].lower()]}{unit}"

    return _MAGNITUDE.sub(factor, latex)


def unit_name(words: str) -> str:
    r"""One name for each of the names of a common unit; "" for any other words.

    >>> unit_name("metres"), unit_name(r"\text{ m}"), unit_name("eggs"), unit_name("m per day")
    ('m', 'm', '', '')
    """
    words = re.sub(GROUP, r"\1", words).strip(" .$")
    return _CANONICAL.get(words if len(words) < 3 else words.lower(), "")


def without_unit(latex: str, unit: str | None = None) -> tuple[str, str, str]:
    r"""The text before a unit at its end, the name of that unit and its power ("" where there is
    none).

    `unit` is one that the problem or its gold names: it may stand there in letters without braces.

    >>> without_unit(r"864 \mbox{ inches}^2"), without_unit("18 dollars")
    (('864', 'in', '2'), ('18', 'dollar', ''))
    >>> without_unit(r"5 \text{ or anything}"), without_unit("6m"), without_unit("6m", unit="metre")
    (('5 \\text{ or anything}', '', ''), ('6m', '', ''), ('6', 'm', ''))
    """
    latex = _POWER_INSIDE.sub(r"\1}^\2", latex)
    names, power = [], ""
    for _ in range(2):  # \text{ m}\text{/s}, or a power of its own
        match = _UNIT.search(latex) or _COMMON.search(latex)
        if match is None or not is_unit(match["words"]):
            break
        latex, power = latex[: match.start()].rstrip(), power or match["power"] or ""
        names.append(unit_name(match["words"]))
    if not names and re.search(rf"{DEGREES}\s*$", latex):
        names.append("degree")
    if unit:
        common = unit_name(unit)
        forms = [form for form, known in _CANONICAL.items() if known == common]
        forms.append(re.escape(re.sub(r"[${}\\^\d\s]", "", unit)) + "s?")
        pattern = rf"(?<=[\d}}\s)])\s*(?:{'|'.join(forms)})(?:\^\{{?(\d)\}}?)?\s*$"
        if (letters := re.search(pattern, latex)) is not None:
            latex, power = latex[: letters.start()], power or letters[1] or ""
            names.append(common)
    return latex, names[0] if len(names) == 1 else "", power


def changes(words: str) -> bool:
    """Whether words after a number make another number of it, or take it back.

    >>> [changes(words) for words in (" squared", " To twenty", " is wrong", " for two people")]
    [True, True, True, False]
    """
    return _CHANGED.search(words) is not None


def is_unit(words: str) -> bool:
    """Whether words only name what is counted: no digit, and nothing that changes what is said.

    >>> is_unit(" cm"), is_unit(" dollars per day"), is_unit(" or 6"), is_unit(" at least")
    (True, True, False, False)
    """
    names = re.findall(r"[a-z]+", words.lower())
    return (
        bool(names)
        and not re.search(r"\d", re.sub(r"\^\s*-?\d", "", words))
        and NO_UNIT.isdisjoint(names)
        and not changes(words)
        and all(letter in _LETTERS for letter in re.findall(r"\b[A-Za-z]\b", words))
    )
