"""Workers of Grain and of PyTorch: the same order however many there are, none lost, and a dead one is an error."""

import itertools
import os
import signal
import subprocess
import sys

import pytest
from tier import budget, long_but

import jaxbuffers as jb
from jaxbuffers.episodes import ShuffledEpochs
from jaxbuffers.loading import Loader, StoreSteps, StoreWindows, iter_dataset, together

from .stores import places, store_at

psutil = pytest.importorskip("psutil")
LENGTHS = (4, 7, 3, 2)
EVERY = [(number, t) for number, length in enumerate(LENGTHS) for t in range(length)]


@pytest.fixture
def store(tmp_path):
    with store_at(tmp_path / "s", *LENGTHS) as made:
        yield made


def joined(lists):
    return list(itertools.chain.from_iterable(lists))


@pytest.mark.parametrize("workers", long_but([1, 2, 4], quick=[1]))
def test_the_order_is_that_of_the_seed_however_many_read(store, workers):
    pytest.importorskip("grain")
    steps = StoreSteps(store, jb.Items(), 4, seed=1, law=ShuffledEpochs(1), steps=9)
    with Loader(steps) as loader:
        wanted = [places(batch) for batch in loader]
    assert sorted(joined(wanted[:4])) == EVERY  # an epoch: 16 windows
    with Loader(steps, workers=workers) as loader:
        assert [places(batch) for batch in loader] == wanted
        assert loader.step == 9
    for start in budget([], [4]):  # quick: test_going_on.py
        with Loader(steps, workers=workers, start=start) as loader:
            assert places(next(loader)) == wanted[start]
    assert not [child for child in psutil.Process().children(recursive=True) if "grain" in " ".join(child.cmdline())]


def test_a_killed_worker_is_an_error_with_a_name(store):
    pytest.importorskip("grain")
    before = {child.pid for child in psutil.Process().children()}
    with Loader(StoreSteps(store, jb.Items(), 4), workers=1) as loader:
        next(loader)
        for child in psutil.Process().children():
            if child.pid not in before and "resource_tracker" not in " ".join(child.cmdline()):
                os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(jb.errors.WorkerError, match="worker process has died"):
            joined([batch] for batch in itertools.islice(loader, 1000))  # a few were read ahead


def test_an_error_in_a_worker_is_that_error(store):
    pytest.importorskip("grain")
    steps = StoreSteps(store, jb.Items(), 64)
    store.delete(0)
    with Loader(steps, workers=1) as loader, pytest.raises(jb.errors.UnknownEpisodeError, match="episode 0"):
        next(loader)


@pytest.mark.long  # starts a program, and that its workers
def test_a_program_may_end_without_closing_its_loader(store, tmp_path):
    pytest.importorskip("grain")
    (tmp_path / "program.py").write_text(
        "import sys, jaxbuffers as jb\n"
        "if __name__ == '__main__':\n"
        "    loader = jb.loading.Loader(jb.loading.StoreSteps(sys.argv[1], jb.Items(), 4), workers=1)\n"
        "    next(loader)\n"
        "    sys.exit(3)\n"
    )
    program = [sys.executable, str(tmp_path / "program.py"), store.path]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


def test_grain_shuffles_windows(store):
    grain = pytest.importorskip("grain")
    windows = StoreWindows(store, jb.Items())
    dataset = grain.MapDataset.source(windows).shuffle(seed=3).batch(5, batch_fn=together)
    seen = [places(windows.read(raw)) for raw in dataset]
    assert [len(each) for each in seen] == [5, 5, 5, 1]
    assert sorted(joined(seen)) == EVERY != joined(seen)
    iterator = iter(dataset.to_iter_dataset().map(windows.read))
    next(iterator)
    state = iterator.get_state()
    second = places(next(iterator))
    again = iter(dataset.to_iter_dataset().map(windows.read))
    again.set_state(state)
    assert places(next(again)) == second == seen[1]


def test_a_dataset_of_grain_is_resumed_by_grain(store):
    pytest.importorskip("grain")
    steps = StoreSteps(store, jb.Items(), 4, steps=6)
    wanted = [places(steps.read(steps[step])) for step in range(6)]
    iterator = iter(iter_dataset(steps))
    assert [places(next(iterator)) for _ in range(2)] == wanted[:2]
    state = iterator.get_state()
    assert [places(batch) for batch in iterator] == wanted[2:]
    again = iter(iter_dataset(steps))
    again.set_state(state)
    assert [places(batch) for batch in again] == wanted[2:]
    with pytest.raises(jb.errors.ConfigurationError, match="StoreSteps"):
        iter_dataset(StoreWindows(store, jb.Items()))


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning", "ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize(
    "how, workers",
    long_but([(None, 0), ("fork", 2), ("spawn", 1), ("spawn", 2)], quick=[0, 1]),  # Grain's workers are spawned
)
def test_torch_gives_every_window_once_an_epoch(store, how, workers):
    torch = pytest.importorskip("torch")
    windows = StoreWindows(store, jb.Items())
    loader = torch.utils.data.DataLoader(
        windows, 5, shuffle=True, collate_fn=together, num_workers=workers, multiprocessing_context=how,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    epochs = [joined(places(windows.read(raw)) for raw in loader) for _ in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == EVERY
    assert epochs[0] != epochs[1]


@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning", "ignore:.*multi-threaded.*:DeprecationWarning")
def test_torch_gives_steps_in_their_order(store):
    torch = pytest.importorskip("torch")
    steps = StoreSteps(store, jb.Sequences(2), 4, steps=6)
    wanted = [places(steps.read(steps[i])) for i in range(6)]
    for workers, how in ((0, None), (2, "fork")):
        loader = torch.utils.data.DataLoader(
            steps, batch_size=None, collate_fn=together, num_workers=workers, multiprocessing_context=how
        )
        assert [places(steps.read(raw)) for raw in loader] == wanted
