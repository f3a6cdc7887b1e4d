"""The checks of single windows, and of what can be sampled, can fail: each finds the fault it is there for."""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import pytest
from tier import budget

import jaxbuffers as jb
from jaxbuffers import testing

ROW = {"x": jnp.zeros(4, jnp.float32), "is_first": jnp.bool_(False)}


@dataclass(frozen=True)
class ShowsEvenRowsOnly(jb.View):
    required = 1

    def read(self, reader):
        index = reader.index([0])
        index = jb.Index(index.stream, jnp.where(index.time % 2 == 0, index.time, -1))
        return reader.rows(index), index


@dataclass(frozen=True)
class BeginsWithTheLast(jb.View):
    required = 2

    def read(self, reader):
        index = reader.index([1, 0])
        return reader.rows(index), index


@dataclass(frozen=True)
class ShowsInvalidDraws(jb.View):
    """Takes rows of draws that are not valid, too."""

    required = 1

    def read(self, reader):
        index = jb.Index(reader.draw.stream, reader.draw.start)
        return reader.rows(jb.Index(index.stream, jnp.where(reader.draw.valid, index.time, -1))), index


@dataclass(frozen=True)
class Deaf(jb.Uniform):
    """Takes priorities, and forgets them."""

    takes_priority = True

    def init(self, windows):
        return jnp.zeros(3)


@dataclass(frozen=True)
class NeedsThree(jb.Uniform):
    """Draws from three windows or more, but does not say so."""

    def draw(self, state, legal, key, batch_size):
        drawn = super().draw(state, legal, key, batch_size)
        return replace(drawn, valid=drawn.valid & (jnp.sum(legal.count()) >= 3))


@dataclass(frozen=True)
class HalfValid(jb.Uniform):
    """Part of a batch is valid, part is not."""

    def can_draw(self, state, legal, batch_size):
        return jnp.bool_(False)

    def draw(self, state, legal, key, batch_size):
        drawn = super().draw(state, legal, key, batch_size)
        return replace(drawn, valid=drawn.valid & (jnp.arange(batch_size) > 0))


@pytest.mark.parametrize(
    "faulty, check, message",
    [
        (ShowsEvenRowsOnly(), testing.check_windows, r"stream \d that begins at \d shows no row"),
        (BeginsWithTheLast(), testing.check_windows, r"window \(stream, start\) \[\d, 0\] says .* \[\d, 1\]"),
        (ShowsInvalidDraws(), testing.check_windows, "not valid shows rows"),
        (Deaf(), testing.check_windows, "get lost"),
        (
            NeedsThree(),
            testing.check_can_sample,
            r"is True after \d steps, but batch.valid is .*override Sampler.can_draw",
        ),
        (HalfValid(), testing.check_can_sample, "a batch of 8 that is not valid shows rows"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, jb.View | jb.Sampler) else None,
)
def test_the_contract_finds_one_fault_each(faulty, check, message):
    part = {"view": faulty} if isinstance(faulty, jb.View) else {"sampler": faulty}
    replay = jb.Replay(capacity=12, num_envs=2, batch_size=8, **part)
    with pytest.raises(AssertionError, match=message):
        check(replay, ROW, testing.numbered_rows(replay, ROW))


def test_every_window_of_a_view_reaches_a_sampler_with_priorities():
    samplers = jb.Counted(jb.RankBased()), jb.Prioritized(), jb.RankBased(), jb.OnlineFirst(jb.Prioritized())
    for sampler in budget(samplers[:1], samplers):
        replay = jb.Replay(capacity=12, num_envs=2, batch_size=8, view=jb.Sequences(2, "within"), sampler=sampler)
        testing.check_windows(replay, ROW, testing.numbered_rows(replay, ROW))


def test_a_make_rows_without_legal_windows_is_told_so():
    replay = jb.Replay(capacity=12, num_envs=2, batch_size=8, view=jb.Sequences(3, "within"))

    def one_step_episodes(step):
        return {"x": jnp.zeros((2, 4), jnp.float32), "is_first": jnp.ones(2, jnp.bool_)}

    with pytest.raises(AssertionError, match="give it episodes of a length"):
        testing.check_rows(replay, ROW, one_step_episodes)
