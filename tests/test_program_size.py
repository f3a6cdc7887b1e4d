"""Programs are as small for a long ring as for a short one: each step of a search must not contain those before.

XLA for CPU fuses steps that follow one another, and LLVM then takes minutes for one `Replay.read`.
"""

import jax
import jax.numpy as jnp
import pytest
from contract.catalog import ROW, at_goal, show
from tier import long_but

import jaxbuffers as jb
from jaxbuffers.batch import Draw

pytestmark = pytest.mark.usefixtures("readable")  # compiled programs are read

HINDSIGHT = jb.Hindsight(jb.Transitions(), at_goal, achieved="obs.place", desired="obs.goal")
SEARCHES = [
    (jb.Transitions(), jb.Uniform()),
    (HINDSIGHT, jb.Uniform()),  # looks for the bounds of episodes
    (jb.Episodes(6), jb.Uniform()),
    (jb.Transitions(), jb.Recent(horizon=20)),
    (jb.Transitions(), jb.ByEpisode()),
    (jb.Transitions(), jb.Prioritized()),  # whose tree has another level for 16 times the rows
]


def instructions(replay):
    """How many there are in the programs that sample, and that read what others have drawn, from one stream."""
    state = jax.eval_shape(lambda: replay.init(ROW))
    numbers = jnp.arange(replay.batch_size, dtype=jnp.int32)
    draw = Draw(jnp.zeros_like(numbers), numbers, jnp.ones(numbers.shape), jnp.ones(numbers.shape, bool))
    key = jax.random.key(0)
    programs = jax.jit(replay.sample).lower(state, key), jax.jit(replay.read).lower(state, draw, key)
    return [program.compile().as_text().count(" = ") for program in programs]


@pytest.mark.parametrize(("view", "sampler"), long_but(SEARCHES, quick=[0]), ids=show)
def test_a_long_ring_makes_no_large_programs(view, sampler):
    short, long = (
        instructions(jb.Replay(capacity=capacity, num_envs=1, batch_size=16, view=view, sampler=sampler))
        for capacity in (1000, 100_000)
    )
    for few, many in zip(short, long, strict=True):
        assert many < 1.5 * few
