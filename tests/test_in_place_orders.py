"""Verbs in every order update a replay in place, for every sampler: no write waits for nothing, no read is copied.

What is added and written back here comes from elsewhere: it depends on nothing that was sampled, which leaves XLA
free to move the writes before the reads. The programs run every word of two or three verbs, one after the other.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import pytest
from tier import budget, long_but

import jaxbuffers as jb
from jaxbuffers.testing import assert_in_place

pytestmark = pytest.mark.usefixtures("readable")  # compiled programs are read

ENVS, BATCH, LENGTH = 8, 8, 256
LARGE = 4096  # bytes: the trees and queues, and no batch
ROW = {
    "obs": jnp.zeros(16),
    "action": jnp.int32(0),
    "reward": jnp.float32(0),
    "is_first": jnp.bool_(False),
    "is_last": jnp.bool_(False),
}
SAMPLERS = [
    jb.Uniform(),
    jb.Prioritized(),
    jb.RankBased(),
    jb.Recent(horizon=100),
    jb.Recent(half_life=100),
    jb.ByEpisode(),
    jb.WithoutReplacement(),
    jb.Clustered("action", groups=4),
    jb.Counted(jb.Prioritized()),
    jb.OnlineFirst(jb.Prioritized()),
    jb.Mix((0.5, jb.Uniform()), (0.5, jb.RankBased())),
    jb.Mix((0.5, jb.ByEpisode()), (0.5, jb.WithoutReplacement())),
]
WRITERS = [sampler for sampler in SAMPLERS if not isinstance(sampler, jb.Uniform | jb.Recent | jb.Mix | jb.Counted)]
WITHIN = jb.Sequences(2, episodes="within")
EVERY_PAIR = "asausu"  # of two different verbs, one after the other again and again: for the quick tier
VIEWS = [
    jb.Items(),
    jb.Sequences(4),
    jb.Sequences(4, episodes="pad", actions="previous"),
    jb.Sequences(4, episodes="within", period=2),
    jb.FrameStack(jb.Sequences(3, episodes="within"), 3),
    jb.Episodes(max_length=8),
]


def name(value):
    return repr(value).replace(" ", "")


def every_word(letters, length):
    """A cyclic text in which each word of so many letters stands once (de Bruijn 1946)."""
    text, seen = [letters[0]] * length, {letters[0] * length}
    while True:
        for letter in reversed(letters):
            word = "".join([*text[len(text) - length + 1 :], letter])
            if word not in seen:
                seen.add(word)
                text.append(letter)
                break
        else:
            return "".join(text[length - 1 :])


def test_the_programs_have_every_order():
    for length in (2, 3):
        text = every_word("asu", length)
        assert len(text) == 3**length
        assert len({(text * 2)[i : i + length] for i in range(len(text))}) == 3**length
    assert {(EVERY_PAIR * 2)[i : i + 2] for i in range(6)} == {a + b for a in "asu" for b in "asu" if a != b}


def program(replay, verbs):
    """Verbs in this order: a for add, s for sample, u for update."""

    def run(state, rows, index, priority, key):
        unread, seen = [], []
        for i, verb in enumerate(verbs):
            if verb == "s":
                batch = replay.sample(state, jax.random.fold_in(key, i))
                unread.append(batch)
                seen.append((batch.data, batch.probability))
                index = batch.index
                continue
            while unread:
                state = jb.fence(state, unread.pop())
            if verb == "a":
                state = replay.add(state, jax.tree.map(lambda x, i=i: x[i], rows))
            else:
                takes = replay.sampler.takes_priority
                new = {"reward": jnp.full(index.time.shape, i, jnp.float32)}
                state = replay.update(state, index, priority=priority[i] if takes else None, rows=new)
        for batch in unread:
            state = jb.fence(state, batch)
        return state, seen

    return run


def scanned(run, unroll):
    def loop(state, rows, index, priority, keys):
        return jax.lax.scan(lambda state, key: run(state, rows, index, priority, key), state, keys, unroll=unroll)

    return loop


def check(view, sampler, verbs, unroll=0):
    """Run the verbs in a scan, or as they stand."""
    replay = jb.Replay(ENVS * LENGTH, ENVS, BATCH, view, sampler)
    rows = jax.tree.map(lambda x: jnp.zeros((len(verbs), ENVS, *x.shape), x.dtype), ROW)
    first = (jnp.arange(len(verbs)) % 3 == 0)[:, None]
    rows |= {"is_first": jnp.broadcast_to(first, (len(verbs), ENVS)), "is_last": jnp.roll(rows["is_first"], -1, 0)}
    state = replay.add(replay.init(ROW), jax.tree.map(lambda x: x[:6], rows))
    index = replay.sample(state, jax.random.key(0)).index
    run, keys = program(replay, verbs), jax.random.split(jax.random.key(0), 2)
    args = rows, index, jnp.ones((len(verbs), BATCH), jnp.float32)
    if unroll:
        assert_in_place(scanned(run, unroll), state, *args, keys, large=LARGE)
    else:
        assert_in_place(run, state, *args, keys[0], large=LARGE)


@pytest.mark.parametrize("sampler", long_but(SAMPLERS, quick=[9]), ids=name)  # one around another
def test_two_verbs_in_every_order_copy_nothing_in_a_scan(sampler):
    check(budget(jb.Items(), WITHIN), sampler, budget(EVERY_PAIR, every_word("asu", 2)), unroll=1)


@pytest.mark.long
@pytest.mark.parametrize("sampler", WRITERS, ids=name)
def test_three_verbs_in_every_order_copy_nothing(sampler):
    check(WITHIN, sampler, every_word("asu", 3))


@pytest.mark.long  # the scan that is not unrolled, of more verbs, is quick
@pytest.mark.parametrize("sampler", [jb.Uniform(), jb.Prioritized()], ids=name)
def test_an_unrolled_scan_copies_nothing(sampler):
    check(WITHIN, sampler, "asua", unroll=2)


@pytest.mark.long  # quick: the test above, and the contract puts every kind of view in place
@pytest.mark.parametrize("view", VIEWS, ids=name)
def test_verbs_in_every_order_copy_nothing_whatever_the_view(view):
    check(view, jb.Uniform(), every_word("asu", 2))


def test_blocks_of_rows_one_after_the_other_copy_nothing():
    replay = jb.Replay(ENVS * LENGTH, ENVS, BATCH, WITHIN, jb.Prioritized())
    rows = jax.tree.map(lambda x: jnp.zeros((5, ENVS, *x.shape), x.dtype), ROW)
    assert_in_place(lambda state: replay.add(replay.add(state, rows), rows), replay.init(ROW), large=LARGE)


def test_an_order_that_is_not_kept_is_found():
    """A sampler whose add reads what it wrote, and tells nobody: the next add then needs a copy."""

    class Careless(jb.Sampler):
        def init(self, windows):
            return jnp.zeros(windows.ring.length * windows.ring.num_streams), jnp.zeros(128)

        def add(self, state, legal, added, turnover):
            table, sums = state
            place = legal.address(jnp.zeros_like(added.time), added.time).reshape(-1)
            table = table.at[place].set(1.0)
            return table, sums + jnp.sum(table[place + 1])

        draw = jb.Uniform.draw

    replay = replace(jb.Replay(ENVS * LENGTH, ENVS, BATCH), sampler=Careless())
    rows = {"x": jnp.zeros((ENVS, 9))}
    with pytest.raises(AssertionError, match=r"copies leaf 'sampler\.0'"):
        assert_in_place(
            lambda state: replay.add(replay.add(state, rows), rows), replay.init({"x": jnp.zeros(9)}), large=LARGE
        )
