"""The studies by their names, and the module where each lies: a package a study, but for curves,
which are drawn from another's runs.
"""

from __future__ import annotations

from importlib import import_module

from gnivo_edu.names import nearest
from gnivo_edu.studies.study import Study

MODULES = {
    "table1": "table1.study",
    "table1/search": "table1.search",
    "table1/variants": "table1.variants",
    "table1/conditions": "table1.conditions",
    "table1/tuned": "table1.tuned",
    "curves": "curves",
    "credit": "credit.study",
    "text": "text.study",
    "text/smollm2": "text.smollm2",
    "ablations": "ablations.study",
    "noise": "noise.study",
    "moving-reference": "moving_reference.study",
    "ladder": "ladder.study",
    "off-policy": "off_policy.study",
}
NAMES = tuple(MODULES)


def study_of(name: str) -> Study:
    """The study of a name; ValueError, in one line, with the nearest one where there is none.

    >>> study_of("table1").seeds
    5
    """
    if name not in NAMES:
        raise ValueError(f"there is no study {name!r}; {nearest(name, NAMES)}")
    module = import_module(f"gnivo_edu.studies.{MODULES[name]}")
    study: Study = module.STUDY
    return study
