"""assert_gated: a program branches where its ``lax.cond`` says so, instead of computing both branches every time."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import jax

from jaxbuffers.testing.compiled_text import computations

REMEDY = (
    "Gate by what is the same for every mapped entry, such as state.adds or a counter of the loop's own, "
    "or apply vmap to the branches inside of the cond."
)
_JAX = os.path.dirname(jax.__file__)
_COND = "conditionals.py"  # where JAX defines lax.cond, lax.switch and what vmap makes of them
# Files that every operation passes through while it is traced, whoever asked for it.
_EVERY = {"source_info_util.py", "partial_eval.py", "core.py", "lax.py", "batching.py", "traceback_util.py", _COND}


def assert_gated(fn: Callable[..., Any], *args: Any, large: int = 16_384) -> None:
    """Assert that the compiled ``fn`` branches: that it has a ``lax.cond``, and that ``vmap`` made a select of none.

    Under ``jax.vmap`` a ``lax.cond`` or ``lax.switch`` whose condition differs between the mapped entries becomes a
    select: every branch is computed in every step (``docs/vmap.md``). Results and tests stay the same, so this looks at
    the traced program, for selects in place of a ``lax.cond``, and at the compiled one, for a conditional. It runs
    nothing.

    Args:
      fn: jitted or not, with its ``vmap`` inside.
      *args: what it takes; arrays or ``jax.ShapeDtypeStruct``.
      large: a lost ``lax.cond`` counts if it chooses between arrays of at least so many bytes, those of all mapped
        entries together: the state of a replay or of a network, but not that of an environment that resets itself.
        Give 0 to count every one.

    Raises:
      AssertionError: naming the line of each ``lax.cond`` that was lost; or there is no ``lax.cond``, or XLA has
        removed all of them, as it may where the condition is constant or the branches cost next to nothing.

    A ``lax.while_loop`` under ``vmap`` goes on until the last entry is done; that is no gate, and not looked at.

    >>> import jax, jax.numpy as jnp, jaxbuffers as jb
    >>> replay = jb.Replay(capacity=4096, num_envs=None, batch_size=32)
    >>> def train(key, gate):
    ...     def step(carry, key):
    ...         state, total = carry
    ...         state = replay.add(state, jax.random.normal(key, (8,)), mask=jax.random.bernoulli(key))
    ...         learn = lambda total: total + replay.sample(state, key).data.sum()
    ...         return (state, jax.lax.cond(gate(state), learn, lambda total: total, total)), None
    ...     start = replay.init(jnp.zeros(8)), jnp.float32(0)
    ...     return jax.lax.scan(step, start, jax.random.split(key, 100))[0]
    >>> keys = jax.random.split(jax.random.key(0), 8)
    >>> assert_gated(jax.vmap(lambda key: train(key, lambda state: state.adds >= 50)), keys)
    >>> lost = jax.vmap(lambda key: train(key, lambda state: replay.size(state) >= 25))
    >>> assert_gated(lost, keys)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    AssertionError: vmap made a select of the lax.cond at ... in step (13 arrays, the largest of 1048576 bytes). ...
    """
    traced = jax.jit(fn).trace(*args)
    kept, lost = 0, dict[str, list[int]]()
    for each in _equations(traced.jaxpr.jaxpr):
        if each.primitive.name == "cond":
            kept += each.params.get("branches_platforms") is None  # else it chooses by platform, while it is compiled
        elif each.primitive.name == "select_n" and (place := _place_of_cond(each)):
            lost.setdefault(place, []).append(max(out.aval.size * out.aval.dtype.itemsize for out in each.outvars))
    found = [
        f"vmap made a select of the lax.cond at {place} ({len(sizes)} arrays, the largest of {max(sizes)} bytes)"
        for place, sizes in lost.items()
        if max(sizes) >= large
    ]
    assert not found, f"{'; '.join(found)}. {REMEDY}"
    small = f" ({len(lost)} became selects between arrays of less than {large} bytes)" if lost else ""
    assert kept, f"the program has no lax.cond{small}."
    text = str(traced.lower().compile().as_text())
    assert any(each.opcode == "conditional" for body in computations(text).values() for each in body.values()), (
        "no conditional is left in the compiled program, though vmap has lost no lax.cond: "
        "the condition is constant, or the branches are so cheap that XLA computes both."
    )


def _equations(jaxpr: Any) -> Iterator[Any]:
    """Yield the equations of a jaxpr and of those inside it."""
    for each in jaxpr.eqns:
        yield each
        for inner in jax.tree.leaves(list(each.params.values()), is_leaf=_has_equations):
            if _has_equations(inner):
                yield from _equations(getattr(inner, "jaxpr", inner))


def _has_equations(value: Any) -> bool:
    return hasattr(getattr(value, "jaxpr", value), "eqns")


def _place_of_cond(select: Any) -> str | None:
    """Say where the ``lax.cond`` stands that became this select; None if it is one that was asked for.

    JAX traces the select of a mapped cond from the same file as the cond, with nobody in between.
    """
    frames = getattr(select.source_info.traceback, "frames", ())
    names = [os.path.basename(frame.file_name) for frame in frames]
    asked = next((i for i, name in enumerate(names) if name not in _EVERY), len(names))
    if _COND not in names[:asked]:
        return None
    for frame in frames[asked:]:
        if not frame.file_name.startswith(_JAX):
            return f"{frame.file_name}:{frame.line_num} in {frame.function_name.split('.')[-1]}"
    return "an unknown place"
