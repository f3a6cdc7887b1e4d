"""A table against two dicts, over any order of intern, sweep, commit, purge, closing and crashes."""

import tempfile
from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from tier import budget

import jaxbuffers as jb
from jaxbuffers.texts import ids as supply

TEXTS = st.lists(st.none() | st.text(alphabet="ab\ud800é", max_size=2), max_size=6)
STATE = jb.Replay(capacity=2, num_envs=None, batch_size=1, view=jb.Items()).init({"t": jb.text, "x": jnp.float32(0)})


class Model(RuleBasedStateMachine):
    """What a table must hold, by id; and what its file must hold when it is opened anew."""

    options: ClassVar[dict] = {}
    in_file = True

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.here, self.saved, self.ever = {}, {}, {}
        self.table = None
        self.open()

    def open(self):
        supply._next = 0  # as another process does that knows nothing of the ids of before
        path = Path(self.folder.name) / "t.db" if self.in_file else None
        self.table = jb.TextTable(path, **self.options)

    @rule(texts=TEXTS)
    def intern(self, texts):
        ids = self.table.intern(texts).tolist()
        for i, text in zip(ids, texts, strict=True):
            if text is None:
                assert i == -1
            elif i in self.here:
                assert self.here[i] == text
            else:
                assert i not in self.ever, "an id was given twice"
                assert text not in self.here.values()
                self.here[i] = self.ever[i] = text

    @rule(keep=st.randoms(use_true_random=False), among=st.booleans())
    def sweep(self, keep, among):
        pins = [i for i in self.here if keep.random() < 0.6]
        candidates = [i for i in self.ever if keep.random() < 0.6] if among else None
        gone = set(self.here) - set(pins)
        gone = gone if candidates is None else gone & set(candidates)
        assert self.table.sweep(STATE, pins, candidates) == len(gone)
        for i in gone:
            del self.here[i]

    @rule()
    def commit(self):
        self.table.commit()
        self.saved |= self.here

    @rule()
    def purge(self):
        self.table.purge()
        self.saved = {i: text for i, text in self.saved.items() if i in self.here}

    @rule(closes=st.booleans())
    def open_again(self, closes):
        if self.in_file:
            if closes:
                self.commit()
                self.table.close()
            else:
                self.table._store._file.close()  # as a process does that is killed
            self.here = dict(self.saved)
            self.open()

    @rule()
    def merge_with_itself(self):
        before = len(self.table)
        remap = self.table.merge(self.table)
        assert len(self.table) == before
        ids = jnp.array([*self.here, -1, 0], jnp.int32)
        assert self.table.lookup(remap(ids)) == [*self.here.values(), None, None]

    @invariant()
    def all_is_there_and_nothing_else(self):
        assert self.table.lookup(list(self.here)) == list(self.here.values())
        assert len(self.table) == len(self.here)
        if not self.options.get("compress"):
            assert self.table.nbytes == sum(len(x.encode("utf-8", "surrogatepass")) for x in self.here.values())
        for i in self.ever.keys() - self.here.keys():
            with pytest.raises(jb.errors.UnknownTextError):
                self.table.lookup(i)

    def teardown(self):
        self.table.close()
        self.folder.cleanup()


class Compressed(Model):
    options: ClassVar[dict] = {"compress": True, "cache_bytes": 20}


class SmallCache(Model):
    options: ClassVar[dict] = {"cache_bytes": 5}


class InMemory(Model):
    in_file = False


class InMemoryCompressed(Model):
    options: ClassVar[dict] = {"compress": True}
    in_file = False


def case(machine, examples):
    """A tenth of the examples, in the quick tier."""
    examples //= budget(10, 1)
    machine.TestCase.settings = settings(max_examples=examples, stateful_step_count=25, deadline=None)
    return machine.TestCase


@pytest.fixture(autouse=True)
def ids_of_this_process(monkeypatch):
    """Put the counter back to where the other tests are."""
    monkeypatch.setattr(supply, "_next", supply._next)


TestFile = case(Model, 40)
TestCompressed = case(Compressed, 20)
TestSmallCache = case(SmallCache, 20)
TestInMemory = case(InMemory, 20)
TestInMemoryCompressed = case(InMemoryCompressed, 10)
