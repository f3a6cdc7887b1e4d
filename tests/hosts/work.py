"""A run of which every step follows from its number, whatever processes share it: four shards, two streams each."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import jaxbuffers as jb

SHARDS, ENVS, BATCH, LENGTH = 4, 8, 8, 5
ROW = {"x": np.zeros(3, np.float32), "n": np.int32(0)}


def mesh_of(shards=SHARDS):
    return jax.make_mesh((shards,), ("data",), devices=jax.devices()[:shards])


def sharded_on(mesh):
    replay = jb.Replay(LENGTH * ENVS, ENVS, BATCH, view=jb.Sequences(2), sampler=jb.Prioritized(initial="max"))
    return jb.Sharded(replay, mesh)


def begin(mesh):
    """All that a run is made of: a sharded replay, arrays on the mesh, keys there, and what is no part of it."""
    data, everywhere = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    keys = jax.random.key_data(jax.random.split(jax.random.key(7), SHARDS))
    return {
        "replay": sharded_on(mesh).init(ROW),
        "total": jax.make_array_from_callback((), everywhere, lambda _: np.zeros((), np.float32)),
        "keys": jax.make_array_from_callback((SHARDS,), data, lambda i: jax.random.wrap_key_data(keys[i])),
        "seen": np.zeros(3, np.int64),
        "key": jax.random.key(1),
        "step": -1,
    }


def rows_at(mesh, step):
    """The rows of a step: each process gives those of its own environments."""
    sharding = NamedSharding(mesh, P("data"))
    here = sharding.addressable_devices_indices_map((ENVS,)).values()
    mine = np.sort(np.concatenate([np.arange(ENVS)[index] for index in here]))
    x = (np.arange(3) + 10 * mine[:, None] + step).astype(np.float32)
    rows = {"x": x, "n": (100 * step + mine).astype(np.int32)}
    return {
        name: jax.make_array_from_process_local_data(sharding, value, (ENVS, *value.shape[1:]))
        for name, value in rows.items()
    }


class Work:
    """The steps of a run on a mesh."""

    def __init__(self, mesh):
        self.mesh, self.sharded = mesh, sharded_on(mesh)
        self._train = jax.jit(self._compiled, donate_argnums=0)

    def _compiled(self, state, total, rows, key):
        state = self.sharded.add(state, rows)
        batch = self.sharded.sample(state, key)
        total = total + jnp.sum(batch.data["x"], dtype=jnp.float32)  # whole numbers: in whatever order, the same
        return self.sharded.update(state, batch.index, priority=1 + batch.data["x"][:, 0, 0] % 3), total

    def step(self, run):
        """The run, one step later."""
        step = run["step"] + 1
        key, draw = jax.random.split(run["key"])
        state, total = self._train(run["replay"], run["total"], rows_at(self.mesh, step), draw)
        return run | {"replay": state, "total": total, "key": key, "seen": run["seen"] + step, "step": step}

    def until(self, run, step):
        """The run after a step."""
        while run["step"] < step:
            run = self.step(run)
        return run


def sums_of(run):
    """A checksum of each part of each leaf that is here, by name and place."""
    found = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(run)[0]:
        name = jax.tree_util.keystr(path)
        if not isinstance(leaf, jax.Array):
            found[name] = repr(leaf)
        else:
            for each in leaf.addressable_shards:
                place = "".join(map(str, (s.indices(n)[:2] for s, n in zip(each.index, leaf.shape, strict=False))))
                found[name + place] = [
                    str(leaf.dtype),
                    getattr(leaf, "weak_type", False),
                    zlib.crc32(bytes_of(each.data)),
                ]
    return found


def bytes_of(leaf):
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.ascontiguousarray(leaf).tobytes()
