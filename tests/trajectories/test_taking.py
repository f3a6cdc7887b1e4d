"""Each trajectory is taken once, in the order that was asked for; a step that is repeated has what it had."""

import numpy as np
import pytest

from jaxbuffers.errors import ConfigurationError, DtypeError, EmptyReplayError, ShapeError, StoreError
from jaxbuffers.trajectories import TrajectoryPool, fresh, group_advantages, judged, successful
from trajectories.made import trajectory


def test_fifo_takes_the_oldest_judged_first_and_each_once(tmp_path):
    path = tmp_path / "pool"
    with TrajectoryPool(path) as pool:
        pool.extend([trajectory(i, 1 + i % 2, reward=-1.0 if i == 1 else i / 4) for i in range(6)])
        assert pool.take(2, step=0).ids.tolist() == [0, 2]
        assert pool.take(1, step=4).ids.tolist() == [3]
        pool.judge(1, reward=0)
        with pytest.raises(EmptyReplayError, match="9 trajectories were asked for, and 3 can be taken: nothing was"):
            pool.take(9, step=5)
    with TrajectoryPool(path) as pool:
        taken = pool.take(2, step=5)
        assert (taken.ids.tolist(), taken.reward.tolist(), taken.again) == ([1, 4], [0.0, 1.0], False)
        assert pool.take(1, step=6).ids.tolist() == [5]
        with pytest.raises(EmptyReplayError):
            pool.take(1, step=7)


def test_a_run_that_goes_on_from_a_checkpoint_repeats_none_and_skips_none(tmp_path):
    def run(pool, first, last):
        return [pool.take(2, step=step).ids.tolist() for step in range(first, last)]

    path = tmp_path / "pool"
    with TrajectoryPool(path) as pool:
        pool.extend([trajectory(i, 1) for i in range(10)])
        whole = run(pool, 0, 4)
    with TrajectoryPool(path) as pool:
        assert pool.take(2, step=2).again
        assert run(pool, 2, 5) == [*whole[2:], [8, 9]]
        pool.store.delete(whole[1])
        with pytest.raises(StoreError, match="taken for step 4, and none for step 1: they have left the pool"):
            pool.take(2, step=1)
        pool.store.delete(whole[2][:1])
        with pytest.raises(StoreError, match="2 trajectories were taken for step 2, and 1 have left the pool"):
            pool.take(2, step=2)


def test_the_freshest_and_not_too_stale():
    pool = TrajectoryPool()
    versions = [3, 5, None, 4, 5, 1]
    pool.extend([trajectory(i, 1, policy_version=version) for i, version in enumerate(versions)])
    assert sorted(pool.take(2, step=0, order="freshest").ids.tolist()) == [1, 4]
    assert pool.take(1, step=1, filter=fresh(5, 2)).ids.tolist() == [0]
    assert pool.take(1, step=2, order="freshest", filter=fresh(5, 2)).ids.tolist() == [3]
    with pytest.raises(EmptyReplayError, match="1 trajectory was asked for, and 0"):
        pool.take(1, step=3, filter=fresh(5, 2))
    assert pool.take(2, step=3, order="freshest").ids.tolist() == [2, 5]  # those that do not say come last


def test_groups_are_taken_whole_once_all_their_attempts_are_judged():
    pool = TrajectoryPool()
    groups, rewards = ["a", "b", "a", None, "b", "a", "b"], [1, 0, 0, 1, 1, -1, 1]
    pool.extend([trajectory(i, 1, reward=r, group_id=g) for i, (g, r) in enumerate(zip(groups, rewards, strict=True))])
    first = pool.take(1, step=0, group_size=3)
    assert (first.ids.tolist(), first.group.tolist()) == ([1, 4, 6], ["b"] * 3)
    np.testing.assert_allclose(first.advantages(epsilon=0), [-np.sqrt(2), np.sqrt(0.5), np.sqrt(0.5)])
    with pytest.raises(EmptyReplayError, match="1 group of 3 was asked for, and 0"):
        pool.take(1, step=1, group_size=3)
    pool.judge(5, reward=0)
    pool.extend([trajectory(i, 1, reward=i, group_id="c") for i in range(3)])
    both = pool.take(2, step=1, group_size=3)
    assert both.group.tolist() == ["a"] * 3 + ["c"] * 3
    again = pool.take(2, step=1, group_size=3)
    assert again.ids.tolist() == both.ids.tolist()
    assert pool.take(1, step=2).ids.tolist() == [3]
    assert len(pool.take(0, step=3)) == 0


def test_a_group_waits_for_its_pending_members_unless_they_are_left_behind():
    pool = TrajectoryPool()
    pool.extend([trajectory(i, 1, reward=r, group_id=7) for i, r in enumerate([0, 1, 1, -1])])
    with pytest.raises(
        EmptyReplayError, match=r"1 group of 3 was asked for, and 0 .* 1 of the 4 unused trajectories[.]"
    ):
        pool.take(1, step=0, group_size=3)
    with pytest.raises(
        EmptyReplayError, match=r"2 groups of 3 were .* 0 of the 2 unused trajectories that the filter k"
    ):
        pool.take(2, step=0, group_size=3, filter=successful())
    assert pool.take(1, step=0, group_size=3, filter=judged()).ids.tolist() == [0, 1, 2]
    pool.judge(3, reward=0)
    pool.add(trajectory(4, 1, group_id=7))
    assert pool.take(1, step=1, group_size=2).ids.tolist() == [3, 4]


@pytest.mark.parametrize("name", [0, "a"])
def test_trajectories_without_a_group_have_none_and_are_compared_with_nothing(name):
    pool = TrajectoryPool()
    pool.extend([trajectory(i, 1, reward=i % 2, group_id=g) for i, g in enumerate([name, None, name, None])])
    taken = pool.take(4, step=0)
    assert taken.group.tolist() == [name, None, name, None]
    with pytest.raises(ConfigurationError, match="trajectory 1 has no group_id to compare it by"):
        taken.advantages()
    alone = TrajectoryPool()
    alone.extend([trajectory(i, 1) for i in range(2)])
    with pytest.raises(ConfigurationError, match="trajectory 0 has no group_id"):
        alone.take(2, step=0).advantages()


@pytest.mark.parametrize("order", ["fifo", "freshest"])
def test_what_was_taken_is_not_forgotten_when_all_of_it_has_left(tmp_path, order):
    path = tmp_path / "pool"
    with TrajectoryPool(path, capacity=6) as pool:
        pool.extend([trajectory(i, 1) for i in range(6)])
        first, second = (pool.take(2, step=step, order=order).ids.tolist() for step in range(2))
        pool.extend([trajectory(i, 1) for i in range(4 if order == "freshest" else 6)])
        assert set(second) - set(pool.metadata["id"].tolist()) == set(second)
    for _ in range(2):
        with TrajectoryPool(path, capacity=6) as pool:
            with pytest.raises(StoreError, match=r"taken for step 1, and have left the pool. Go on with step 2"):
                pool.take(2, step=1)
            if order == "fifo":
                with pytest.raises(StoreError, match="taken for step 1, and none for step 0: they have left"):
                    pool.take(2, step=0)
            else:
                assert pool.take(2, step=0).ids.tolist() == sorted(first)
    with TrajectoryPool(path, capacity=6) as pool:
        assert not pool.take(2, step=2).again


def test_pools_without_groups_have_none_to_take():
    pool = TrajectoryPool()
    pool.add(trajectory())
    with pytest.raises(EmptyReplayError, match="1 group of 2"):
        pool.take(1, step=0, group_size=2)
    assert pool.take(1, step=0, filter=successful()).group.tolist() == [None]


def test_advantages_are_relative_to_the_group():
    reward, group = np.array([1.0, 0.0, 0.5, 0.7, 0.7, 3.0]), np.array([2, 2, 2, 1, 1, 0])
    one = reward[:3] - 0.5
    np.testing.assert_allclose(group_advantages(reward, group, epsilon=0.0), [*(one / one.std()), 0, 0, 0])
    np.testing.assert_allclose(group_advantages(reward, group, normalize=False), [*one, 0, 0, 0])
    thirds = group_advantages([0.1] * 3, ["a"] * 3)  # whose mean is not 0.1 in floats
    assert thirds.tolist() == [0, 0, 0]
    assert group_advantages(np.zeros(0), np.zeros(0)).tolist() == []
    for error, given in (
        (ShapeError, ([1.0], [1, 2])), (DtypeError, (["a"], ["b"])),
        (DtypeError, ([1.0, 2.0], [None, "a"])), (DtypeError, ([1.0], [np.nan])),
        (DtypeError, ([1.0, 2.0], np.ma.MaskedArray([0, 0], [False, True]))), (ConfigurationError, ([np.nan], [1])),
    ):  # fmt: skip
        with pytest.raises(error):
            group_advantages(*given)


def test_wrong_arguments_are_refused():
    pool = TrajectoryPool()
    for wrong in ({"count": -1}, {"step": -1}, {"order": "lifo"}, {"group_size": 0}):
        with pytest.raises(ConfigurationError):
            pool.take(**{"count": 0, "step": 0} | wrong)
