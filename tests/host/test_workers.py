"""Datasets in other processes, forked and spawned: every sample once an epoch, and JAX is not used there."""

import functools
import multiprocessing
import os
import pickle
import subprocess
import sys

import jax
import numpy as np
import pytest
from tier import long_but

import jaxbuffers as jb
from host.experts import demonstrations, trajectory
from host.shells import shell
from host.test_parts import filled

FORK = pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning", "ignore:.*fork:DeprecationWarning")
# In the quick tier another process of its own reads what was pickled, below.
STARTS = [pytest.param("fork", marks=FORK), pytest.param("spawn", marks=pytest.mark.long)]


@functools.cache
def datasets():
    demos = demonstrations()
    demos.insert_trajectory(trajectory(10))
    return demos.dataset(), jb.BatchDataset([demos.sample(4) for _ in range(10)])


@pytest.mark.parametrize("start", STARTS)
def test_workers_of_a_loader_give_every_window_once_an_epoch(start):
    torch = pytest.importorskip("torch")
    options = {"num_workers": 2, "multiprocessing_context": start, "persistent_workers": True, "timeout": 120}
    torch.manual_seed(0)
    loader = torch.utils.data.DataLoader(datasets()[0], 3, shuffle=True, collate_fn=jb.collate, **options)
    for _ in range(2):
        batches = list(loader)
        found = [text for batch in batches for text in batch.texts["observation"]]
        assert sorted(found) == [f"o{i}" for i in range(10)] != found
        features = np.concatenate([batch.arrays["image_features"] for batch in batches])
        assert [f"o{row[0]:.0f}" for row in features] == found


def items_in_child(dataset, pipe):
    pipe.send([dataset[i] for i in range(len(dataset))])


@FORK
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("which", [0, 1], ids=["windows", "batches"])
def test_a_forked_child_reads_what_its_parent_does(which):
    dataset = datasets()[which]
    ours, theirs = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=items_in_child, args=(dataset, theirs), daemon=True)
    child.start()
    try:
        assert ours.poll(120), "the child hangs"
        np.testing.assert_equal(ours.recv(), list(dataset))
    finally:
        child.kill()
        child.join()


READER = """
import pickle, sys
from jax._src import xla_bridge
datasets, expected = pickle.load(open(sys.argv[1], "rb"))
import numpy as np
for dataset, items in zip(datasets, expected, strict=True):
    np.testing.assert_equal([dataset[i] for i in range(len(dataset))], items)
assert not xla_bridge.backends_are_initialized(), "reading used JAX"
"""


def test_a_process_of_its_own_reads_them_without_a_device(tmp_path):
    all_of_them = [*datasets(), jb.WindowDataset(filled("pad", "uniform")), jb.WindowDataset(shell())]
    (tmp_path / "pickled").write_bytes(pickle.dumps((all_of_them, [list(each) for each in all_of_them])))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", READER, str(tmp_path / "pickled")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_reading_keeps_no_array_of_jax():
    for dataset in datasets():
        held = jax.tree.leaves(vars(dataset))
        assert held
        assert not any(isinstance(leaf, jax.Array) for leaf in held)


@pytest.mark.parametrize("view", long_but(["items", "pad"], quick=[1]))
def test_windows_read_one_by_one_are_those_that_are_copied(view):
    buffer = filled(view, "uniform")
    copied, live = jb.WindowDataset(buffer), jb.WindowDataset(buffer, copy=False)
    assert len(copied) == len(live) == buffer.count()
    np.testing.assert_equal(list(live), list(copied))
    np.testing.assert_equal(live.__getitems__([2, 0, 2]), copied.__getitems__([2, 0, 2]))


def test_many_windows_are_read_some_at_a_time(monkeypatch):
    monkeypatch.setattr("jaxbuffers.host.snapshot.AT_ONCE", 100)  # 4 windows of 22 bytes
    buffer = filled("transitions", "uniform")
    items, live = list(jb.WindowDataset(buffer)), list(jb.WindowDataset(buffer, copy=False))
    assert len(items) % 4
    np.testing.assert_equal(items, live)


@FORK
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_windows_that_are_not_copied_are_refused_elsewhere():
    dataset = jb.WindowDataset(filled("items", "uniform"), copy=False)
    with pytest.raises(jb.errors.StructureError, match="leave copy out"):
        pickle.dumps(dataset)
    child = os.fork()
    if child == 0:
        try:
            dataset[0]
        except jb.errors.StructureError as error:
            os._exit(0 if "leave copy out" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("copy", [0, None, "no"])
def test_a_way_of_reading_that_is_none(copy):
    with pytest.raises(jb.errors.ConfigurationError, match="copy"):
        jb.WindowDataset(shell(), copy=copy)
