"""Every view and every sampler through the shell: what comes back is what went in, and can be written back to."""

import jax
import numpy as np
import pytest
from tier import long_but

import jaxbuffers as jb
from host.shells import shell
from jaxbuffers.errors import ConfigurationError, DtypeError, PriorityError, ShapeError, StaleIndexError, StructureError

FIELDS = {
    "obs": {"image": jax.ShapeDtypeStruct((2,), np.uint8), "mission": jb.text},
    "action": jb.text,
    "reward": np.float32,
    "is_first": np.bool_,
    "is_last": np.bool_,
    "is_terminal": np.bool_,
    "extras": {"said": jb.text[2], "group": np.int32},
}
ENVS, BATCH = 2, 4
VIEWS = {
    "items": jb.Items(),
    "transitions": jb.Transitions(),
    "n-step": jb.Transitions(n_step=2),
    "pad": jb.Sequences(3, "pad"),
    "time-major": jb.Sequences(2, "within", burn_in=1, time_major=True),
    "episodes": jb.Episodes(5),
}
SAMPLERS = {
    "uniform": jb.Uniform(),
    "prioritized": jb.Prioritized(),
    "epochs": jb.WithoutReplacement(),
    "ranks": jb.RankBased(),
    "recent": jb.Recent(half_life=3),
    "episodes": jb.ByEpisode(),
    "clusters": jb.Clustered("extras.group", groups=2),
    "online": jb.OnlineFirst(jb.Uniform()),
    "counted": jb.Counted(jb.Uniform()),
    "mix": jb.Mix((0.5, jb.Uniform()), (0.5, jb.Prioritized())),
}
CASES = [(view, "uniform") for view in VIEWS] + [("transitions", sampler) for sampler in ("prioritized", "mix")]
QUICK = 3, 5, 7  # samplers know nothing of the shell: one that takes priorities, made of others
CASES += [("transitions", sampler) for sampler in SAMPLERS if ("transitions", sampler) not in CASES]
CASES += [("pad", "prioritized"), ("episodes", "epochs"), ("items", "prioritized")]


def rows(step):
    """One row of each environment; episodes of 4 and 5 rows."""
    env = np.arange(ENVS)
    number, age = step * ENVS + env, step % (4 + env)
    last = age == 3 + env
    return {
        "obs": {"image": np.stack([number, number], axis=-1).astype(np.uint8), "mission": [f"m{i}" for i in number]},
        "action": [f"a{i}" for i in number],
        "reward": number.astype(np.float32),
        "is_first": age == 0,
        "is_last": last,
        "is_terminal": last,
        "extras": {"said": [[f"s{i}"] for i in number], "group": (number % 2).astype(np.int32)},
    }


def filled(view, sampler, steps=13, capacity=20):
    buffer = shell(capacity, ENVS, BATCH, VIEWS[view], SAMPLERS[sampler], FIELDS)
    for step in range(steps):
        buffer.add(rows(step))
    return buffer


def numbers(batch, image):
    """Which row each image is, None where there is none."""
    mask = np.broadcast_to(np.asarray(batch.mask), np.shape(image)[:-1]) if batch.mask.ndim > 1 else True
    return np.where(mask, np.asarray(image)[..., 0].astype(int), -1)


def words(number, letter):
    flat = [None if i < 0 else f"{letter}{i}" for i in number.ravel().tolist()]
    found = np.empty(len(flat), object)
    found[:] = flat
    return found.reshape(number.shape).tolist()


@pytest.mark.parametrize("view, sampler", long_but(CASES, QUICK))
def test_what_comes_back_is_what_went_in(view, sampler):
    buffer = filled(view, sampler)
    for _ in range(3):
        batch = buffer.sample()
        data = batch.data
        if view in ("transitions", "n-step"):
            number = numbers(batch, data.obs["image"])
            reached = numbers(batch, data.next_obs["image"])
            assert batch.text("next_obs.mission") == words(reached, "m")
            assert (reached > number).all()
            prefix, names = "", {"obs.mission", "next_obs.mission", "action", "extras.said"}
        else:
            held = data.rows if view == "episodes" else data
            number = numbers(batch, held["obs"]["image"])
            prefix = "rows." if view == "episodes" else ""
            names = {prefix + name for name in ("obs.mission", "action", "extras.said")}
        assert set(batch.texts) == names
        assert batch.text(prefix + "obs.mission") == words(number, "m")
        assert batch.text(prefix + "action") == words(number, "a")
        said = np.array(batch.text(prefix + "extras.said"), object)
        assert (said[..., 0].tolist(), set(said[..., 1].ravel())) == (words(number, "s"), {None})
        assert number.max() < 26
        assert number[number >= 0].min() >= 6  # the rest has been overwritten
        assert float(batch.probability.min()) > 0
        priority = np.full(BATCH, 0.5, np.float32) if buffer.replay.sampler.takes_priority else None
        buffer.update(batch.index, priority=priority)
    assert buffer.sweep() == 3 * 6


@pytest.mark.long  # quick: samplers/test_without_replacement.py; a shell adds nothing to it
def test_an_epoch_shows_every_transition_once():
    buffer = filled("transitions", "epochs")
    count = buffer.count()
    drawn = []
    for _ in range(count):
        batch = buffer.sample(1)
        buffer.update(batch.index)
        drawn += numbers(batch, batch.data.obs["image"]).tolist()
    assert len(set(drawn)) == count


def test_priorities_decide_and_wrong_ones_change_nothing():
    buffer = filled("transitions", "prioritized")
    batch = buffer.sample()
    wrong = [
        ([np.nan] * 4, np.float32, PriorityError, "nan"),
        ([1, 1, 1, np.inf], np.float32, PriorityError, "inf"),
        ([1, 1, 1, -1], np.float32, PriorityError, "-1"),
        ([1, 1, 1, 1], np.float64, DtypeError, "float64"),
        ([1, 1, 1, 1], np.int32, DtypeError, "int32"),
        ([1, 1, 1], np.float32, ShapeError, r"\(3,\)"),
    ]
    before = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(buffer._state)]
    for value, dtype, error, match in wrong:
        with pytest.raises(error, match=match):
            buffer.update(batch.index, priority=np.array(value, dtype))
    with pytest.raises(DtypeError, match="list"):
        buffer.update(batch.index, priority=[1.0] * 4)
    with pytest.raises(StructureError, match=r"batch\.index"):
        buffer.update(batch, priority=np.ones(4, np.float32))
    for value, error in ((np.zeros(4), TypeError), (0.5, ValueError), (np.zeros(3, np.float32), ValueError)):
        with pytest.raises(error, match="reward"):
            buffer.update(batch.index, rows={"reward": value})
    with pytest.raises(StructureError, match="is_first"):
        buffer.update(batch.index, rows={"is_first": np.zeros(4, np.bool_)})
    assert [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(buffer._state)] == before

    for _ in range(40):
        batch = buffer.sample()
        chosen = numbers(batch, batch.data.obs["image"]) == 20
        buffer.update(batch.index, priority=np.where(chosen, 100, 0).astype(np.float32))
    batches = [buffer.sample() for _ in range(8)]
    draws = [i for batch in batches for i in numbers(batch, batch.data.obs["image"]).tolist()]
    assert draws.count(20) > 0.9 * len(draws)


def test_a_priority_for_a_sampler_that_takes_none():
    buffer = filled("transitions", "uniform")
    with pytest.raises(ConfigurationError, match="takes no priority"):
        buffer.update(buffer.sample().index, priority=np.ones(BATCH, np.float32))


@pytest.mark.parametrize("view", long_but(["transitions", "pad"], quick=[1]))
def test_an_index_goes_stale_when_its_rows_are_overwritten(view):
    buffer = filled(view, "prioritized")
    batch, priority = buffer.sample(), np.ones(BATCH, np.float32)
    buffer.update(batch.index, priority=priority)
    for step in range(13, 23):
        buffer.add(rows(step))
    before = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(buffer._state)]
    with pytest.raises(StaleIndexError, match="overwritten"):
        buffer.update(batch.index, priority=priority)
    assert [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(buffer._state)] == before
    buffer.update(batch.index, priority=priority, stale="drop")
    with pytest.raises(ConfigurationError, match="'error', 'drop'"):
        buffer.update(batch.index, priority=priority, stale="ignore")


@pytest.mark.parametrize("name", ["reward", "nothing", "obs", "mission", "obs.image", ""])
def test_text_of_what_holds_none(name):
    with pytest.raises(ValueError, match=r"obs\.mission"):
        filled("transitions", "uniform").sample().text(name)
