"""Every view and every sampler of the package, in a configuration worth a test."""

import inspect
import re

import jax.numpy as jnp

import jaxbuffers as jb
from jaxbuffers import testing


def favour_new(windows):
    return -0.2 * windows.age.astype(jnp.float32)


def by_stream(rows):
    return rows.action % 2


SAMPLERS = [
    jb.Uniform(),
    jb.Prioritized(),
    jb.RankBased(),
    jb.Recent(horizon=4),
    jb.Recent(half_life=3),
    jb.ByEpisode(power=0.5),
    jb.WithoutReplacement(),
    jb.Weighted(favour_new, replace=True),
    jb.Weighted(favour_new),
    jb.Clustered(by_stream, groups=2),
    jb.OnlineFirst(jb.Prioritized()),
    jb.Mix((0.5, jb.Uniform()), (0.3, jb.Prioritized()), (0.2, jb.Recent(half_life=2))),
    jb.Mix((0.5, jb.Uniform()), (0.5, jb.Mix((0.5, jb.Uniform()), (0.5, jb.Recent(horizon=6))))),
    jb.Counted(jb.WithoutReplacement()),
]


# All that a mixture can be made of, told everything together: one program where each by itself would be a dozen.
PARTS = [*SAMPLERS[:10], SAMPLERS[13]]
EVERYTHING = jb.Mix(*((1 / len(PARTS), part) for part in PARTS))


def at_goal(place, goal):
    return -jnp.sum(jnp.abs(place - goal))


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
    jb.FrameStack(jb.Items(), 3),
    jb.FrameStack(jb.Transitions(n_step=2), 2, pad="zero"),
    jb.Episodes(6),
    jb.Hindsight(jb.Transitions(n_step=2), at_goal, achieved="obs.place", desired="obs.goal"),
    jb.FrameStack(jb.Hindsight(jb.Sequences(3), at_goal, "final", 0.5, "obs.place", "obs.goal"), 2),
]
ROW = jb.Row(
    obs={
        "image": jnp.zeros((6, 50), jnp.uint8),
        "depth": jnp.zeros((300,)),
        "place": jnp.zeros(2),
        "goal": jnp.ones(2),
    },
    action=jnp.int32(0),
    reward=jnp.float32(0),
    is_first=jnp.bool_(False),
    is_last=jnp.bool_(False),
    is_terminal=jnp.bool_(False),
    extras=(jnp.zeros(3, jnp.bfloat16),),
)


def show(value):
    if inspect.isfunction(value):
        return value.__name__
    return re.sub(r" |at 0x\w+", "", repr(value)) if isinstance(value, jb.View | jb.Sampler) else None


def replay_of(view, sampler):
    size = len(PARTS) if sampler == EVERYTHING else 3
    return jb.Replay(capacity=27, num_envs=3, batch_size=size, view=view, sampler=sampler)


def rows_for(replay):
    whole = isinstance(replay.view, jb.Episodes)  # which wants episodes that end in time
    return testing.numbered_rows(replay, ROW, episode=2 if whole else None)
