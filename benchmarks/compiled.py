"""What a compiled program does to large arrays: copies of the ring or of a tree are found in its text.

A comparison is void if one side's program copies its ring where its documented use would not: then it measures a
mistake in how it was called. So every compiled program is searched before it is timed, ours and the peer's alike.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import jax

if TYPE_CHECKING:
    from jaxbuffers.testing.compiled_text import Computation, Instruction

SEARCH = True  # whether programs are searched; only a library that is too old to be searched is not
SEARCHED: list[str] = []  # whose programs have been, in this process
COUNTERS = 5_000  # elements; what is smaller is a counter of each environment, or the upper part of a tree


class LargeArrayError(AssertionError):
    """A compiled program makes, or goes through, an array as large as the ring."""


# What writes into its operand's buffer; XLA copies the operand first if it cannot, and that copy is found.
_WRITES = {"scatter", "dynamic-update-slice"}
# What only names buffers that are already there.
_NAMES = {"parameter", "get-tuple-element", "tuple", "bitcast", "while", "call", "conditional", "copy-done"}
_NAMED = re.compile(r"%([\w.\-]+)")  # another computation: body=%this, branch_computations={%this, %that}
_NAMES |= {"optimization-barrier", "opt-barrier", "after-all", "add-dependency"}


def compiled(
    side: str,
    jitted: Any,
    *args: Any,
    least: int,
    batch: Any = (),
    documented: int = 0,
    in_loops: bool = False,
    held: Any = (),
) -> Callable:
    """Compile a jitted function for these arguments, and return it if it makes no arrays as large as the ring.

    Args:
      side: whose program it is, for the error.
      jitted: what ``jax.jit`` returned.
      *args: its arguments; they may be donated.
      least: the elements of the smallest array that must not be copied.
      batch: arrays whose sizes are spared, where a batch is larger than that.
      documented: how many arrays so large the peer's documented use makes all the same; the row says so.
      in_loops: search the bodies of loops only, in programs that make their own ring first.
      held: arrays (or shapes) that must not be copied though they are smaller than ``least``, because other arrays of
        the program are as large. They are told by their number of elements; those below `COUNTERS` are not meant.

    Returns:
      The compiled program, which takes the same kinds of arguments and cannot be traced again.

    Raises:
      LargeArrayError: there are others, or fewer; with the lines.
    """
    program = jitted.lower(*args).compile()
    if not SEARCH:
        return program
    SEARCHED.append(side)
    lines = list(large_arrays(program.as_text(), least, batch, in_loops, held))
    if len(lines) != documented:
        shown = "".join(f"\n  {line[:200]}" for line in lines)
        raise LargeArrayError(f"{side}: expected {documented} arrays of {least} elements or more, found:{shown}")
    return program


def large_arrays(text: str, least: int, batch: Any = (), in_loops: bool = False, held: Any = ()) -> Iterator[str]:
    """Yield the lines of a compiled program that make a new array of ``least`` elements or more, or reduce one.

    A copy, a conversion, a selection, a transposition, an update of anything but an argument: whatever does not write
    into a buffer that is already there. Inside a fusion, which is one kernel, only the result and reductions count.

    Args:
      text: optimized HLO, ``compiled.as_text()``.
      least: elements.
      batch: arrays (or shapes) with other business; arrays of as many elements as one of them are passed over.
      in_loops: whether only what happens in loops counts.
      held: arrays (or shapes) of which copies count though they are smaller.
    """
    from jaxbuffers.testing.compiled_text import computations

    spared = {math.prod(leaf.shape) for leaf in jax.tree.leaves(batch)}
    kept = {size for leaf in jax.tree.leaves(held) if (size := math.prod(leaf.shape)) >= COUNTERS}

    def large(instruction: "Instruction | None") -> bool:
        sizes = () if instruction is None else instruction.sizes
        return any((size >= least or size in kept) and size not in spared for size in sizes)

    bodies = computations(text)
    fused = {i.calls for body in bodies.values() for i in body.values() if i.calls}
    counted = _looped(bodies) if in_loops else set(bodies)
    for name, body in ((name, body) for name, body in bodies.items() if name in counted):
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


def _looped(bodies: "dict[str, Computation]") -> set[str]:
    """Return the names of the computations that loops run, directly or not."""
    calls = {name: {found for i in body.values() for found in _NAMED.findall(_attributes(i))}
             for name, body in bodies.items()}  # fmt: skip
    found: set[str] = set()
    fresh = {name for body in bodies.values() for i in body.values() if i.opcode == "while"
             for name in _NAMED.findall(_attributes(i))}  # fmt: skip
    while fresh := {name for name in fresh if name in bodies} - found:
        found |= fresh
        fresh = set().union(*(calls[name] for name in fresh))
    return found


def _attributes(instruction: "Instruction") -> str:
    """Return what an instruction says after its operands, in which it names other computations."""
    return instruction.line.split("metadata=")[0].partition(f" {instruction.opcode}(")[2].partition(")")[2]


def _made(body: "Computation") -> Iterator["Instruction"]:
    """Yield what a fusion computes: its root, or those that its root makes a tuple of."""
    root = next(i for i in body.values() if i.root)
    for instruction in [body[name] for name in root.operands] if root.opcode == "tuple" else [root]:
        yield _behind_bitcasts(instruction, body)


def _is_new(made: "Instruction", body: "Computation") -> bool:
    """Tell whether a fusion's result needs a buffer of its own: it does unless it is written into an argument's."""
    while made.opcode in _WRITES:
        made = _behind_bitcasts(body[made.operands[0]], body)
    return made.opcode != "parameter"


def _behind_bitcasts(instruction: "Instruction", body: "Computation") -> "Instruction":
    while instruction.opcode in ("bitcast", "get-tuple-element"):
        instruction = body[instruction.operands[0]]
    return instruction
