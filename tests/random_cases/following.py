"""Follow one life of a replay with the model and a judge, and compare."""

import functools

import jax
import numpy as np

import jaxbuffers as jb

from .drawing import judge_of
from .model import Layers, Model


def time_major(replay):
    return getattr(Layers.of(replay.view).core, "time_major", False)


def leaves(tree, *at):
    """Leaves by dotted name, of one place."""
    found, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf[at] for path, leaf in found}


def part(state, name):
    return state[int(name)] if name.isdigit() else getattr(state, name)


class Follower:
    """Follows one life with the model and a judge."""

    def __init__(self, case, life):
        replay = case.replay
        self.case, self.life, self.replay = case, life, replay
        self.model = Model(replay.view, replay.length, replay.num_envs or 1)
        self.judge = judge_of(replay.sampler, self.model)
        self.cycle, self.clock = 2**30 // replay.length * replay.length, int(case.clock[life])

    def grow(self, step):
        """Add the rows of a step and tell the judge which windows they completed; return those legal now."""
        mask, before, completed = self.case.mask[self.life, step], {*self.model.windows()}, []
        for place in zip(*np.nonzero(mask), strict=True):
            self.model.append(int(place[1]), leaves(self.case.rows, self.life, step, *place))
            now = self.model.windows()
            completed += [window for window in now if window not in before]
            before |= {*now}
        legal = self.model.windows()
        self.judge.came([window for window in completed if window in legal], legal)
        return legal

    def follow(self, step, seen):
        """Compare what was seen in a step."""
        legal, size = self.grow(step), self.replay.batch_size
        assert seen["count"] == len(legal)
        assert seen["size"] == self.model.size()
        assert seen["can"] == seen["batch"].valid == self.judge.can_draw(size)
        assert seen["can_one"] == self.judge.can_draw(1)
        windows = self.read(seen["batch"], legal) if seen["batch"].valid else []
        if windows:
            likely = self.judge.drawn(windows)
            np.testing.assert_allclose(seen["batch"].probability, likely, rtol=1e-4)
        else:
            nothing = seen["batch"].data, seen["batch"].mask, seen["batch"].probability
            assert not any(leaf.any() for leaf in jax.tree.leaves(nothing))
        self.use(step, windows)
        self.remembered(seen)

    def read(self, batch, legal):
        """Find out which windows were drawn, by the rows behind them, and that these rows were read."""
        data, index = batch.data, batch.index
        if time_major(self.replay):
            data, index = jax.tree.map(lambda x: np.swapaxes(x, 0, 1), (data, index))
        if isinstance(data, jb.Episode):
            np.testing.assert_array_equal(data.length, (index.time >= 0).sum(axis=1))
            data = data.rows
        if index.time.ndim == 1:
            data, index = jax.tree.map(lambda x: x[:, None], (data, index))
        times = np.where(index.time < 0, -1, (index.time - self.clock) % self.cycle)
        known = {(stream, *self.model.shown((stream, start))): (stream, start) for stream, start in legal}
        assert len(known) == len(legal), "two windows show the same rows"
        assert (times >= 0).any(axis=1).all(), "a window that shows no row"
        windows = [known.get((int(e[0]), *t.tolist())) for e, t in zip(index.stream, times, strict=True)]
        assert None not in windows, "rows that are no legal window"
        for i, window in enumerate(windows):
            read = leaves(data, i)
            # Of other goals one must fit; without them there is one way to read a window.
            assert any(self.same(read, self.model.data(window, goal)) for goal in self.model.goals(window)), window
        return windows

    def same(self, read, slots):
        """Whether each leaf holds the rows of the slots, and zeros elsewhere."""
        for slot, row in enumerate(slots):
            one = {name: leaf[slot] for name, leaf in read.items()}
            want = {name: np.zeros_like(leaf) for name, leaf in one.items()} if row is None else row
            if one.keys() != want.keys() or not all(np.array_equal(leaf, want[name]) for name, leaf in one.items()):
                return False
        return True

    def use(self, step, windows):
        """Tell the judge what was done with the batch."""
        case, at = self.case, (self.life, step)
        if case.writes:
            shown = [self.model.shown(window) for window in windows]
            places = [(n, slot) for n, times in enumerate(shown) for slot in range(len(times)) if times[slot] >= 0]
            if time_major(self.replay):
                places.sort(key=lambda place: place[::-1])
            rows = [(windows[n][0], shown[n][slot]) for n, slot in places]
            for (stream, time), (n, _) in zip(rows, places, strict=True):
                self.model.streams[stream][time].row["extras.group"] = case.group[at][n]
            self.judge.rewritten({*rows} & {*self.model.windows()})
        self.judge.used(windows, case.priority[at][: len(windows)], self.replay.batch_size)

    def remembered(self, seen):
        """Compare the sampler's state."""
        assert seen["dropped"] == 0
        for path, want in self.judge.facts().items():
            got = functools.reduce(part, path.split("."), seen["sampler"])
            if isinstance(want, dict):
                table = np.full_like(got, -1)
                for (stream, start), uses in want.items():
                    table[
                        (start + self.clock) % self.cycle % self.replay.length * (self.replay.num_envs or 1) + stream
                    ] = uses
                want = table
            np.testing.assert_allclose(got, want, rtol=1e-6, err_msg=path)
