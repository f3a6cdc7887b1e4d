"""Other processes that write, judge, take and read: ``python -m trajectories.processes VERB PATH ...``."""

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent.parent


def started(*arguments, **options):
    """Start such a process; what it prints is read line by line."""
    environment = os.environ | {
        "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}",
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "",
    }
    command = [sys.executable, "-m", "trajectories.processes", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, **options)


def done(process):
    """Wait for a process, and return what it printed last."""
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return json.loads(out.splitlines()[-1])


def say(value):
    print(json.dumps(value), flush=True)


def write(path, process, count):
    """Write a pool of one process."""
    from jaxbuffers.trajectories import TrajectoryPool
    from trajectories.made import trajectory

    with TrajectoryPool(path) as pool:
        made = [trajectory(i, 1 + i % 3, i % 2, process=int(process), iteration=i // 4) for i in range(int(count))]
        say(pool.extend(made).tolist())


def read(path, reader, readers, address=None):
    """Draw from the pools of a folder, and say which steps are this reader's."""
    if address is not None:
        import jax

        jax.distributed.initialize(address, int(readers), int(reader))
        assert (jax.process_index(), jax.process_count()) == (int(reader), int(readers))
    from jaxbuffers.trajectories import TrajectoryPool

    with TrajectoryPool.open(path, seed=5) as pool:
        found = []
        for count in (5, None):
            samples = pool.get_training_samples(count, 2.0)
            shard = samples.shard(int(reader), int(readers))
            found.append([places(samples), places(shard), [each["action"] for each in shard]])
    say(found)


def places(samples):
    return list(zip(samples.source.tolist(), samples.trajectory.tolist(), samples.step.tolist(), strict=True))


def extend(path):
    """Go on adding trajectories, and say of each how many are there."""
    from jaxbuffers.trajectories import TrajectoryPool
    from trajectories.made import trajectory

    with TrajectoryPool(path) as pool:
        say(len(pool))
        while True:
            first = len(pool)
            pool.extend([trajectory(i, 1 + i % 3, -1.0) for i in range(first, first + 1 + first % 5)])
            say(len(pool))


def judge(path):
    """Go on judging, the first that is pending first, and say which was judged."""
    from jaxbuffers.trajectories import TrajectoryPool

    with TrajectoryPool(path) as pool:
        say(-1)
        for i in pool.metadata["id"][pool.metadata["reward"] == -1].tolist():
            pool.judge(i, reward=i / 8, evaluation=[i])
            say(i)


def take(path):
    """Go on taking, and say what was taken for each step."""
    from jaxbuffers.trajectories import TrajectoryPool

    with TrajectoryPool(path) as pool:
        say(None)
        used = pool.steps().column("used_at")
        step = int(used.max()) + 1 if used.count() else 0
        while True:
            say([step, pool.take(2, step=step).ids.tolist()])
            step += 1


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
