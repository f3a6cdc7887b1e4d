"""Checks for programs and for views and samplers of your own.

Needs no test framework: every check raises `AssertionError`, so it serves in any of them.
"""

from jaxbuffers.testing.contract import (
    CONTRACT,
    check_configuration,
    check_in_place,
    check_made_by,
    check_probability,
    check_replay,
    check_rows,
    check_state,
    check_transforms,
)
from jaxbuffers.testing.filling import MakeRows, numbered_rows
from jaxbuffers.testing.gated import assert_gated
from jaxbuffers.testing.in_place import assert_in_place
from jaxbuffers.testing.windows import check_can_sample, check_windows

__all__ = [
    "CONTRACT",
    "MakeRows",
    "assert_gated",
    "assert_in_place",
    "check_can_sample",
    "check_configuration",
    "check_in_place",
    "check_made_by",
    "check_probability",
    "check_replay",
    "check_rows",
    "check_state",
    "check_transforms",
    "check_windows",
    "numbered_rows",
]
