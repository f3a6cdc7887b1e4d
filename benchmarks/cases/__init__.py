"""The cases, by question: what is measured, in words and sizes. Who does the work is in `benchmarks.sides`."""

from benchmarks.case import Case
from benchmarks.cases import disk, first, growth, loop, python, texts, training


def cases(quick: bool) -> list[Case]:
    """Return all cases; with ``quick``, of tiny sizes, to see that they run."""
    found = [case for module in (loop, python, first, training, growth, texts, disk) for case in module.cases(quick)]
    return [_hurried(case) for case in found] if quick else found


def _hurried(case: Case) -> Case:
    from dataclasses import replace

    return replace(case, rounds=3, least=3, seconds=0.0, points=case.points[:2])
