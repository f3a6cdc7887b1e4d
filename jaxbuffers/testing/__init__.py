"""Checks for programs and for views and samplers of your own.

Needs no test framework: every check raises `AssertionError`, so it serves in any of them.
"""

from jaxbuffers.testing.contract import (
    CONTRACT,
    MakeRows,
    check_configuration,
    check_in_place,
    check_made_by,
    check_probability,
    check_replay,
    check_rows,
    check_state,
    check_transforms,
    numbered_rows,
)
from jaxbuffers.testing.in_place import assert_in_place

__all__ = [
    "CONTRACT",
    "MakeRows",
    "assert_in_place",
    "check_configuration",
    "check_in_place",
    "check_made_by",
    "check_probability",
    "check_replay",
    "check_rows",
    "check_state",
    "check_transforms",
    "numbered_rows",
]
