"""A case as two compiled programs: a loop that is timed, and a single step that is called, looked at and profiled."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.accelerator.cases import Case, Side
from benchmarks.compiled import large_arrays

CALLS = 256  # keys of single steps, in turn


@dataclass
class Programs:
    """What is compiled of a case, before there is a state."""

    case: Case
    rows: int
    state: Any  # shapes
    outputs: Any
    single: Any
    loop: Any
    seconds: float

    @classmethod
    def of(cls, side: Side, case: Case) -> "Programs":
        """Compile both programs of a case; safe in a thread."""
        began = time.perf_counter()
        state, key = jax.eval_shape(side.init), jax.eval_shape(lambda: jax.random.key(0))
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), case.steps))
        outputs = jax.eval_shape(case.step, state, key)[1]

        def single(state: Any, key: jax.Array) -> tuple:
            made, outputs = case.step(state, key)
            return (made if case.changes else None), outputs

        # The outputs are the loop's carry: every step must write all of them, into the same memory.
        def changing(state: Any, outputs: Any, keys: jax.Array) -> tuple:
            return jax.lax.scan(lambda carry, key: (case.step(carry[0], key), None), (state, outputs), keys)[0]

        def looking(state: Any, outputs: Any, keys: jax.Array) -> tuple:
            return None, jax.lax.scan(lambda _, key: (case.step(state, key)[1], None), outputs, keys)[0]

        jits = (
            jax.jit(single, donate_argnums=0 if case.changes else ()).lower(state, key),
            jax.jit(changing if case.changes else looking, donate_argnums=(0, 1) if case.changes else 1).lower(
                state, outputs, keys
            ),
        )
        one, loop = (each.compile() for each in jits)
        return cls(case, side.rows, state, outputs, one, loop, time.perf_counter() - began)

    def copies(self) -> list[str]:
        """Return the lines of either program that make an array as large as one of the ring's."""
        leaves = [leaf.size for leaf in jax.tree.leaves(self.state)]
        largest = max((leaf.size for leaf in jax.tree.leaves(self.outputs)), default=0)
        largest = max(largest, self.case.makes)
        # Smaller arrays of a ring cannot be told from what a batch is made of; their pointers are watched all the same.
        least = min(max(self.rows, 4 * largest), max(leaves))
        return [
            f"{name}: {line[:160]}"
            for name, program in (("single", self.single), ("loop", self.loop))
            for line in large_arrays(program.as_text(), least, self.outputs)
        ]


@dataclass
class Running:
    """A case's programs with the state that they change."""

    programs: Programs
    held: list[Any]  # one state, which all cases of a side share
    keys: Any = None
    outputs: Any = None
    turn: Iterator[jax.Array] = field(default_factory=lambda: iter(()))

    def __post_init__(self) -> None:
        self.keys = jax.random.split(jax.random.key(1), self.programs.case.steps)
        self.outputs = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), self.programs.outputs)
        self.singles = list(jax.random.split(jax.random.key(2), CALLS))
        self.calls = 0

    def loop(self) -> None:
        """Run the loop, and wait for it."""
        state, self.outputs = self.programs.loop(self.held[0], self.outputs, self.keys)
        self._keep(state)
        jax.block_until_ready((state, self.outputs))

    def single(self) -> Any:
        """Make a step, and return everything that it gave."""
        self.calls += 1
        state, outputs = self.programs.single(self.held[0], self.singles[self.calls % CALLS])
        self._keep(state)
        return jax.block_until_ready((state, outputs))

    def _keep(self, state: Any) -> None:
        if self.programs.case.changes:
            self.held[0] = state

    def moved(self) -> list[str]:
        """Make a step, and return which large leaves of the state are now elsewhere."""
        if not self.programs.case.changes:
            return []
        before = _pointers(self.held[0])
        self.single()
        after = _pointers(self.held[0])
        return [path for path, pointer in before.items() if after.get(path) != pointer]


def _pointers(state: Any) -> dict[str, int]:
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        if leaf.nbytes >= 2**14:
            found[jax.tree_util.keystr(path)] = leaf.unsafe_buffer_pointer()
    return found


def timed_in_turns(functions: list[Callable[[], Any]], seconds: float, least: int, most: int) -> list[list[float]]:
    """Call functions in turns for some seconds, after an unmeasured call of each; return the seconds of each call."""
    start = time.perf_counter()
    for function in functions:
        function()
    took = time.perf_counter() - start
    rounds = min(max(int(seconds / max(took, 1e-9)), least), most)
    times: list[list[float]] = [[] for _ in functions]
    for i in range(rounds):
        order = list(zip(functions, times, strict=True))
        for function, kept in order if i % 2 == 0 else order[::-1]:
            start = time.perf_counter()
            function()
            kept.append(time.perf_counter() - start)
    return times
