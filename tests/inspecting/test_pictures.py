"""Pictures and histograms of a report: all values are there, as they are."""

import io

import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.inspecting import inspect
from jaxbuffers.inspecting.frames import as_pictures, is_picture, png
from jaxbuffers.inspecting.report import Histogram

from .stores import table

Image = pytest.importorskip("PIL.Image")


def test_pictures_go_out_as_they_are():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (11, 13, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(picture)))), picture)
    gray = rng.integers(0, 256, (2, 8, 9), np.uint8)
    np.testing.assert_array_equal(as_pictures(gray), np.repeat(gray[..., None], 3, -1))
    first = rng.integers(0, 256, (2, 3, 8, 9), np.uint8)
    np.testing.assert_array_equal(as_pictures(first), np.moveaxis(first, 1, -1))
    np.testing.assert_array_equal(as_pictures(np.float32([[[0, 0.5, 1]]]))[0, 0, :, 0], [0, 128, 255])
    np.testing.assert_array_equal(as_pictures(np.float32([[[-2, 0, 2]]]))[0, 0, :, 0], [0, 128, 255])
    odd = np.float32([[[-np.inf, -2, 0, np.nan, 2, np.inf]]])
    np.testing.assert_array_equal(as_pictures(odd)[0, 0, :, 0], [0, 0, 128, 0, 255, 255])
    wide = np.float64([[[-1.7e308, 0, 1.7e308]]])
    np.testing.assert_array_equal(as_pictures(wide)[0, 0, :, 0], [0, 128, 255])
    np.testing.assert_array_equal(as_pictures(np.full((1, 8, 9), np.nan)), np.zeros((1, 8, 9, 3)))
    assert as_pictures(np.zeros((2, 8, 9, 4), np.uint8)).shape == (2, 8, 9, 3)
    shapes = {
        (8, 8): True,
        (7, 8): False,
        (8, 9, 3): True,
        (3, 8, 9): True,
        (8, 9, 2): False,
        (8,): False,
        (4, 8): False,
    }
    assert {shape: is_picture(shape, np.dtype(np.uint8)) for shape in shapes} == shapes
    assert not is_picture((8, 8), np.dtype(np.int32))


@pytest.mark.parametrize(
    "values, counts",
    [
        (np.array([1, 1, 3]), {"1": 2, "2": 0, "3": 1}),
        (np.array([5.0, np.nan, np.inf, 5.0]), {"5": 2}),
        (np.arange(0, 40), {f"{x} to {x + 2}": 3 if x < 39 else 1 for x in range(0, 40, 3)}),
        (np.ma.MaskedArray([1, 9], [False, True]), {"1": 1}),
        (np.array([1e30, 1e30]), {"1e+30": 2}),
        (np.array([2**62]), {"4.612e+18": 1}),
        (np.array([0.25]), {"0.25": 1}),
    ],
)
def test_histograms_count_every_value_once(values, counts):
    found = Histogram.of("x", values)
    assert dict(zip(found.labels(), found.counts.tolist(), strict=True)) == counts
    assert Histogram.of("x", np.array([np.nan])) is None


@pytest.mark.parametrize(
    "values", [[-1.7e308, 1.7e308], [1e16, 1e16 + 2], [0, 2**62], [1, 1 + 2e-16], [0.5, 16.5], [0, 5e-324]], ids=str
)
def test_histograms_of_any_numbers_count_all_and_say_where(values):
    found = Histogram.of("x", np.array(values))
    assert found.counts.sum() == 2
    assert found.labels()[0].startswith(f"{values[0]:.4g} to ")
    assert found.labels()[-1].endswith(f" to {values[1]:.4g}")


def test_what_is_not_finite_is_counted_where_nothing_else_is():
    store = jb.EpisodeStore()
    store.add_episode({"x": np.full((3, 2), np.nan, np.float32), "reward": np.full(3, 1e30, np.float32)})
    report = inspect(store)
    assert table(report, "Fields of a row")["x"] == ("float32", "[2]", "24 B", "6 not finite")
    assert dict(report.facts)["return"] == "3e+30 to 3e+30, mean 3e+30"
