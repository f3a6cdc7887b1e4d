"""Several threads use one buffer: no row is lost, no draw made twice, and nothing is read that has been donated."""

import sys
import threading
from collections import Counter

import jax
import numpy as np
import pytest

import jaxbuffers as jb
from host.shells import contents, shell

THREADS, EACH, ROWS = 4, 100, 150


@pytest.fixture(autouse=True)
def restless():
    """Let threads take turns a thousand times as often as usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(usual)


def together(*works):
    """Run functions at the same time, each in a thread; return what they return, or raise what one of them raised."""
    results, errors, begin = [None] * len(works), [], threading.Barrier(len(works))

    def run(i, work):
        try:
            begin.wait(60)
            results[i] = work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=each) for each in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def numbered(i):
    return {"mission": f"m{i}", "notes": [], "reward": i}


def filled(count, **options):
    buffer = shell(capacity=1024, **options)
    buffer.add(
        {
            "mission": [f"m{i}" for i in range(count)],
            "notes": [[]] * count,
            "reward": np.arange(count, dtype=np.float32),
        }
    )
    return buffer


def test_no_row_is_lost_and_each_thread_keeps_its_order():
    buffer = shell(capacity=1024)

    def insert(thread):
        for i in range(EACH):
            buffer.insert(**numbered(1000 * thread + i))

    together(*(lambda thread=thread: insert(thread) for thread in range(THREADS)))
    assert len(buffer) == buffer.count() == THREADS * EACH
    rows = contents(buffer)
    assert all(mission == f"m{reward:.0f}" for mission, _, reward in rows)
    for thread in range(THREADS):
        mine = [reward for _, _, reward in rows if reward // 1000 == thread]
        assert mine == [1000 * thread + i for i in range(EACH)]


@pytest.mark.parametrize("way", ["sample", "batches", "one iterator"])
def test_threads_draw_together_what_one_would_draw_alone(way):
    alone, buffer = filled(200), filled(200)
    expected = Counter(tuple(alone.sample(8).data["reward"].tolist()) for _ in range(THREADS * 40))
    assert len(expected) == THREADS * 40
    shared = buffer.batches(THREADS * 40, batch_size=8, prefetch=3)

    def draw():
        if way == "sample":
            batches = [buffer.sample(8) for _ in range(40)]
        else:
            batches = list(shared if way == "one iterator" else buffer.batches(40, batch_size=8))
        return [tuple(batch.data["reward"].tolist()) for batch in batches]

    found = Counter(batch for batches in together(*[draw] * THREADS) for batch in batches)
    assert found == expected


def test_whoever_reads_beside_an_inserter_sees_whole_states():
    buffer, done = shell(capacity=1024), threading.Event()
    buffer.insert(**numbered(0))

    def insert():
        for i in range(1, ROWS):
            buffer.insert(**numbered(i))
        done.set()

    def read():
        least = 1
        while not done.is_set():
            assert least <= len(buffer) <= ROWS
            least = len(buffer)
            assert least <= buffer.count() <= ROWS
            rows, present = buffer.get(jb.Index(np.int32([0, 0]), np.int32([0, least - 1])))
            assert (present.tolist(), rows["reward"].tolist()) == ([True, True], [0, least - 1])

    def sample():
        while not done.is_set():
            batch = buffer.sample(4)
            assert batch.text("mission") == [f"m{reward:.0f}" for reward in batch.data["reward"].tolist()]
            buffer.sweep()

    def save():
        other = shell(capacity=1024, table=buffer.table)
        while not done.is_set():
            other.from_bytes(buffer.to_bytes())
            for state in (other.state, buffer.state):
                rewards = np.asarray(state.ring.size)[0], contents(buffer, state)
                assert [reward for _, _, reward in rewards[1]] == list(range(rewards[0]))

    together(insert, read, sample, save)
    assert [reward for _, _, reward in contents(buffer)] == list(range(ROWS))


def test_two_buffers_on_one_table_sweep_and_keep_the_texts_of_both():
    table = jb.TextTable()
    buffers = [shell(table=table) for _ in range(2)]
    for buffer in buffers:
        buffer.insert(**numbered(0))

    def turn(mine, other):
        for i in range(40):
            mine.insert(mission=f"m{i % 9}", notes=[], reward=i % 9)  # the same texts come and go in both
            mine.sweep(states=other)
            assert contents(mine)[-1][0] == f"m{i % 9}"

    together(lambda: turn(*buffers), lambda: turn(*buffers[::-1]))
    for buffer in buffers:
        assert [mission for mission, _, _ in contents(buffer)] == [f"m{i % 9}" for i in range(36, 40)]


def test_no_value_written_back_is_lost():
    buffer = filled(THREADS * 40)

    def write(thread):
        for i in range(thread, THREADS * 40, THREADS):
            buffer.update(jb.Index(np.int32([0]), np.int32([i])), rows={"reward": np.float32([1000 + i])})

    together(*(lambda thread=thread: write(thread) for thread in range(THREADS)))
    assert [reward for _, _, reward in contents(buffer)] == [1000 + i for i in range(THREADS * 40)]


def test_every_use_of_every_thread_is_counted():
    buffer = filled(8, sampler=jb.Counted(jb.Uniform()))

    def use():
        for _ in range(40):
            buffer.update(buffer.sample(4).index)

    together(*[use] * THREADS)
    uses = np.asarray(buffer.state.sampler.uses)
    assert uses[uses >= 0].sum() == THREADS * 40 * 4


def test_a_state_that_one_thread_took_outlives_the_writes_of_another():
    buffer, done = filled(5), threading.Event()

    def insert():
        for i in range(5, 100):
            buffer.insert(**numbered(i))
        done.set()

    def take():
        states = []
        while not done.is_set() and len(states) < 20:
            states.append(buffer.state)
        for state in states:
            assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(state))
            assert [reward for _, _, reward in contents(buffer, state)] == list(range(int(state.ring.size[0])))

    together(insert, take)
