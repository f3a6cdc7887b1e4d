"""A table belongs to the process that made it: see forks.py, where each of these has its own processes."""

import copy
import pickle

import pytest

import jaxbuffers as jb
from texts import forks
from texts.test_processes import run_scenarios


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    return run_scenarios("forks.py", tmp_path_factory.mktemp("forks"))


@pytest.mark.parametrize("scenario", [scenario.__name__ for scenario in forks.SCENARIOS])
def test_forks(outcomes, scenario):
    good, errors = outcomes
    assert good[scenario], errors


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy], ids=lambda way: way.__name__)
def test_a_table_is_not_copied_nor_sent_elsewhere(table, way):
    message = r"cannot be copied or sent to another process: both would give one id to two texts. Send texts, or"
    with pytest.raises(jb.errors.WrongProcessError, match=message):
        way(table)
    assert table.lookup(table.intern("a")) == "a"


def test_what_has_a_table_is_not_sent_elsewhere(table):
    buffer = jb.HostReplay(
        jb.Replay(capacity=4, num_envs=None, batch_size=2, view=jb.Items()), {"text": jb.text}, table=table
    )
    buffer.insert(text="a")
    for thing in (buffer.sample(), jb.Tokens(table, str.split, 8)):
        with pytest.raises(jb.errors.WrongProcessError):
            pickle.dumps(thing)
