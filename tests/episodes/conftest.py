"""Stores in memory and on disk, closed when the test is over."""

import shutil

import pytest

import jaxbuffers as jb
from episodes.model import temporary


@pytest.fixture
def folder():
    """An empty folder in which nothing waits for a disk."""
    path = temporary()
    yield path
    shutil.rmtree(path)


@pytest.fixture
def opened():
    """Opens stores that are closed at the end."""
    stores = []

    def make(*args, **options):
        stores.append(jb.EpisodeStore(*args, **options))
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture(params=["memory", "disk"])
def make(request, folder, opened):
    """Makes another store of one kind."""
    number = iter(range(100))

    def another(**options):
        path = folder / f"store{next(number)}" if request.param == "disk" else None
        return opened(path, **options)

    return another
