"""One of several processes, of two devices each, that share a sharded replay: ``one_process.py NUMBER COUNT PORT``."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import jaxbuffers as jb


def main(number, count, port):
    """Take part."""
    jax.distributed.initialize(f"localhost:{port}", count, number, initialization_timeout=120)
    mesh = jax.make_mesh((2 * count,), ("data",))
    envs = 4 * count
    sharded = jb.Sharded(jb.Replay(8 * envs, envs, 4 * count, sampler=jb.Prioritized()), mesh)
    state = sharded.init({"x": jnp.float32(0)})
    for time in range(3):
        mine = 4 * number + np.arange(4, dtype=np.float32) + 100 * time
        rows = {"x": jax.make_array_from_process_local_data(NamedSharding(mesh, P("data")), mine)}
        state = sharded.add(state, rows)
    batch = sharded.sample(state, jax.random.key(0))
    state = sharded.update(state, batch.index, priority=jnp.full(4 * count, 2.0))
    drawn = [float(x) for each in batch.data["x"].addressable_shards for x in np.asarray(each.data)]
    assert int(sharded.size(state)) == 3 * envs == int(sharded.count(state))
    assert bool(batch.valid)
    try:
        jb.checkpoint.save(f"never-{number}", state)
    except jb.errors.StructureError as error:
        assert "lies in part on other hosts" in str(error)  # noqa: PT017, this is no test of pytest
    else:
        raise SystemExit("a part of a state was saved as if it were all of it")
    print("drawn", *sorted(drawn), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
