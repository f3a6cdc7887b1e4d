"""A sharded replay is, bit for bit, as many separate replays as it has shards, with keys folded by their numbers."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from contract.catalog import EVERYTHING, SAMPLERS, VIEWS, show
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, Mesh
from tier import budget, long_but

import jaxbuffers as jb

from .meshes import TYPES, mesh_of, needs_devices
from .separate import ENVS, agree, whole_of

pytestmark = needs_devices

# Each view with one sampler, each sampler with one view.
OF_VIEWS = [(view, jb.Uniform()) for view in VIEWS]
OF_SAMPLERS = [(VIEWS[10], sampler) for sampler in SAMPLERS]


@pytest.mark.long  # quick: the view of the samplers below, and that of the meshes
@pytest.mark.parametrize("view, sampler", OF_VIEWS, ids=show)
def test_every_view(view, sampler):
    agree(jb.Sharded(whole_of(view, sampler), mesh_of(2)))


@pytest.mark.parametrize("view, sampler", long_but(OF_SAMPLERS, quick=[1]), ids=show)
def test_every_sampler(view, sampler):
    agree(jb.Sharded(whole_of(view, sampler), mesh_of(2)))


@pytest.mark.long  # the largest program there is
def test_all_samplers_in_one():
    replay = replace(whole_of(VIEWS[10], EVERYTHING), batch_size=2 * len(SAMPLERS))
    agree(jb.Sharded(replay, mesh_of(2)))


MESHES = [(shards, kind, other) for kind in TYPES for shards, other in ((4, 1), (2, 2), (1, 1))]


@pytest.mark.parametrize("shards, kind, other", long_but(MESHES, quick=[4]))
def test_every_kind_of_mesh(shards, kind, other):
    agree(jb.Sharded(whole_of(VIEWS[1], jb.Uniform()), mesh_of(shards, kind, other)))


EIGHT = [(VIEWS[1], jb.Uniform()), (VIEWS[9], jb.Prioritized())]


@pytest.mark.long  # quick: two and four devices, above
@pytest.mark.parametrize("view, sampler", EIGHT, ids=show)
def test_eight_devices(view, sampler):
    agree(jb.Sharded(whole_of(view, sampler, envs=16), mesh_of(8, AxisType.Explicit)))  # each like one of two above


ODD = {
    "the other axis first, of another type": (("model", "data"), (AxisType.Explicit, AxisType.Auto), [0, 1, 2, 3]),
    "devices in another order": (("model", "data"), (AxisType.Auto, AxisType.Explicit), [5, 2, 0, 7]),
}


@pytest.mark.long  # quick: a mesh of two axes, above
@pytest.mark.parametrize("names, kinds, order", [*ODD.values()], ids=ODD)
def test_odd_meshes(names, kinds, order):
    devices = np.array(jax.devices())[order].reshape(2, 2)
    agree(jb.Sharded(whole_of(VIEWS[1], jb.Uniform()), Mesh(devices, names, axis_types=kinds)))


MIXED = [(VIEWS[10], jb.Prioritized()), (VIEWS[8], jb.Uniform()), (VIEWS[7], jb.WithoutReplacement())]  # one as above


@pytest.mark.parametrize("view, sampler", long_but(MIXED, quick=[0]), ids=show)
@settings(deadline=None, max_examples=budget(quick=4, long=40))
@given(
    seed=st.integers(0, 10_000),
    masks=st.lists(st.lists(st.booleans(), min_size=ENVS, max_size=ENVS), max_size=25),
    lag=st.integers(0, 10),
)
@example(seed=0, masks=[[True] * ENVS] * 20, lag=6)
def test_random_masks_and_late_learners(view, sampler, seed, masks, lag):
    sharded = jb.Sharded(whole_of(view, sampler), mesh_of(2))
    state = agree(sharded, len(masks), seed, mask_at=lambda step: np.array(masks[step]), lag=lag)
    if np.all(masks) and len(masks) == 20:
        assert (state.dropped > 0).all()  # some rows were gone
