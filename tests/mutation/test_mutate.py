"""Mutants change what a program does, one thing at a time, and nothing that only readers see."""

import ast

from .mutate import mutants, mutated

SOURCE = '''
"""A docstring with 1 + 1."""

def f(x: int = 2, *, when: "1 < 2" = True) -> "3":
    """Another one."""
    if not x <= 3 and when:
        raise ValueError(f"{x + 4} is too small")
    g(jnp.where(x, min(x, y), -y))
    return x * y
'''
CHANGES = {
    "2 -> 3",
    "True -> False",
    "x <= 3 -> x < 3",
    "3 -> 4",
    "not x <= 3 -> x <= 3",
    "not x <= 3 and when -> not x <= 3 or when",
    "raise ValueError(f'{x + 4} is too small') -> pass",
    "g(jnp.where(x, min(x, y), -y)) -> pass",
    "jnp.where(x, min(x, y), -y) -> jnp.where(x, -y, min(x, y))",
    "min -> max",
    "-y -> y",
    "x * y -> x + y",
}


def test_every_change_is_made_and_what_only_readers_see_is_left_alone():
    found = mutants(SOURCE)
    said = {f"{mutant.before} -> {mutant.after}" for mutant in found if "\n" not in mutant.before}
    assert said == CHANGES
    whole = [mutant for mutant in found if "\n" in mutant.before]
    assert [mutant.line for mutant in whole] == [6]
    assert "if not (not x <= 3 and when)" in whole[0].after


def test_a_mutant_is_the_program_with_that_change_alone():
    tree = ast.unparse(ast.parse(SOURCE))
    for mutant in mutants(SOURCE):
        changed = ast.unparse(mutated(SOURCE, mutant))
        assert changed != tree
        compile(changed, "f", "exec")
        lines = [(a, b) for a, b in zip(changed.splitlines(), tree.splitlines(), strict=True) if a != b]
        assert len(lines) == 1, mutant
