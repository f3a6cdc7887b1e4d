"""Every view with every sampler keeps the whole contract, with and without an environment axis."""

import jax.numpy as jnp
import pytest

import jaxbuffers as jb
from jaxbuffers import testing

SAMPLERS = [
    jb.Uniform(),
    jb.Prioritized(),
]
VIEWS = [
    jb.Items(),
    jb.Transitions(),
    jb.Transitions(n_step=3, gamma=0.5),
    jb.Sequences(3),
    jb.Sequences(3, period=2, time_major=True),
    jb.Sequences(3, burn_in=2),
    jb.Sequences(3, actions="previous"),
    jb.Sequences(3, episodes="within"),
    jb.Sequences(3, episodes="within", burn_in=1, period=2, actions="previous", time_major=True),
    jb.Sequences(3, episodes="pad"),
    jb.Sequences(3, episodes="pad", burn_in=1, period=2, actions="previous"),
]
ROW = jb.Row(
    obs={"image": jnp.zeros((6, 50), jnp.uint8), "depth": jnp.zeros((300,), jnp.float32)},
    action=jnp.int32(0),
    reward=jnp.float32(0),
    is_first=jnp.bool_(False),
    is_last=jnp.bool_(False),
    is_terminal=jnp.bool_(False),
    extras=(jnp.zeros(3, jnp.bfloat16),),
)


def show(value):
    return repr(value).replace(" ", "") if isinstance(value, jb.View | jb.Sampler) else None


@pytest.mark.parametrize("check", testing.CONTRACT, ids=lambda check: check.__name__)
@pytest.mark.parametrize("sampler", SAMPLERS, ids=show)
@pytest.mark.parametrize("view", VIEWS, ids=show)
def test_every_view_and_sampler_keeps_the_contract(view, sampler, check):
    replay = jb.Replay(capacity=27, num_envs=3, batch_size=5, view=view, sampler=sampler)
    check(replay, ROW, testing.numbered_rows(replay, ROW))


@pytest.mark.parametrize("sampler", SAMPLERS, ids=show)
@pytest.mark.parametrize("view", [VIEWS[2], VIEWS[8]], ids=show)
def test_a_single_stream_without_an_environment_axis_keeps_the_contract(view, sampler):
    testing.check_replay(jb.Replay(capacity=9, num_envs=None, batch_size=5, view=view, sampler=sampler), ROW)
