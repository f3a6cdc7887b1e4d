"""Private: what a compiled program does, read from the text that XLA prints of it."""

import math
import re
from typing import NamedTuple

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")
_CALLS = re.compile(r"calls=%?([\w.\-]+)")
_OPERAND = re.compile(r"%([\w.\-]+)")


class Instruction(NamedTuple):
    """One instruction of a computation.

    Attributes:
      name: unique in the program.
      arrays: the dtype, as XLA writes it, and the shape of each array of the result.
      opcode: such as ``fusion``.
      operands: the names of instructions of the same computation.
      calls: the computation that a fusion runs; None for everything but kernels with a body of their own.
      root: whether its result is that of the computation.
      line: as it is printed.
    """

    name: str
    arrays: tuple[tuple[str, tuple[int, ...]], ...]
    opcode: str
    operands: tuple[str, ...]
    calls: str | None
    root: bool
    line: str

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many elements each array of the result has."""
        return tuple(math.prod(shape) for _, shape in self.arrays)


Computation = dict[str, Instruction]


def computations(text: str) -> dict[str, Computation]:
    """Return every computation of an optimized program, ``compiled.as_text()``, as its instructions by name.

    >>> import jax, jax.numpy as jnp
    >>> compiled = jax.jit(lambda x: jnp.sort(x)[:2]).lower(jnp.zeros(8)).compile()
    >>> found = [each for body in computations(compiled.as_text()).values() for each in body.values()]
    >>> [each.arrays for each in found if each.opcode == "sort"]
    [(('f32', (8,)),)]
    """
    bodies: dict[str, Computation] = {}
    body: Computation = {}
    for line in text.splitlines():
        if opening := _COMPUTATION.match(line):
            body = bodies[opening[1]] = {}
        elif match := _INSTRUCTION.match(line):
            root, name, types, opcode, rest = match.groups()
            arrays = tuple((dtype, _shape(axes)) for dtype, axes in _ARRAY.findall(types))
            calls = _CALLS.search(rest)
            operands = tuple(_OPERAND.findall(rest.split(")")[0]))
            body[name] = Instruction(name, arrays, opcode, operands, calls and calls[1], bool(root), line.strip())
    return bodies


def _shape(axes: str) -> tuple[int, ...]:
    return tuple(int(size) for size in axes.split(",") if size)
