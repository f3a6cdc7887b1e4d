"""A loader that is interrupted, fails or is forgotten: no batch is lost or made twice, no thread is left."""

import gc
import threading
import time
import weakref

import pytest

import jaxbuffers as jb
from jaxbuffers.loading import Loader, StoreSteps

from .stores import places, store_at


@pytest.fixture
def steps(tmp_path):
    return StoreSteps(store_at(tmp_path / "s", 4, 7, 3), jb.Items(), 4, seed=1, steps=6)


def once(monkeypatch, name):
    """Have a method of the source be interrupted the next time it is called."""
    real, left = getattr(StoreSteps, name), [1]

    def method(*args):
        if left:
            left.clear()
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(StoreSteps, name, method)


@pytest.mark.parametrize("name", ["__getitem__", "read"])
def test_after_ctrl_c_it_goes_on_with_the_same_batch(steps, monkeypatch, name):
    wanted = [places(batch) for batch in Loader(steps)]
    with Loader(steps, prefetch=0) as loader:
        assert places(next(loader)) == wanted[0]
        once(monkeypatch, name)
        with pytest.raises(KeyboardInterrupt):
            next(loader)
        assert loader.step == 1
        assert [places(batch) for batch in loader] == wanted[1:]


@pytest.mark.parametrize("prefetch", [0, 2])
def test_an_error_comes_again_and_is_not_taken_for_the_end(steps, prefetch):
    steps.parts[0].store.delete([0, 1, 2])
    with Loader(steps, prefetch=prefetch) as loader:
        for _ in range(3):
            with pytest.raises(jb.errors.UnknownEpisodeError):
                next(loader)
        assert loader.step == 0
    assert list(loader) == []


def test_a_forgotten_loader_leaves_no_thread(steps):
    loader = Loader(steps)
    next(loader)
    gone = weakref.ref(loader)
    del loader
    gc.collect()
    assert gone() is None
    until = time.monotonic() + 60
    while any(thread.name == "jaxbuffers-prefetch" for thread in threading.enumerate()):
        assert time.monotonic() < until
        time.sleep(0.01)
