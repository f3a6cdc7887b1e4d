"""The episode store: random windows of images, appends and draws, against torchrl, NumPy and our own ring."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

import jaxbuffers as jb
from benchmarks.case import Contest, Side
from benchmarks.same import require
from benchmarks.sides import image_files, rows
from benchmarks.sides.image_files import BATCH, IMAGE, LENGTH, ROWS, episode, folder
from jaxbuffers.episodes.laws import UniformWindows
from jaxbuffers.episodes.sampling import Sampling
from jaxbuffers.episodes.table import FIXED, Table
from jaxbuffers.row import RowSpec

VIEW = jb.Sequences(LENGTH, "within")


def windows(peer: str, episodes: int) -> Contest:
    """Draw random windows, everything in the page cache."""
    return Contest(partial(_warm, episodes), partial(_PEERS[peer], episodes), image_files.same)


def cold(episodes: int) -> Contest:
    """Draw random windows after the files have left the page cache; to drop and open them is timed on both sides."""

    def ours() -> Side:
        path, keys = _stored(episodes), rows.keys()

        def run() -> Any:
            image_files.drop(path)
            with jb.EpisodeStore(path, read_only=True) as store:
                return np.asarray(jax.block_until_ready(store.sample(VIEW, BATCH, next(keys)).batch).data["image"])

        return Side(run, run())

    def theirs() -> Side:
        path, random = _mapped(episodes), np.random.default_rng(1)

        def run() -> np.ndarray:
            image_files.drop(path)
            images = np.load(path, mmap_mode="r")  # the mapping goes with the call, so that the pages can leave
            return images[_starts(random, episodes)[:, None] + np.arange(LENGTH)]

        return Side(run, run())

    return Contest(ours, theirs, image_files.same)


def _stored(episodes: int) -> Path:
    path = folder() / "store"
    with jb.EpisodeStore(path) as store:
        for i in range(episodes):
            store.add_episode(episode(i))
    return path


def _mapped(episodes: int) -> Path:
    path = folder() / "images.npy"
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (episodes * ROWS, *IMAGE))
    for i in range(episodes):
        images[i * ROWS : (i + 1) * ROWS] = episode(i)["image"]
    images.flush()
    return path


def _warm(episodes: int) -> Side:
    store, keys = jb.EpisodeStore(_stored(episodes), read_only=True), rows.keys()
    for i in store.metadata["id"].tolist():  # whoever reads bytes first compares their checksums
        store.read([i], [0], ROWS)
    run = lambda: jax.block_until_ready(store.sample(VIEW, BATCH, next(keys)).batch)  # noqa: E731
    return Side(run, np.asarray(run().data["image"]), store.close)


def _starts(random: np.random.Generator, episodes: int) -> np.ndarray:
    return random.integers(0, episodes, BATCH) * ROWS + random.integers(0, ROWS - LENGTH + 1, BATCH)


def _numpy(episodes: int) -> Side:
    images, random = np.load(_mapped(episodes), mmap_mode="r"), np.random.default_rng(0)
    run = lambda: images[_starts(random, episodes)[:, None] + np.arange(LENGTH)]  # noqa: E731
    return Side(run, run())


def _numpy_on_device(episodes: int) -> Side:
    made = _numpy(episodes)
    return Side(lambda: jax.block_until_ready(jax.device_put(np.asarray(made.run()))), made.shown)


def _ring(episodes: int) -> Side:
    replay = jb.Replay(episodes * ROWS, None, BATCH, VIEW)
    state = replay.init(jax.tree.map(lambda x: x[0], episode(0)))
    add = jax.jit(replay.add, donate_argnums=0)
    for i in range(episodes):
        state = add(state, episode(i))
    sample, keys = jax.jit(replay.sample), rows.keys()
    run = lambda: jax.block_until_ready(sample(state, next(keys)))  # noqa: E731
    return Side(run, np.asarray(run().data["image"]))


def _torchrl(episodes: int) -> Side:
    buffer = image_files.torchrl(folder() / "torchrl", episodes * ROWS)
    for i in range(episodes):
        buffer.extend(image_files.tensors(episode(i), i))
    return Side(buffer.sample, buffer.sample()["image"].numpy().reshape(BATCH, LENGTH, *IMAGE))


_PEERS: dict[str, Callable[[int], Side]] = {
    "NumPy": _numpy, "NumPy, onto the device": _numpy_on_device, "our ring": _ring, "torchrl": _torchrl,
}  # fmt: skip


def append(peer: str, kind: str, number: int) -> Contest:
    """Add episode after episode: ours durable each, the peer's in the page cache."""
    made = [episode(i) if kind == "images" else image_files.numbers(i) for i in range(number)]
    total = sum(len(each["is_first"]) for each in made)

    def ours() -> Side:
        store = jb.EpisodeStore(folder() / "appended", capacity=8 * total)

        def run() -> None:
            for each in made:
                store.add_episode(each)

        run()
        read = store.read(store.metadata["id"][:1].tolist(), [0], len(made[0]["is_first"]))
        return Side(run, jax.tree.map(lambda x: np.asarray(x)[0], read), store.close)

    def theirs() -> Side:
        files, count = folder() / "theirs", iter(range(10**9))
        files.mkdir()
        if peer == "torchrl":
            buffer = image_files.torchrl(files, 8 * total)
            given = [image_files.tensors(each, i) for i, each in enumerate(made)]

            def run() -> None:
                for each in given:
                    buffer.extend(each)

            run()
            return Side(run, {name: buffer[: len(x)][name].numpy() for name, x in made[0].items()})

        def save() -> None:
            for each in made:
                name = next(count) % (8 * number)  # as many as the store keeps
                for column, x in each.items():
                    np.save(files / f"{name}-{column}.npy", x)

        save()
        return Side(save, {name: np.load(files / f"0-{name}.npy") for name in made[0]})

    def same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
        for side, found in (("jaxbuffers", ours), (peer, theirs)):
            for name, column in made[0].items():
                require(found[name] == column, side, f"{name} of other rows")

    return Contest(ours, theirs, same, number)


def draw(episodes: int) -> Contest:
    """Draw 256 transitions from many episodes, without reading them."""
    lengths = np.random.default_rng(0).integers(2, 400, episodes)

    def ours() -> Side:
        sampling, view, steps = Sampling(_Catalog(lengths)), jb.Transitions(), iter(range(10**9))
        run = lambda: sampling.draw(view, 256, (0, next(steps)), UniformWindows())  # noqa: E731
        found = [run() for _ in range(200)]
        return Side(run, np.concatenate([np.asarray(each.episode) for each in found]))

    def theirs() -> Side:
        ends, random = np.cumsum(lengths - 1), np.random.default_rng(0)

        def run() -> tuple[np.ndarray, np.ndarray]:
            number = random.integers(0, ends[-1], 256)
            at = np.searchsorted(ends, number, side="right")
            return at, number - (ends[at] - (lengths[at] - 1))

        return Side(run, np.concatenate([run()[0] for _ in range(200)]))

    def same(ours: np.ndarray, theirs: np.ndarray) -> None:
        """Long episodes are drawn more often: the mean length is that of a draw by windows."""
        windows = lengths - 1
        mean = np.sum(windows * windows) / np.sum(windows)
        for side, at in (("jaxbuffers", ours), ("NumPy", theirs)):
            require(abs(np.mean(windows[at]) / mean - 1) < 0.03, side, "draws that are not uniform over transitions")

    return Contest(ours, theirs, same)


class _Catalog:
    """A store of episodes without rows: only what drawing looks at."""

    def __init__(self, lengths: np.ndarray) -> None:
        self.texts = None
        small = {"obs": np.zeros(17, np.float32), "action": np.zeros(6, np.float32), "reward": np.float32(0)}
        self.spec = RowSpec.of(small | dict.fromkeys(("is_first", "is_last", "is_terminal"), np.bool_(False)))
        table = Table.empty()
        records = {name: np.zeros(len(lengths), dtype) for name, dtype in (FIXED | {"block": np.int64}).items()}
        records |= {"id": np.arange(len(lengths)), "length": lengths}
        self._table = Table(0, table.types, records, 0, len(lengths))

    def table(self) -> Any:
        """Return the columns."""
        return self._table
