"""Every view and every sampler keeps the whole contract, with and without an environment axis.

A view sees windows and a sampler counts them; neither knows the other. So views go through the contract with one
sampler, and samplers with one view: in the quick tier one of each kind, where no other test compares them all; the long
one puts every pair together, too.
"""

import pytest
from oracle import quick_jit
from tier import long_but

import jaxbuffers as jb
from jaxbuffers import testing

from .catalog import EVERYTHING, PARTS, ROW, SAMPLERS, VIEWS, by_stream, replay_of, rows_for, show

every_sampler = pytest.mark.parametrize("sampler", SAMPLERS, ids=show)
every_view = pytest.mark.parametrize("view", VIEWS, ids=show)
KINDS = [8, 12, 14]  # one view of every way to read; test_exhaustive.py and its twin of wrapped views have the others


@pytest.fixture(autouse=True)
def compiled_quickly(monkeypatch):
    """These programs are only compared with NumPy; how fast they are does not matter."""
    for name, static in (("_look", 0), ("_ask", (0, 2))):
        function = getattr(testing.windows, name).__wrapped__
        monkeypatch.setattr(testing.windows, name, quick_jit(function, static_argnums=static))


@pytest.fixture
def put_through(request):
    """Put a replay through one check; the one that reads a compiled program reads that of users."""

    def run(check, replay):
        if check is testing.check_in_place:
            request.getfixturevalue("readable")
        check(replay, ROW, rows_for(replay))

    return run


def of(check, values, quick):
    """Pairs of a check and each of some values, long but for those at these places."""
    return long_but([(check, value) for value in values], quick)


# The tests of samplers compare each with its oracle, in a scan under vmap: the probabilities and draws of all, and
# which windows they point at. test_can_sample.py and tests/test_in_place_orders.py have one around others. So the one
# that remembers most stands for the others here; each by itself is long.
OF_SAMPLERS = [
    *of(testing.check_probability, SAMPLERS, quick=[]),
    *of(testing.check_can_sample, SAMPLERS, quick=[]),
    *of(testing.check_windows, SAMPLERS, quick=[10]),
    *of(testing.check_transforms, SAMPLERS, quick=[]),
    *of(testing.check_in_place, SAMPLERS, quick=[]),
    *of(testing.check_configuration, SAMPLERS, quick=[7]),
    *of(testing.check_made_by, SAMPLERS, quick=[]),  # quick: tests/states/test_made_by.py
    *(pair for check in (testing.check_state, testing.check_rows) for pair in of(check, SAMPLERS, quick=[10])),
]


@pytest.mark.parametrize("check, sampler", OF_SAMPLERS, ids=show)
def test_every_sampler_keeps_the_whole_contract(sampler, check, put_through):
    put_through(check, replay_of(VIEWS[10], sampler))


def test_every_check_is_made():
    assert {pair.values[0] for pair in OF_SAMPLERS} == {*testing.CONTRACT}


@pytest.mark.long  # quick: test_every_sampler.py, tests/states/test_made_by.py, tests/checkpoint/test_round_trip.py
@pytest.mark.parametrize("check", [testing.check_state, testing.check_made_by, testing.check_rows])
def test_all_samplers_in_one_keep_the_contract(check, put_through):
    put_through(check, replay_of(VIEWS[10], EVERYTHING))


def mixture(parts):
    return jb.Mix(*((1 / len(parts), part) for part in parts))


# Those that keep a table beside the ring; `Weighted` looks at every window, so it has arrays as large as the ring. Of
# one row, which is all that a stream adds, XLA would work out a write twice, and copy the table of one of two alike.
TABLES = [part for part in PARTS if not isinstance(part, jb.Weighted)]
ALIKE = [jb.RankBased(), jb.WithoutReplacement(), jb.Clustered(by_stream, groups=2)]


@pytest.mark.parametrize("num_envs, parts", long_but([(None, ALIKE), (2, ALIKE), (None, TABLES), (2, TABLES)], [0]))
def test_samplers_side_by_side_write_in_place(num_envs, parts, put_through):
    streams = num_envs or 1
    sampler = jb.OnlineFirst(mixture(parts))
    replay = jb.Replay(capacity=9 * streams, num_envs=num_envs, batch_size=3, view=VIEWS[2], sampler=sampler)
    put_through(testing.check_in_place, replay)


# How likely windows are, and whether any can be drawn, is decided by samplers alone; priorities say more of windows.
OF_VIEWS = [
    *of(testing.check_transforms, VIEWS, quick=[14]),
    *of(testing.check_in_place, VIEWS, quick=[12]),
    *of(testing.check_configuration, VIEWS, quick=[]),  # quick: of a sampler, above
    *of(testing.check_state, VIEWS, quick=[13]),
    *of(testing.check_made_by, VIEWS, quick=[]),  # quick: tests/states/test_made_by.py
    *of(testing.check_rows, VIEWS, quick=KINDS),
]


@pytest.mark.parametrize("check, view", OF_VIEWS, ids=show)
def test_every_view_keeps_the_whole_contract(view, check, put_through):
    put_through(check, replay_of(view, jb.Uniform()))


@pytest.mark.long  # quick: check_windows of a sampler, above
@every_view
def test_a_priority_reaches_every_window_of_every_view(view):
    replay = replay_of(view, jb.Prioritized())
    testing.check_windows(replay, ROW, rows_for(replay))


@pytest.mark.long  # all pairs
@every_sampler
@every_view
def test_every_view_with_every_sampler_shows_only_rows_that_were_added(view, sampler, monkeypatch):
    """What may depend on the pair: which windows are pointed at, and what is read there."""
    for module, name, verb in (
        (testing.filling, "_add", jb.Replay.add),
        (testing.contract, "_sample", jb.Replay.sample),
    ):
        monkeypatch.setattr(module, name, quick_jit(verb, static_argnums=0))
    testing.check_rows(replay_of(view, sampler), ROW, rows_for(replay_of(view, sampler)))


# What is different without an environment axis is in the verbs: one sampler, made of several, shows it.
@pytest.mark.parametrize(
    "check", long_but([testing.check_rows, testing.check_transforms, testing.check_windows], quick=[0])
)
def test_a_single_stream_without_an_environment_axis_is_added_drawn_and_read(check):
    replay = jb.Replay(capacity=9, num_envs=None, batch_size=3, view=VIEWS[2], sampler=SAMPLERS[11])
    check(replay, ROW, testing.numbered_rows(replay, ROW))


@pytest.mark.long  # the whole contract, with all samplers in one
@pytest.mark.parametrize("sampler", [SAMPLERS[11], jb.OnlineFirst(mixture(TABLES))], ids=show)
def test_a_single_stream_without_an_environment_axis_keeps_the_contract(sampler):
    testing.check_replay(jb.Replay(capacity=9, num_envs=None, batch_size=3, view=VIEWS[2], sampler=sampler), ROW)
