"""Every view and every sampler keeps the whole contract, with and without an environment axis.

A view sees windows and a sampler counts them; neither knows the other. So the quick tier puts every view through the
contract with one sampler, and every sampler with one view; the long one puts every pair together, too.
"""

import pytest
from oracle import quick_jit
from tier import long_but

import jaxbuffers as jb
from jaxbuffers import testing

from .catalog import EVERYTHING, ROW, SAMPLERS, VIEWS, replay_of, rows_for, show

every_sampler = pytest.mark.parametrize("sampler", SAMPLERS, ids=show)
every_view = pytest.mark.parametrize("view", VIEWS, ids=show)
# One of every kind in the quick tier; their other options are long.
kind_of_view = pytest.mark.parametrize("view", long_but(VIEWS, quick=[0, 2, 5, 8, 10, 12, 13, 14]), ids=show)


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


OF_DRAWS = testing.check_probability, testing.check_can_sample, testing.check_windows


@pytest.mark.parametrize("check", testing.CONTRACT, ids=lambda check: check.__name__)
@pytest.mark.parametrize("sampler", [EVERYTHING, SAMPLERS[10]], ids=["everything", "online first"])
def test_all_samplers_in_one_keep_the_whole_contract(sampler, check, put_through):
    put_through(check, replay_of(VIEWS[10], sampler))


@pytest.mark.parametrize("check", OF_DRAWS, ids=lambda check: check.__name__)
@every_sampler
def test_every_sampler_draws_what_it_may_as_often_as_it_says(sampler, check, put_through):
    put_through(check, replay_of(VIEWS[10], sampler))


@pytest.mark.long  # each by itself
@pytest.mark.parametrize("check", [check for check in testing.CONTRACT if check not in OF_DRAWS])
@every_sampler
def test_every_sampler_keeps_the_whole_contract(sampler, check, put_through):
    put_through(check, replay_of(VIEWS[10], sampler))


# How likely windows are, and whether any can be drawn, is decided by samplers alone; priorities say more of windows.
OF_VIEWS = [check for check in testing.CONTRACT if check not in OF_DRAWS]


@pytest.mark.parametrize("check", OF_VIEWS, ids=lambda check: check.__name__)
@kind_of_view
def test_every_view_keeps_the_whole_contract(view, check, put_through):
    put_through(check, replay_of(view, jb.Uniform()))


@kind_of_view
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
@pytest.mark.parametrize("check", [testing.check_rows, testing.check_transforms, testing.check_windows])
def test_a_single_stream_without_an_environment_axis_is_added_drawn_and_read(check):
    replay = jb.Replay(capacity=9, num_envs=None, batch_size=3, view=VIEWS[2], sampler=SAMPLERS[11])
    check(replay, ROW, testing.numbered_rows(replay, ROW))


@pytest.mark.long  # all samplers, and the whole contract
@every_sampler
def test_a_single_stream_without_an_environment_axis_keeps_the_contract(sampler):
    testing.check_replay(jb.Replay(capacity=9, num_envs=None, batch_size=3, view=VIEWS[2], sampler=sampler), ROW)
