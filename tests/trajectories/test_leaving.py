"""Trajectories that leave, or that come one by one from what fails, while a pool is read."""

import pickle
import threading

import pytest

from jaxbuffers.errors import ConfigurationError, EmptyReplayError, UnknownEpisodeError, WrongProcessError
from jaxbuffers.trajectories import TrajectoryPool, by_step, judging, taking
from trajectories.made import trajectory


def leaving(pool, times):
    """A filter for which the oldest trajectory leaves, as it may in another thread, after the steps were listed."""
    left = iter(range(times))

    def function(steps):
        if next(left, None) is not None:
            pool.store.evict(1)
        return steps.step >= 0

    return by_step(function)


@pytest.mark.parametrize("times", [1, 5, 9])
def test_samples_are_drawn_anew_where_a_trajectory_leaves_meanwhile(times):
    pool = TrajectoryPool()
    pool.extend([trajectory(i, 2) for i in range(12)])
    samples = pool.get_training_samples(filter=leaving(pool, times))
    assert sorted(set(samples.trajectory.tolist())) == list(range(times, 12))
    assert [each["action"] for each in samples] == [
        f"Action: click({i}, {k})" for i in range(times, 12) for k in (0, 1)
    ]


def test_samples_are_drawn_anew_where_texts_are_swept_meanwhile(monkeypatch):
    pool = TrajectoryPool()
    pool.extend([trajectory(i, 2) for i in range(4)])
    read, left = pool.store.read, iter(range(2))

    def read_and_sweep(*given):
        found = read(*given)
        if given[3] == ["raw_prompt", "raw_response", "same_as_next"] and next(left, None) is not None:
            pool.store.evict(1)
            pool.sweep()
        return found

    monkeypatch.setattr(pool.store, "read", read_and_sweep)
    samples = pool.get_training_samples()
    assert [each["action"] for each in samples] == [f"Action: click({i}, {k})" for i in (2, 3) for k in (0, 1)]


def test_a_trajectory_that_is_swept_while_it_is_read_is_not_there(monkeypatch):
    pool = TrajectoryPool()
    pool.extend([trajectory(i, 2) for i in range(2)])
    lookup, left = pool.texts.lookup, iter(range(1))

    def swept_before(ids):
        if next(left, None) is not None:
            pool.store.evict(1)
            pool.sweep()
        return lookup(ids)

    monkeypatch.setattr(pool.texts, "lookup", swept_before)
    with pytest.raises(UnknownEpisodeError, match="trajectory 0 left the pool while it was read"):
        pool.trajectory(0)
    assert [each.task.task_name for each in pool] == ["task 1"]


def test_a_learner_draws_while_an_actor_adds_and_the_oldest_leave(tmp_path):
    with TrajectoryPool(tmp_path / "pool", capacity=12) as pool:
        pool.extend([trajectory(i, 2) for i in range(6)])
        reader = TrajectoryPool.open(tmp_path / "pool")
        over = threading.Event()

        def act():
            number = 6
            while not over.is_set():
                pool.extend([trajectory(number + i, 2) for i in range(6)])
                number += 6

        actor = threading.Thread(target=act)
        actor.start()
        try:
            for _ in range(20):
                reader.refresh()
                for samples in (pool.get_training_samples(), reader.get_training_samples()):
                    pairs = zip(samples.trajectory.tolist(), samples, strict=True)
                    assert all(sample["action"].startswith(f"Action: click({i}, ") for i, sample in pairs)
        finally:
            over.set()
            actor.join()
            reader.close()


def between(monkeypatch, module, name, call):
    """Have another thread make a call as soon as a function is called, and return what it raised, if anything."""
    function, raised, threads = getattr(module, name), [], []

    def other():
        try:
            call()
        except (ConfigurationError, EmptyReplayError) as error:
            raised.append(str(error))

    def first(*given):
        if not threads:
            threads.append(threading.Thread(target=other))
            threads[0].start()
            threads[0].join(0.2)  # where threads do not take turns, it is over by then
        return function(*given)

    monkeypatch.setattr(module, name, first)
    return raised, threads


def test_two_threads_do_not_judge_one_trajectory(monkeypatch):
    pool = TrajectoryPool()
    pool.add(trajectory(0, reward=-1))
    raised, threads = between(monkeypatch, judging, "json_value", lambda: pool.judge(0, reward=0))
    pool.judge(0, reward=1, evaluation="good")
    threads[0].join()
    assert raised == ["trajectory 0 was judged 1.0 already; write again=True."]
    assert pool.trajectory(0).reward == 1


def test_two_threads_do_not_take_one_trajectory(monkeypatch):
    pool = TrajectoryPool()
    pool.add(trajectory(0))
    raised, threads = between(monkeypatch, taking, "in_line", lambda: pool.take(1, step=1))
    assert pool.take(1, step=0).ids.tolist() == [0]
    threads[0].join()
    assert [words.split(":")[0] for words in raised] == ["1 trajectory was asked for, and 0 can be taken"]


def test_what_came_before_a_failure_of_its_source_is_stored():
    def source():
        yield trajectory(0)
        yield trajectory(1)
        raise OSError("the browser is gone")

    pool = TrajectoryPool()
    with pytest.raises(OSError, match="the browser is gone"):
        pool.extend(source())
    assert pool.metadata["task_name"].tolist() == ["task 0", "task 1"]


def test_pools_are_not_sent_to_other_processes_and_samples_are():
    pool = TrajectoryPool()
    pool.add(trajectory(0))
    with pytest.raises(WrongProcessError, match="Send what was drawn, or its path"):
        pickle.dumps(pool)
    samples = pool.get_training_samples()
    assert list(pickle.loads(pickle.dumps(samples))) == list(samples)


@pytest.mark.parametrize("limit", [{"capacity": 4}, {"max_trajectories": 2}])
def test_opening_deletes_nothing(tmp_path, limit):
    with TrajectoryPool(tmp_path / "pool") as pool:
        pool.extend([trajectory(i, 2) for i in range(5)])
    with TrajectoryPool(tmp_path / "pool", **limit) as pool:
        assert len(pool) == 5
        pool.add(trajectory(5, 2))
        assert pool.metadata["id"].tolist() == [4, 5]
