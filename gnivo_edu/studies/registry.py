"""The studies by their names. A study lies in the module of its name; of `table1/search` that is
table1_search.
"""

from __future__ import annotations

from importlib import import_module

from gnivo_edu.names import nearest
from gnivo_edu.studies.study import Study

NAMES = (
    "table1",
    "table1/search",
    "table1/variants",
    "table1/conditions",
    "table1/tuned",
    "curves",
    "credit",
    "text",
    "text/smollm2",
    "ablations",
    "noise",
    "moving-reference",
    "ladder",
    "off-policy",
)


def study_of(name: str) -> Study:
    """The study of a name; ValueError, in one line, with the nearest one where there is none.

    >>> study_of("table1").seeds
    5
    """
    if name not in NAMES:
        raise ValueError(f"there is no study {name!r}; {nearest(name, NAMES)}")
    module = import_module(f"gnivo_edu.studies.{name.replace('/', '_').replace('-', '_')}")
    study: Study = module.STUDY
    return study
