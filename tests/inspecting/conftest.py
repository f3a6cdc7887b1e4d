"""A store to look at."""

import pytest

import jaxbuffers as jb

from .stores import LENGTHS, ROW, rows_of


@pytest.fixture
def path(tmp_path):
    with jb.EpisodeStore(tmp_path / "store", row=ROW) as store:
        for number, length in enumerate(LENGTHS):
            columns = {"priority": number / 2, "level": number, "name": f"n{number}"} if number else {}
            store.add_episode(rows_of(number, length), columns)
    return tmp_path / "store"
