r"""The answer on a line that ends a solution in words, as after the #### of GSM8K.

A number there has its sign, fraction, magnitude and operators; words, units and a remark may follow
it. A line that begins with a word is a heading, and what is neither is left whole for the grader
of mathematics, which does not take a number out of it.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from gnivo_edu.tasks.answers.patterns import DEGREES, GROUP
from gnivo_edu.tasks.answers.text import ascii_latex, power_signs
from gnivo_edu.tasks.answers.units import MAGNITUDES, changes

_LETTERS = {"k": 10**3, "m": 10**6, "b": 10**9}  # of $70k; 5 k without a currency is kilometres
_LARGEST = 400  # digits of a number that is written out
_LONGEST = 500  # characters of a line that is read here

_OPENING = re.compile(
    r"(?:(?:the|my|so|therefore|thus|hence|final|answer|result|total|is|about|approximately|roughly|around)\b|[:,=≈~\s]"
    r"|\\approx|[A-Za-z]\s*=(?!=))*",
    re.IGNORECASE,
)
# A sentence that says the answer: She makes $18 per day.
_SUBJECT = re.compile(
    r"(?!(?i:no|nor|none|nobody|nothing|neither|each|part|step|day|case|chapter|question)\b)"
    r"(?:s?he|it|they|we|you|I|there|[A-Z][a-z]+)\s+(?:will |can |must )?"
    r"(?:makes?|made|earns?|earned|pays?|paid|has|have|had|gets?|got|sells?|sold|sav(?:es?|ed)"
    r"|spends?|spent|needs?|needed|costs?|takes?|took|eats?|ate|buys?|bought|reads?|walks?|walked"
    r"|is|are|was|were)\s+(?=[-$€£]*\d)"
)
_CURRENCY = re.compile(r"\\?\$|[€£¥₹]|\b(?:USD|EUR|GBP|Rs\.?)(?=\s*\d)")
_NUMBER = (
    r"(?:(?:\d{1,3}(?:,\s?\d{3})+|\d{1,3}(?: \d{3})+|\d+)(?!\d)(?:\.\d+)?(?:[eE][+-]?\d+\b)?|\.\d+)"
)
_FRACTION = r"\\[dt]?frac\s*(?:\d\s*\d|\{\s*[\d.,]+\s*\}\s*\{\s*[\d.,]+\s*\})"
_ATOM = rf"(?:{_FRACTION}|{_NUMBER}(?:\s+\d+\s*/\s*\d+|\s*{_FRACTION})?)(?:\s*\\?%)?"
_MATHEMATICS = re.compile(rf"[-+(\s]*{_ATOM}[)\s]*(?:[-+*/^]\s*[-+(\s]*{_ATOM}[)\s]*)*")
_MAGNITUDE = re.compile(rf"\s*({'|'.join(MAGNITUDES)})s?\b", re.IGNORECASE)
_LIST_HEADING = re.compile(
    r"\d+(?:\s*[.):–—-]+\s+[A-Za-z]|(?:st|nd|rd|th)\b|\s+[A-Z][a-z]+\s+[A-Za-z])"
    r"|\(\d+\)(?:\s*$|\s+[A-Za-z])|\d\d?[.)]+$"
)
# A letter that is no article, and no unit behind a number: 2x, x^2 and x+y are algebra.
_ALGEBRA = re.compile(
    r"(?<![A-Za-z\\'])(?!(?<=\d)[mgslhLJWVANCFKkMBb]\b)(?!(?<=\d )[mgslhLJWVANCFK]\b)"
    r"(?!(?<= )a )[A-Za-z](?![A-Za-z'.])"
)
_SIDE_NOTE = re.compile(r"\s*\(\d+(?: [A-Za-z]{2,})+\)\s*\.?$")
# "or" takes back what was said; "and a half" adds to it.
_TAKES_BACK = re.compile(
    r"\b(?:or|nor|not|versus|vs|half|halves|thirds?|quarters?|times|plus|minus"
    r"|and (?:an?|one|two))\b",
    re.IGNORECASE,
)
_REMARK = re.compile(r"\s*(?:[.,;:(–—-]+\s*(?=[A-Za-z(])|\b(?:because|since|as|so)\b)")
_UNIT_LETTERS = "mgslhLJWVANCFK"


def answer_line(line: str, below: bool = False) -> str | None:
    r"""The answer that a line gives; None where it is a heading, or empty.

    One number comes without currency, thousands separators and what follows it; mathematics as it
    stands; of a chain of equations the last. `below` says that more text follows: then "2. Money"
    is a heading too.

    >>> answer_line("$1,018.50 per day"), answer_line("36 / 2 = 18 dollars"), answer_line("-1/2")
    ('1018.50', '18', '-1/2')
    >>> answer_line("1.5 million"), answer_line("18, 20"), answer_line("Step 2: money")
    ('1500000', '18, 20', None)
    """
    line = _plain(line)
    if not line or (below and _LIST_HEADING.match(line)):
        return None
    line = _OPENING.sub("", line, count=1)
    if (subject := _SUBJECT.match(line)) is not None:
        number = None if below else answer_line(line[subject.end() :])
        return number if number and _MATHEMATICS.fullmatch(number) else None
    currency = _CURRENCY.search(line) is not None
    line = _OPENING.sub("", _CURRENCY.sub("", line), count=1)
    if not re.search(r"\d", line) or re.match(r"[A-Za-z]", line):
        return None
    if len(line) > _LONGEST:
        return line
    # A chain of equations ends where a remark begins: 18. She makes 9*2 = 18 dollars.
    chain = re.split(r"[.,;:(]+\s*(?=[A-Za-z])", line, maxsplit=1)[0]
    last = [part for part in chain.split("=") if re.search(r"\d", part)][-1:]
    if "=" in chain and _ALGEBRA.search(chain[: chain.rindex("=")]):
        return line  # 2x = 18 does not say 18
    part = line if "=" not in chain or not last else last[0]
    match = _MATHEMATICS.match(part.strip())
    if match is None:
        return line
    touching = not match[0].endswith(" ")
    factor, rest = _magnitude(part.strip()[match.end() :], currency, touching)
    return _number(match[0].strip(), factor) if _is_remark(rest, touching) else line


def _plain(line: str) -> str:
    r"""A line without the signs of Markdown and of LaTeX that carry no meaning."""
    line = line if line.isascii() else ascii_latex(line)
    line = re.sub(r"<<[^<>]*>>", "", line)  # the calculator's notes of GSM8K
    line = re.sub(r"^\s*<\w+>|<[/|][^<>]*>\s*$", "", line)  # tags, and an end token
    line = re.sub(r"^\s*\*([^*]+)\*\s*$", r"\1", power_signs(line))
    line = re.sub(r"\\(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}", r"\1", line)
    line = re.sub(GROUP, r" \1 ", line)
    line = re.sub(r"\\[,;: !]|~(?=\d{3})", lambda m: "" if m[0] == "\\!" else " ", line)
    line = re.sub(r"\{,\}", ",", line).replace("**", "").replace("__", "").replace("`", "")
    line = re.sub(r"\\(?:times|cdot)\s*|(?<=\d)\s*[xX]\s*(?=[$\d])", " * ", line)
    line = re.sub(r"\\div\s*", " / ", line)
    return re.sub(DEGREES, " degrees ", line).strip().strip("_").strip()


def _magnitude(rest: str, currency: bool, touching: bool) -> tuple[int, str]:
    """What a number is multiplied by, and what follows that."""
    if (match := _MAGNITUDE.match(rest)) is not None:
        return MAGNITUDES[match[1].lower()], rest[match.end() :]
    if currency and touching and (letter := re.match(r"([kKmMbB])\b", rest)) is not None:
        return _LETTERS[letter[1].lower()], rest[1:]
    return 1, rest


def _is_remark(rest: str, touching: bool) -> bool:
    """Whether what follows a number leaves it as it is: a unit, a full stop, a remark."""
    letter = re.match(r"[A-Za-z](?![A-Za-z])", rest)
    if touching and letter is not None and letter[0] not in _UNIT_LETTERS:
        return False  # 5x
    if touching and re.match(r"(?:st|nd|rd|th)\b", rest):
        return False  # 18th is a place
    if re.match(r"\s*(?:[<>\\^!|±\[{+%]|[b-zB-Z]\s*$|/\s*[xyzn]\b|\.\.|-\s*$)", rest):
        return re.match(rf"\s*[{_UNIT_LETTERS}]\s*$", rest) is not None
    if changes(rest):
        return False
    rest = _SIDE_NOTE.sub("", rest)
    remark = _REMARK.search(rest)
    words = rest if remark is None else rest[: remark.start()]
    if re.search(r"\d", re.sub(r"\^\s*\{?\d\}?", "", words)) or _TAKES_BACK.search(words):
        return False
    after = "" if remark is None else rest[remark.end() :]
    return re.match(r"\s*(?:or|nor|not|and)\b\s*(?:\S*\s+)?\S*\d", after) is None and not re.match(
        r"\s*(?:or|nor|not)\b", after
    )


def _number(mathematics: str, factor: int) -> str:
    r"""One number in full, in digits; other mathematics as it stands."""
    mathematics = re.sub(r"\s*\\?%", "", mathematics)
    digits = re.sub(r"(?<=\d),?\s?(?=\d{3}(?!\d))", "", mathematics)
    try:
        value = Decimal(re.sub(r"\s", "", digits))
    except InvalidOperation:
        plain = re.sub(r"(?<=\d),\s?(?=\d{3})", "", mathematics)
        return plain if factor == 1 else f"({plain})*{factor}"
    if factor == 1 and "e" not in digits.lower():
        return re.sub(r"\s", "", digits).removeprefix("+")
    if abs(value.adjusted()) > _LARGEST:
        return mathematics
    text = f"{value * factor:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
