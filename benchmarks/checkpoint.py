"""Saving a ring: seconds and bytes beside numpy.save and flashbax's Vault, and what saving costs a training loop."""

import contextlib
import io
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import flashbax as fbx
import jax
import jax.numpy as jnp
import numpy as np
from flashbax.vault import Vault

import jaxbuffers as jb
from benchmarks.timing import Result, race

ENVS, PIXELS = 16, 64 * 64 * 3
GIGABYTES, IN_A_VAULT = 0.5, 0.05  # Vault compresses, for minutes where bytes are random


def length_of(gigabytes: float) -> int:
    """Rows of each stream."""
    return int(gigabytes * 1e9) // (ENVS * PIXELS)


LENGTH = length_of(GIGABYTES)
KINDS = {  # of images
    "random bytes": lambda key, shape: jax.random.bits(key, shape, jnp.uint8),
    "runs of 256 equal bytes": lambda key, shape: jnp.repeat(
        jax.random.bits(key, (*shape[:-1], shape[-1] // 256), jnp.uint8), 256, -1
    ),
}
STEPS, CHUNK, SAVED = 60, 20, 0.2  # chunks of a loop, steps in each; GB of its ring


def run() -> Iterator[Callable[[], Result]]:
    """Yield the comparisons."""
    for kind in KINDS:
        yield partial(_numpy, kind)
        yield partial(_restore, kind)
        yield partial(_vault, kind)
    yield _small
    yield _stall


def _ring(kind: str, length: int = LENGTH) -> tuple[jb.Replay, jb.ReplayState]:
    """A ring that is full but for one row, which is how Vault takes it: of one exact lap it writes nothing."""
    replay = jb.Replay(length * ENVS, ENVS, 16, jb.Items())
    state, part = replay.init(jax.ShapeDtypeStruct((PIXELS,), jnp.uint8)), 128
    add = jax.jit(replay.add, donate_argnums=0)
    for i in range(0, length - 1, part):
        shape = (min(part, length - 1 - i), ENVS, PIXELS)
        state = add(state, KINDS[kind](jax.random.key(i), shape))
    return replay, jax.block_until_ready(state)


def _numpy(kind: str) -> Result:
    """Against one file for each array, synced as ours is."""
    _, state = _ring(kind)
    folder = Path(tempfile.mkdtemp())

    def ours() -> None:
        jb.checkpoint.save(folder / "ours", state, overwrite=True)

    def theirs() -> None:
        _save_arrays(folder / "numpy", state)

    ours(), theirs()
    sizes = f"{_bytes(folder / 'ours'):.2f} GB, numpy {_bytes(folder / 'numpy'):.2f}"
    result = race(f"save a ring of {GIGABYTES:g} GB, {kind} ({sizes})", ours, "numpy.save, synced", theirs, rounds=3)
    shutil.rmtree(folder)
    return result


def _restore(kind: str) -> Result:
    """Against reading the arrays without any check."""
    replay, state = _ring(kind)
    folder, number = Path(tempfile.mkdtemp()), len(jax.tree.leaves(state))
    jb.checkpoint.save(folder / "ours", state)
    _save_arrays(folder / "numpy", state)
    del state
    like = jax.eval_shape(lambda: replay.init(jax.ShapeDtypeStruct((PIXELS,), jnp.uint8)))

    def ours() -> None:
        jax.block_until_ready(jb.checkpoint.restore(folder / "ours", like).tree)

    def theirs() -> None:
        jax.block_until_ready([jnp.array(np.load(folder / "numpy" / f"{i}.npy")) for i in range(number)])

    result = race(f"restore a ring of {GIGABYTES:g} GB, {kind}", ours, "numpy.load, unchecked", theirs, rounds=3)
    shutil.rmtree(folder)
    return result


def _vault(kind: str) -> Result:
    """Against a new vault each time: that is what a full save is there."""
    length = length_of(IN_A_VAULT)
    _, state = _ring(kind, length)
    folder, names = Path(tempfile.mkdtemp()), iter(range(1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer = fbx.make_trajectory_buffer(ENVS, 1, 1, 1, 1, max_length_time_axis=length)
        theirs_state = buffer.init({"image": jnp.zeros(PIXELS, jnp.uint8)})
        add = jax.jit(buffer.add, donate_argnums=0)
        for i in range(0, length - 1, 128):
            shape = (min(128, length - 1 - i), ENVS, PIXELS)
            rows = KINDS[kind](jax.random.key(i), shape).swapaxes(0, 1)
            theirs_state = jax.block_until_ready(add(theirs_state, {"image": rows}))

    def ours() -> None:
        jb.checkpoint.save(folder / "ours", state, overwrite=True)

    def theirs(keep: bool = False) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints
            vault = Vault("vault", theirs_state.experience, rel_dir=str(folder), vault_uid=str(next(names)))
        assert vault.write(theirs_state) == length - 1
        if not keep:
            shutil.rmtree(folder / "vault")

    ours(), theirs(keep=True)
    sizes = f"{_bytes(folder / 'ours'):.2f} GB, Vault {_bytes(folder / 'vault'):.2f}"
    result = race(f"save a ring of {IN_A_VAULT:g} GB, {kind} ({sizes})", ours, "flashbax Vault", theirs, rounds=3)
    shutil.rmtree(folder)
    return result


def _small() -> Result:
    """What a checkpoint without a ring costs."""
    tree = [jnp.full((64, 64), i, jnp.float32) for i in range(300)]
    folder = Path(tempfile.mkdtemp())
    save = partial(jb.checkpoint.save, folder / "ours", tree, overwrite=True)
    result = race("save 300 arrays of 16 kB", save, "numpy.save, synced", lambda: _save_arrays(folder / "n", tree), 9)
    shutil.rmtree(folder)
    return result


def _stall() -> Result:
    """A training loop that saves its ring in the background every 20 chunks, against one that does not."""
    replay, state = _ring("random bytes", length_of(SAVED))

    def step(run: tuple, key: jax.Array) -> tuple:
        state, weights = run
        batch = replay.sample(state, key)
        images = batch.data.astype(jnp.float32) / 255
        weights = weights - 1e-4 * jax.grad(lambda w: jnp.mean((jnp.tanh(images @ w) - 1) ** 2))(weights)
        return (replay.add(state, batch.data), weights), None

    chunk = jax.jit(lambda run, key: jax.lax.scan(step, run, jax.random.split(key, CHUNK))[0], donate_argnums=0)
    folder, steps = Path(tempfile.mkdtemp()), iter(range(10**6))
    held = [(state, jnp.zeros((PIXELS, 32)))]
    manager = jb.checkpoint.Manager(folder, keep=1)

    def loop(save: bool) -> None:
        for i in range(STEPS):
            held[0] = jax.block_until_ready(chunk(held[0], jax.random.key(i)))
            if save and i % 20 == 0:
                manager.save(next(steps), {"run": held[0]}, background=True)

    name = f"a loop of {STEPS * CHUNK} steps that saves its ring of {SAVED:g} GB three times in the background"
    result = race(name, lambda: loop(True), "the loop alone", lambda: loop(False), rounds=3)
    manager.close()
    shutil.rmtree(folder)
    return result


def _save_arrays(folder: Path, tree: Any) -> None:
    folder.mkdir(exist_ok=True)
    for i, leaf in enumerate(jax.tree.leaves(tree)):
        with open(folder / f"{i}.npy", "wb") as file:
            np.save(file, np.asarray(leaf))
            file.flush()
            os.fsync(file.fileno())


def _bytes(path: Path) -> float:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files) / 1e9
