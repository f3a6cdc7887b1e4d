"""What a compiled program does to large arrays: copies of the ring or of a tree are found in its text.

A comparison is void if one side's program copies its ring where its documented use would not: then it measures a
mistake in how it was called. So every compiled program is searched before it is timed, ours and the peer's alike.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax

from jaxbuffers.testing.compiled_text import Computation, Instruction, computations


class LargeArrayError(AssertionError):
    """A compiled program makes, or goes through, an array as large as the ring."""


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

    def large(instruction: Instruction | None) -> bool:
        return instruction is not None and any(size >= least and size not in spared for size in instruction.sizes)

    bodies = computations(text)
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


def _made(body: Computation) -> Iterator[Instruction]:
    """Yield what a fusion computes: its root, or those that its root makes a tuple of."""
    root = next(i for i in body.values() if i.root)
    for instruction in [body[name] for name in root.operands] if root.opcode == "tuple" else [root]:
        yield _behind_bitcasts(instruction, body)


def _is_new(made: Instruction, body: Computation) -> bool:
    """Tell whether a fusion's result needs a buffer of its own: it does unless it is written into an argument's."""
    while made.opcode in _WRITES:
        made = _behind_bitcasts(body[made.operands[0]], body)
    return made.opcode != "parameter"


def _behind_bitcasts(instruction: Instruction, body: Computation) -> Instruction:
    while instruction.opcode in ("bitcast", "get-tuple-element"):
        instruction = body[instruction.operands[0]]
    return instruction
