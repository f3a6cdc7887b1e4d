"""Saving a ring: time and bytes beside numpy.save and flashbax's Vault, and what saving costs a training loop."""

import contextlib
import io
import os
import shutil
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxbuffers as jb
from benchmarks.case import Contest, Side
from benchmarks.same import require

ENVS, PIXELS, PART, CHUNK = 16, 64 * 64 * 3, 128, 20
KINDS = {  # of images
    "random bytes": lambda key, shape: jax.random.bits(key, shape, jnp.uint8),
    "runs": lambda key, shape: jnp.repeat(
        jax.random.bits(key, (*shape[:-1], shape[-1] // 256), jnp.uint8), 256, -1
    ),
}  # fmt: skip


def save(kind: str, megabytes: int) -> Contest:
    """Save a ring, synced, against one file for each array."""
    return _files(_ring(kind, megabytes)[1], "numpy.save, synced")


def small(arrays: int) -> Contest:
    """Save a checkpoint without a ring."""
    return _files([jnp.full((64, 64), i, jnp.float32) for i in range(arrays)], "numpy.save, synced")


def _files(tree: Any, peer: str) -> Contest:
    folder = _folder()

    def ours() -> Side:
        run = partial(jb.checkpoint.save, folder / "ours", tree, overwrite=True)
        run()
        return Side(run, jb.checkpoint.restore(folder / "ours", tree).tree, note=_bytes(folder / "ours"))

    def theirs() -> Side:
        run = partial(_save_arrays, folder / "numpy", tree)
        run()
        return Side(run, _load_arrays(folder / "numpy", tree), partial(shutil.rmtree, folder), _bytes(folder / "numpy"))

    return Contest(ours, theirs, partial(_same, tree, peer))


def restore(kind: str, megabytes: int) -> Contest:
    """Restore a ring, against reading the arrays without any check."""
    replay, state = _ring(kind, megabytes)
    folder, like = _folder(), jax.eval_shape(lambda: replay.init(jax.ShapeDtypeStruct((PIXELS,), jnp.uint8)))
    jb.checkpoint.save(folder / "ours", state)
    _save_arrays(folder / "numpy", state)

    def ours() -> Side:
        run = lambda: jax.block_until_ready(jb.checkpoint.restore(folder / "ours", like).tree)  # noqa: E731
        return Side(run, run())

    def theirs() -> Side:
        run = lambda: jax.block_until_ready(_load_arrays(folder / "numpy", state))  # noqa: E731
        return Side(run, run(), partial(shutil.rmtree, folder))

    return Contest(ours, theirs, partial(_same, state, "numpy.load"))


def vault(kind: str, megabytes: int) -> Contest:
    """Save a ring, against a new Vault each time: that is what a full save is there. It compresses."""
    _, state = _ring(kind, megabytes)
    folder, names = _folder(), iter(range(1000))

    def ours() -> Side:
        run = partial(jb.checkpoint.save, folder / "ours", state, overwrite=True)
        run()
        restored = jb.checkpoint.restore(folder / "ours", state).tree
        return Side(run, _images(restored.ring), note=_bytes(folder / "ours"))

    def theirs() -> Side:
        import flashbax as fbx
        from flashbax.vault import Vault

        length = _length(megabytes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            buffer = fbx.make_trajectory_buffer(ENVS, 1, 1, 1, 1, max_length_time_axis=length)
            held = buffer.init({"image": jnp.zeros(PIXELS, jnp.uint8)})
            add = jax.jit(buffer.add, donate_argnums=0)
            for rows in _parts(kind, length):
                held = add(held, {"image": rows.swapaxes(0, 1)})

        def run() -> Any:
            uid = str(next(names))
            with contextlib.redirect_stdout(io.StringIO()):  # it prints
                made = Vault("vault", held.experience, rel_dir=str(folder), vault_uid=uid)
                assert made.write(held) == length - 1
            return made

        with contextlib.redirect_stdout(io.StringIO()):
            back = np.asarray(run().read().experience["image"])[:, : length - 1]
        note = _bytes(folder / "vault" / "0")
        return Side(run, np.sort(back.reshape(-1, PIXELS)[:, :8], 0), partial(shutil.rmtree, folder), note)

    def same(ours: np.ndarray, theirs: np.ndarray) -> None:
        require(ours == theirs, "Vault", "other images")

    return Contest(ours, theirs, same)


def _images(ring: Any) -> np.ndarray:
    """Return the first bytes of all images of a ring that is full but for one row, sorted."""
    (block,) = (x for x in jax.tree.leaves(ring) if x.dtype == jnp.uint8)
    images = np.asarray(block).reshape(-1, ENVS, PIXELS)[:-1]
    return np.sort(images.reshape(-1, PIXELS)[:, :8], 0)


def stall(megabytes: int, chunks: int) -> Contest:
    """A training loop that saves its ring in the background three times, against one that does not."""
    folder = _folder()

    def side(saving: bool) -> Side:
        replay, state = _ring("random bytes", megabytes)

        def step(run: tuple, key: jax.Array) -> tuple:
            state, weights = run
            batch = replay.sample(state, key)
            images = batch.data.astype(jnp.float32) / 255
            weights = weights - 1e-4 * jax.grad(lambda w: jnp.mean((jnp.tanh(images @ w) - 1) ** 2))(weights)
            return (replay.add(state, batch.data), weights), None

        chunk = jax.jit(lambda run, key: jax.lax.scan(step, run, jax.random.split(key, CHUNK))[0], donate_argnums=0)
        held, steps = [(state, jnp.zeros((PIXELS, 32)))], iter(range(10**6))
        manager = jb.checkpoint.Manager(folder, keep=1) if saving else None

        def run() -> None:
            for i in range(chunks):
                held[0] = jax.block_until_ready(chunk(held[0], jax.random.key(i)))
                if manager is not None and i % (chunks // 3) == 0:
                    manager.save(next(steps), {"run": held[0]}, background=True)
            if manager is not None:
                manager.wait()  # nothing is written while the other side is timed

        run()

        def finish() -> None:
            if manager is not None:
                manager.close()
                shutil.rmtree(folder)

        return Side(run, np.asarray(held[0][1]), finish)

    def same(ours: np.ndarray, theirs: np.ndarray) -> None:
        require(ours == theirs, "jaxbuffers", "other weights than those of a loop that does not save")

    return Contest(partial(side, True), partial(side, False), same)


def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="jaxbuffers-saving-"))


def _length(megabytes: int) -> int:
    """Rows of each stream."""
    return megabytes * 10**6 // (ENVS * PIXELS)


def _parts(kind: str, length: int) -> Any:
    """Yield rows ``[N, E, ...]``, one fewer than fill a ring: of a full lap Vault writes nothing."""
    for i in range(0, length - 1, PART):
        yield KINDS[kind](jax.random.key(i), (min(PART, length - 1 - i), ENVS, PIXELS))


def _ring(kind: str, megabytes: int) -> tuple[jb.Replay, jb.ReplayState]:
    length = _length(megabytes)
    replay = jb.Replay(length * ENVS, ENVS, 16, jb.Items())
    state, add = replay.init(jax.ShapeDtypeStruct((PIXELS,), jnp.uint8)), jax.jit(replay.add, donate_argnums=0)
    for rows in _parts(kind, length):
        state = add(state, rows)
    return replay, jax.block_until_ready(state)


def _save_arrays(folder: Path, tree: Any) -> None:
    folder.mkdir(exist_ok=True)
    for i, leaf in enumerate(jax.tree.leaves(tree)):
        with open(folder / f"{i}.npy", "wb") as file:
            np.save(file, np.asarray(leaf))
            file.flush()
            os.fsync(file.fileno())


def _load_arrays(folder: Path, like: Any) -> Any:
    leaves, kind = jax.tree.flatten(like)
    return jax.tree.unflatten(kind, [jnp.array(np.load(folder / f"{i}.npy")) for i in range(len(leaves))])


def _same(tree: Any, peer: str, ours: Any, theirs: Any) -> None:
    for side, found in (("jaxbuffers", ours), (peer, theirs)):
        for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(found), strict=True):
            require(np.array_equal(a, b), side, "other arrays than were saved")


def _bytes(path: Path) -> str:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return f"{sum(each.stat().st_size for each in files) / 1e6:,.1f} MB"
