"""Many processes write pools in one folder, and many read them as one; what is said to be durable survives a kill."""

import json
import random
import socket

import pytest
from tier import budget

from jaxbuffers.errors import StoreError
from jaxbuffers.trajectories import TrajectoryPool
from trajectories.made import trajectory
from trajectories.processes import done, places, started, write

COUNTS = (7, 9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of two pools, each written by a process of its own, and one that has no trajectories yet."""
    path = tmp_path_factory.mktemp("pools")
    writers = [started("write", path / f"process-{i}", i, COUNTS[i]) for i in range(budget(1, 2))]
    for i in range(len(writers), 2):
        write(path / f"process-{i}", i, COUNTS[i])  # the other process is this one
    assert [done(writer) for writer in writers] == [list(range(count)) for count in COUNTS[: len(writers)]]
    TrajectoryPool(path / "process-2").close()
    return path


def check_readers(folder, readers):
    told = [done(reader) for reader in readers]
    with TrajectoryPool.open(folder, seed=5) as pool:
        for which, count in enumerate((5, None)):
            mine = list(map(list, places(pool.get_training_samples(count, 2.0))))
            assert all(each[which][0] == mine for each in told)  # one draw, in every process
            assert sorted(place for each in told for place in each[which][1]) == sorted(mine)
            for number, each in enumerate(told):
                assert each[which][1] == mine[number :: len(told)]
                assert each[which][2] == [action(*place) for place in each[which][1]]
        assert len(mine) == sum(1 + i % 3 for count in COUNTS for i in range(count) if i % 2)


def action(_, i, step):
    return f"Action: click({i}, {step})"


def test_readers_draw_the_same_and_their_shards_are_the_pool(folder):
    check_readers(folder, [started("read", folder, i, 2) for i in range(2)])


@pytest.mark.long  # two processes that wait for one another; the draw and the shards are those of the test above
def test_readers_under_jax_distributed(folder):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    check_readers(folder, [started("read", folder, i, 2, address) for i in range(2)])


def test_a_folder_is_one_pool_in_the_order_of_iterations_and_processes(folder):
    with TrajectoryPool.open(folder) as pool:
        assert len(pool) == sum(COUNTS)
        assert len(pool.stores) == 2
        samples = pool.get_training_samples(filter=pool.filter | ~pool.filter)
        found = [(i // 4, source, i, step) for source, i, step in places(samples)]
        assert found == sorted(found)
        assert len(found) == sum(1 + i % 3 for count in COUNTS for i in range(count))
        assert pool.trajectory(3, 1).process == 1
        assert pool.metadata["process"].tolist() == [source for _, source, _, step in found if step == 0]
        with pytest.raises(StoreError, match="other processes write"):
            pool.judge(0, reward=0)
        with pytest.raises(StoreError, match="several stores"):
            pool.texts  # noqa: B018


def test_readers_see_what_comes_later_and_new_processes(tmp_path):
    TrajectoryPool(tmp_path / "b").close()
    with pytest.raises(StoreError, match="is no pool"):
        TrajectoryPool.open(tmp_path)
    with TrajectoryPool(tmp_path / "b") as writer:
        writer.add(trajectory(0, 2, reward=-1))
        with TrajectoryPool.open(tmp_path) as reader:
            assert len(reader.get_training_samples()) == 0
            assert not reader.refresh()
            writer.judge(0, reward=1)
            assert len(reader.get_training_samples()) == 0
            assert reader.refresh()
            assert len(reader.get_training_samples()) == 2
            with TrajectoryPool(tmp_path / "a") as other:  # comes before the other in the order of the folder
                other.add(trajectory(1, 3))
            assert reader.refresh()
            # No process and no iteration: by store, and then by id.
            assert places(reader.get_training_samples()) == [(0, 0, 0), (0, 0, 1), (0, 0, 2), (1, 0, 0), (1, 0, 1)]
            assert [one.task.task_name for one in reader] == ["task 1", "task 0"]


def test_a_column_of_two_types_spoils_no_other(tmp_path):
    for name, score in (("a", 1), ("b", 0.5)):
        with TrajectoryPool(tmp_path / name) as writer:
            writer.add(trajectory(0, 2, columns={"score": score}))
    with TrajectoryPool.open(tmp_path) as reader:
        assert len(reader.get_training_samples()) == 4
        for asked in (lambda: reader.metadata, lambda: reader.steps().column("score")):
            with pytest.raises(StoreError, match="column 'score' is float in one store and int in another"):
                asked()


def test_a_pool_that_is_linked_into_a_folder_is_one_pool(tmp_path):
    with TrajectoryPool(tmp_path / "elsewhere") as writer:
        writer.add(trajectory(0, 2))
    (tmp_path / "folder").mkdir()
    for name in "ab":
        (tmp_path / "folder" / name).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with TrajectoryPool.open(tmp_path / "folder") as reader:
        assert not reader.refresh()
        assert len(reader) == 1


KILLS = budget(1, 25)


def killed_after(process, lines):
    """What a process says until it is killed, at any moment after so many lines."""
    said = [json.loads(process.stdout.readline()) for _ in range(lines)]
    process.kill()
    rest = process.stdout.read().split("\n")[:-1]
    process.wait()
    process.stdout.close()
    return said + [json.loads(line) for line in rest]


def test_what_was_added_survives_a_kill_and_nothing_is_half_there(tmp_path):
    path, random_lines, least = tmp_path / "pool", random.Random(1), 0
    for _ in range(KILLS):
        said = killed_after(started("extend", path), random_lines.randint(1, 12))
        assert said[0] >= least
        least = max(said)
        with TrajectoryPool(path) as pool:
            assert len(pool) >= least
            least = len(pool)
            for i, one in enumerate(pool):
                assert [step.response for step in one.steps] == [
                    step.response for step in trajectory(i, 1 + i % 3).steps
                ]


def test_judgements_survive_a_kill(tmp_path):
    path, random_lines = tmp_path / "pool", random.Random(2)
    with TrajectoryPool(path) as pool:
        pool.extend([trajectory(i, 1, -1.0) for i in range(budget(60, 600))])
    judged = -1
    for _ in range(KILLS):
        judged = max(judged, *killed_after(started("judge", path), random_lines.randint(2, 12)))
        with TrajectoryPool(path) as pool:
            reward = pool.metadata["reward"].tolist()
            done_until = next((i for i, each in enumerate(reward) if each == -1), len(reward))
            assert done_until >= judged + 1
            assert reward == [i / 8 if i < done_until else -1 for i in range(len(reward))]
            assert pool.trajectory(judged).outcome.evaluation == [judged]


def test_what_was_taken_survives_a_kill_and_nothing_is_taken_twice_or_skipped(tmp_path):
    path, random_lines, taken = tmp_path / "pool", random.Random(3), {}
    with TrajectoryPool(path) as pool:
        pool.extend([trajectory(i, 1) for i in range(budget(80, 1200))])
    for _ in range(KILLS):
        said = killed_after(started("take", path), random_lines.randint(2, 12))
        taken |= dict(said[1:])
        with TrajectoryPool(path) as pool:
            last = int(pool.steps().column("used_at").max())
            for step in range(last + 1):
                again = pool.take(2, step=step)
                assert again.again
                assert again.ids.tolist() == taken.setdefault(step, again.ids.tolist()) == [2 * step, 2 * step + 1]
