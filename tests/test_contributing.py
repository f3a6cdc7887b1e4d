"""The view and the sampler that CONTRIBUTING.md shows are short, and keep the contract outside the package."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from tier import budget, long_but

import jaxbuffers as jb
from jaxbuffers import testing

PAGE = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
ROW = jb.Row(jnp.zeros(3), jnp.int32(0), jnp.float32(0), *[jnp.bool_(False)] * 3)


def shown(name):
    """The class of this name in the page, and the block it stands in."""
    for block in BLOCKS:
        names = {"__name__": "contributing"}
        exec(compile(block, "CONTRIBUTING.md", "exec"), names)
        if name in names:
            return names[name], block
    raise AssertionError(f"CONTRIBUTING.md shows no {name}")


@pytest.mark.parametrize("name", ["Ends", "Newest", "Backlog"])
def test_what_is_shown_is_shorter_than_60_lines(name):
    assert len(shown(name)[1].splitlines()) < 60


PAIRS = [("Ends", jb.Prioritized()), (jb.Sequences(3, "within"), "Newest"), (jb.Sequences(3, "within"), "Backlog")]
PAIRS += [("Ends", "Newest"), ("Ends", "Backlog"), ("Ends", jb.WithoutReplacement()), (jb.Transitions(), "Backlog")]


@pytest.mark.parametrize("view, sampler", long_but(PAIRS, quick=[3]), ids=str)
def test_the_view_and_the_samplers_keep_the_contract_with_ours_and_with_each_other(view, sampler):
    view = shown(view)[0](3) if isinstance(view, str) else view
    sampler = shown(sampler)[0]() if isinstance(sampler, str) else sampler
    replay = jb.Replay(capacity=24, num_envs=2, batch_size=3, view=view, sampler=sampler)
    some = [testing.check_probability, testing.check_windows, testing.check_rows]
    for check in budget(some, testing.CONTRACT):
        check(replay, ROW, testing.numbered_rows(replay, ROW))


def test_the_stateful_sampler_draws_from_the_longest_backlog():
    replay = jb.Replay(capacity=8, num_envs=2, batch_size=64, sampler=shown("Backlog")[0]())
    state = replay.init(jnp.int32(0))
    for mask in ([True, True], [False, True], [True, True]):
        state = replay.add(state, jnp.array([1, 2], jnp.int32), jnp.array(mask))
    assert state.sampler.tolist() == [2, 3]
    batch = replay.sample(state, jax.random.key(0))
    assert {*batch.index.stream.tolist()} == {1}
    assert {*batch.index.time.tolist()} == {0, 1, 2}
    state = replay.update(state, batch.index)
    assert state.sampler.tolist() == [2, 0]
    assert {*replay.sample(state, jax.random.key(0)).data.tolist()} == {1}
