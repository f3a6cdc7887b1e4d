"""What a compiled program does to large arrays: copies of the ring or of a tree are found in its text.

A comparison is void if one side's program copies its ring where its documented use would not: then it measures a
mistake in how it was called. So every compiled program is searched before it is timed, ours and the peer's alike.
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax


class LargeArrayError(AssertionError):
    """A compiled program makes, or goes through, an array as large as the ring."""


@dataclass(frozen=True)
class _Instruction:
    name: str
    sizes: tuple[int, ...]  # elements of each array in the result
    opcode: str
    operands: tuple[str, ...]
    calls: str | None  # the body, if this is a fusion
    line: str


_COMPUTATION = re.compile(r"^(?:ENTRY )?%([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_AXES = re.compile(r"\w\[([\d,]*)\]")
_NAME = re.compile(r"%([\w.\-]+)")
# What writes into its operand's buffer; XLA copies the operand first if it cannot, and that copy is found.
_WRITES = {"scatter", "dynamic-update-slice"}
# What only names buffers that are already there.
_NAMES = {"parameter", "get-tuple-element", "tuple", "bitcast", "while", "call", "conditional", "copy-done"}
_NAMES |= {"optimization-barrier", "opt-barrier", "after-all", "add-dependency"}


def compiled(side: str, jitted: Any, *args: Any, least: int, batch: Any = (), documented: int = 0) -> Callable:
    """Compile a jitted function for these arguments, and return it if it makes no arrays as large as the ring.

    Args:
      side: whose program it is, for the error.
      jitted: what ``jax.jit`` returned.
      *args: its arguments; they may be donated.
      least: the elements of the smallest array that must not be copied.
      batch: arrays whose sizes are spared, where a batch is larger than that.
      documented: how many arrays so large the peer's documented use makes all the same; the row says so.

    Returns:
      The compiled program, which takes the same kinds of arguments and cannot be traced again.

    Raises:
      LargeArrayError: there are others, or fewer; with the lines.
    """
    program = jitted.lower(*args).compile()
    lines = list(large_arrays(program.as_text(), least, batch))
    if len(lines) != documented:
        shown = "".join(f"\n  {line[:200]}" for line in lines)
        raise LargeArrayError(f"{side}: expected {documented} arrays of {least} elements or more, found:{shown}")
    return program


def large_arrays(text: str, least: int, batch: Any = ()) -> Iterator[str]:
    """Yield the lines of a compiled program that make a new array of ``least`` elements or more, or reduce one.

    A copy, a conversion, a selection, a transposition, an update of anything but an argument: whatever does not write
    into a buffer that is already there. Inside a fusion, which is one kernel, only the result and reductions count.

    Args:
      text: optimized HLO, ``compiled.as_text()``.
      least: elements.
      batch: arrays (or shapes) with other business; arrays of as many elements as one of them are passed over.
    """
    spared = {math.prod(leaf.shape) for leaf in jax.tree.leaves(batch)}

    def large(instruction: _Instruction | None) -> bool:
        return instruction is not None and any(size >= least and size not in spared for size in instruction.sizes)

    bodies = _parse(text)
    fused = {i.calls for body in bodies.values() for i in body.values() if i.calls}
    for name, body in bodies.items():
        for instruction in body.values():
            if instruction.opcode == "reduce":
                found = any(large(body.get(operand)) for operand in instruction.operands)
            elif name in fused or not large(instruction):
                found = False
            elif instruction.calls:
                inside = bodies[instruction.calls]
                found = any(large(made) and _is_new(made, inside) for made in _made(inside))
            else:
                found = instruction.opcode not in _NAMES | _WRITES
            if found:
                yield instruction.line


def _parse(text: str) -> dict[str, dict[str, _Instruction]]:
    """Return the instructions of each computation, by name."""
    bodies: dict[str, dict[str, _Instruction]] = {}
    body: dict[str, _Instruction] = {}
    for line in text.splitlines():
        if opening := _COMPUTATION.match(line):
            body = bodies[opening[1]] = {}
        elif match := _INSTRUCTION.match(line):
            name, types, opcode, rest = match.groups()
            sizes = tuple(math.prod(int(n) for n in axes.split(",") if n) for axes in _AXES.findall(types))
            calls = re.search(r"calls=%([\w.\-]+)", rest) if opcode == "fusion" else None
            operands = tuple(_NAME.findall(rest.split(")")[0]))
            body[name] = _Instruction(name, sizes, opcode, operands, calls and calls[1], line.strip())
    return bodies


def _made(body: dict[str, _Instruction]) -> Iterator[_Instruction]:
    """Yield what a fusion computes: its root, or those that its root makes a tuple of."""
    root = next(i for i in body.values() if i.line.startswith("ROOT"))
    for instruction in [body[name] for name in root.operands] if root.opcode == "tuple" else [root]:
        yield _behind_bitcasts(instruction, body)


def _is_new(made: _Instruction, body: dict[str, _Instruction]) -> bool:
    """Tell whether a fusion's result needs a buffer of its own: it does unless it is written into an argument's."""
    while made.opcode in _WRITES:
        made = _behind_bitcasts(body[made.operands[0]], body)
    return made.opcode != "parameter"


def _behind_bitcasts(instruction: _Instruction, body: dict[str, _Instruction]) -> _Instruction:
    while instruction.opcode in ("bitcast", "get-tuple-element"):
        instruction = body[instruction.operands[0]]
    return instruction
