"""Rows that waited on the host give the state that adding each by itself gives, whatever the sampler and the view."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract.catalog import EVERYTHING, show
from tier import budget, long_but

import jaxbuffers as jb
from host.staged import assert_alike, pair

STEPS = budget(60, 400)
# Those that remember most; test_every_sampler.py has rows in blocks for all.
SOME = jb.Mix((0.5, jb.RankBased()), (0.5, jb.WithoutReplacement()))
ROW = jb.Row(
    obs=jax.ShapeDtypeStruct((2,), jnp.bfloat16),
    action=np.int32,
    reward=np.float32,
    is_first=np.bool_,
    is_last=np.bool_,
    is_terminal=np.bool_,
)
VIEWS = [
    jb.Items(),
    jb.Sequences(3, episodes="within", burn_in=1, period=2, actions="previous"),
    jb.Episodes(5),
    jb.FrameStack(jb.Transitions(n_step=2), 2),
    jb.Sequences(4),
]


def row(dice, lead=(2,)):
    last = dice.random(lead) < 0.3
    return jb.Row(
        obs=dice.standard_normal((*lead, 2)).astype(jnp.bfloat16),
        action=dice.integers(0, 4, lead, np.int32),
        reward=dice.standard_normal(lead).astype(np.float32),
        is_first=dice.random(lead) < 0.2,
        is_last=last,
        is_terminal=last & (dice.random(lead) < 0.5),
    )


KINDS = [(VIEWS[1], SOME), (VIEWS[1], EVERYTHING), *((view, SOME) for view in VIEWS if view != VIEWS[1])]


@pytest.mark.parametrize(("view", "sampler"), long_but(KINDS, quick=[0]), ids=show)
def test_every_sampler_remembers_the_same(view, sampler):
    """Samplers in one mixture, behind the queue of new windows; long streams of rows, masks and uses."""
    sampler = jb.OnlineFirst(sampler)
    replay = jb.Replay(capacity=22, num_envs=2, batch_size=22, view=view, sampler=sampler)
    staged, single = pair(replay, ROW)
    assert staged._staging.size == 11 - view.span + 1 > 1 > single._staging.size
    dice, waited = np.random.default_rng(0), 0
    for _ in range(STEPS):
        kind = dice.random()
        if kind < 0.6:
            rows, mask = row(dice), dice.random(2) < 0.7 if dice.random() < 0.4 else None
            for buffer in (staged, single):
                buffer.add(rows, mask)
            waited = max(waited, staged._staging.count)
        elif kind < 0.9:
            lead = int(dice.integers(1, 5)), 2  # some wait, some are too many
            rows, mask = row(dice, lead), dice.random(lead) < 0.8 if dice.random() < 0.7 else None
            for buffer in (staged, single):
                buffer.add(rows, mask)
        elif staged.replay.can_sample(staged._state):
            batches = [buffer.sample() for buffer in (staged, single)]
            priority = dice.random(22).astype(np.float32)
            for buffer, batch in zip((staged, single), batches, strict=True):
                buffer.update(batch.index, priority=priority)
        assert len(staged) == len(single)
        if dice.random() < 0.2:
            assert_alike(staged, single)
    assert_alike(staged, single)
    assert waited > 1
