"""Replays whose states must not be mixed up, and verbs to try them with."""

import jax
import jax.numpy as jnp

import jaxbuffers as jb

FLAGS = dict.fromkeys(("is_first", "is_last", "is_terminal"), jnp.bool_(False))
ROW = {"obs": jnp.float32(0), "action": jnp.int32(0), "reward": jnp.float32(0), "group": jnp.int32(0)} | FLAGS
INDEX = jb.Index(jnp.zeros(2, jnp.int32), jnp.arange(2, dtype=jnp.int32))


def rows(*lead):
    return jax.tree.map(lambda leaf: jnp.zeros((*lead, *leaf.shape), leaf.dtype), ROW)


def replay_of(view=None, sampler=None, length=12, streams=None, **more):
    view, sampler = view or jb.Items(), sampler or jb.Uniform()
    return jb.Replay(length * (streams or 1), streams, 2, view, sampler, **more)


def by_group(rows):
    return rows["group"] % 2


def favour_new(windows):
    return -0.2 * windows.age.astype(jnp.float32)


def reached(achieved, desired):
    return -jnp.abs(achieved - desired)


def hindsight(view):
    return jb.Hindsight(view, reached, achieved="obs", desired="obs")


VERBS = {
    "add": lambda replay, state: replay.add(state, rows(*(() if replay.num_envs is None else (replay.num_envs,)))),
    "sample": lambda replay, state: replay.sample(state, jax.random.key(0)),
    "update": lambda replay, state: replay.update(state, INDEX, rows={"action": jnp.ones(2, jnp.int32)}),
    "get": lambda replay, state: replay.get(state, INDEX),
    "age": lambda replay, state: replay.age(state, INDEX),
    "size": lambda replay, state: replay.size(state),
    "count": lambda replay, state: replay.count(state),
    "can_sample": lambda replay, state: replay.can_sample(state),
}
