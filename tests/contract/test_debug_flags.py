"""``jax_debug_nans`` and ``jax_debug_infs`` find a user's faults: no verb makes a NaN or an infinity on its way."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tier import long_but

import jaxbuffers as jb
from jaxbuffers import testing

from .catalog import SAMPLERS, VIEWS, at_goal, favour_new, show

ROW = jax.tree.map(jnp.asarray, jb.Row({"place": 0.5, "goal": 1.0}, 0, 0.0, False, False, False, {"group": 1}))


def replay_of(part):
    if isinstance(part, jb.View):
        return jb.Replay(9, None, 2, part)
    return jb.Replay(9, None, 2, jb.Transitions(), part)


def verbs(replay, state, rows, key):
    """Every verb once; the state, and whether a sample was valid."""
    state = replay.add(state, rows)
    said, batch = replay.can_sample(state), replay.sample(state, key)
    priority = jnp.array([0.0, 1e6], jnp.float32) if replay.sampler.takes_priority else None
    state = replay.update(state, batch.index, priority=priority, rows={"action": jnp.ones_like(batch.index.time)})
    return state, (
        said & batch.valid,
        jb.stats(state),
        jb.importance_weights(batch.probability, replay.count(state), 0.5),
    )


def rows_of(replay):
    make_rows = testing.numbered_rows(replay, ROW, episode=3)
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(make_rows(step) for step in range(9)))


def constants(jaxpr: Any) -> Iterator[Any]:
    """Every literal and constant of a program, those of the programs in it included."""
    for equation in jaxpr.eqns:
        yield from (each.val for each in equation.invars if isinstance(each, jax.extend.core.Literal))
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            if hasattr(inner, "consts"):
                yield from inner.consts
            if hasattr(inner, "eqns"):
                yield from constants(getattr(inner, "jaxpr", inner))


# Of views one of each kind.
@pytest.mark.parametrize(
    "part", long_but([*VIEWS, *SAMPLERS], quick=[2, 8, 10, *range(12, 15), *range(16, 30)]), ids=show
)
def test_no_program_has_an_infinity_written_in_it(part):
    replay = replay_of(part)
    state, rows = replay.init(ROW), rows_of(replay)
    program = jax.make_jaxpr(lambda *args: verbs(replay, *args))(state, rows, jax.random.key(0))
    found = [*program.consts, *constants(program.jaxpr)]
    numbers = [np.asarray(x) for x in found if not jnp.issubdtype(getattr(x, "dtype", np.int32), jax.dtypes.prng_key)]
    assert len(numbers) > 20
    assert all(np.isfinite(x).all() for x in numbers if np.issubdtype(x.dtype, np.floating))


GOALS = jb.Hindsight(jb.Transitions(n_step=3), at_goal, "final", 0.5, "obs.place", "obs.goal")
ONE_OF_EACH = [
    GOALS,
    jb.Prioritized(),
    jb.RankBased(alpha=1.0),
    jb.Recent(half_life=3),
    jb.ByEpisode(power=0.5),
    jb.Mix((0.5, jb.WithoutReplacement()), (0.5, jb.Counted(jb.Weighted(favour_new)))),
]


@pytest.mark.long
@pytest.mark.parametrize("part", ONE_OF_EACH, ids=show)
def test_no_operation_makes_a_nan_or_an_infinity(part):
    """Eagerly, where JAX looks at the result of each."""
    replay = replay_of(part)
    with jax.debug_nans(True), jax.debug_infs(True):
        _, (valid, *_) = verbs(replay, replay.init(ROW), rows_of(replay), jax.random.key(0))
    assert valid
