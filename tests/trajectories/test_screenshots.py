"""Screenshots are the same if their contents are; what cannot be read is never the same, nor is a last step."""

import dataclasses

import numpy as np
import pytest

from jaxbuffers.errors import StoreError
from jaxbuffers.trajectories import Trajectory, TrajectoryPool, adding
from trajectories.images import png
from trajectories.made import trajectory

RED, BLUE = png((255, 0, 0)), png((0, 0, 255))
SAME_PIXELS = png((255, 0, 0), comment=b"later")


def shown(pool, i=0):
    return [step.same_as_next_screenshot for step in pool.trajectory(i).steps]


def of(folder, *contents, **options):
    """A trajectory whose steps show files with these contents; None for a file that is not there."""
    paths = []
    for i, data in enumerate(contents):
        path = folder / f"{len(list(folder.iterdir()))}-{i}.png"
        if data is not None:
            path.write_bytes(data)
        paths.append(str(path))
    return trajectory(steps=len(contents), images=paths, **options)


def test_equal_contents_are_the_same_whatever_their_paths(tmp_path):
    pool = TrajectoryPool()
    pool.add(of(tmp_path, RED, RED, BLUE, RED, SAME_PIXELS, SAME_PIXELS))
    assert shown(pool) == [True, False, False, False, True, False]
    ids = pool.store[0].rows["screenshot"]
    assert ids[0] == ids[1] == ids[3] != ids[2]


def test_equal_pixels_are_the_same_where_pixels_are_compared(tmp_path):
    pytest.importorskip("PIL")
    pool = TrajectoryPool(compare="pixels")
    other_size = png((255, 0, 0), (3, 4))
    pool.add(of(tmp_path, RED, SAME_PIXELS, other_size, BLUE))
    assert shown(pool) == [True, False, False, False]
    assert pool.image(0, 1).tolist()[0][0] == [255, 0, 0]


@pytest.mark.parametrize("compare", ["bytes", "pixels"])
def test_what_is_missing_or_broken_is_never_the_same(tmp_path, compare):
    if compare == "pixels":
        pytest.importorskip("PIL")
    flipped = bytearray(RED)
    flipped[-20] ^= 1
    webp = b"RIFF\x20\0\0\0WEBPVP8 half"
    others = [webp, b"RIFF\x04\0\0\0WAVE", b"GIF89a half", b"BM\x99\0\0\0" + bytes(30)]
    broken = [*others, None, b"", RED[:-1], RED[:20], bytes(flipped), b"<html>", b"\xff\xd8\xff half a JPEG"]
    pool = TrajectoryPool(compare=compare)
    for data in broken:
        pool.add(of(tmp_path, data, data, RED, RED))
        assert shown(pool, len(pool) - 1) == [False, False, True, False]
    pool.add(trajectory(steps=3, images=["same.png", "same.png", "same.png"]))  # one path, and no file
    pool.add(trajectory(steps=3, images=["", "", ""]))
    pool.add(trajectory(steps=2, images=["nul\0", "nul\0"]))
    pool.add(trajectory(steps=2, images=[str(tmp_path), str(tmp_path)]))  # a folder
    for i in range(len(pool) - 4, len(pool)):
        assert not any(shown(pool, i))


def test_one_path_is_the_same_as_itself_and_addresses_are_paths(tmp_path):
    path = tmp_path / "a b.png"
    path.write_bytes(RED)
    pool = TrajectoryPool()
    pool.add(trajectory(steps=3, images=[str(path), path.as_uri(), str(path)]))
    assert shown(pool) == [True, True, False]


def test_a_verdict_that_is_given_is_kept(tmp_path):
    made = of(tmp_path, RED, RED, BLUE)
    verdicts = [False, True, None]
    steps = [dataclasses.replace(step, same_as_next_screenshot=v) for step, v in zip(made.steps, verdicts, strict=True)]
    pool = TrajectoryPool()
    pool.add(Trajectory(steps))
    assert shown(pool) == [False, True, False]


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_images_are_kept_as_bytes_once_and_decoded(tmp_path, where):
    pytest.importorskip("PIL")
    files = tmp_path / "files"
    files.mkdir()
    path = None if where == "memory" else tmp_path / "pool"
    with TrajectoryPool(path, images="bytes") as pool:
        pool.add(of(files, RED, RED, BLUE))
        pool.add(of(files, BLUE, None))
        for file in files.iterdir():
            file.unlink()
        np.testing.assert_array_equal(pool.image(0, 1), np.full((3, 4, 3), (255, 0, 0), np.uint8))
        np.testing.assert_array_equal(pool.image(1, 0), np.full((3, 4, 3), (0, 0, 255), np.uint8))
        with pytest.raises(StoreError, match="trajectory 1 has no screenshot of step 1"):
            pool.image(1, 1)
    if where == "disk":
        assert len([file for file in (path / "images").rglob("*") if file.is_file()]) == 2
        with TrajectoryPool(path) as pool:
            assert pool.image(0, 2).tolist() == [[[0, 0, 255]] * 4] * 3
            pool.store.delete(0)
            pool.sweep()
            assert len([file for file in (path / "images").rglob("*") if file.is_file()]) == 1
            assert pool.image(1, 0).shape == (3, 4, 3)


@pytest.mark.parametrize(("images", "transactions"), [("paths", 1), ("bytes", 2)])
def test_only_so_many_bytes_of_images_wait_in_memory(tmp_path, monkeypatch, images, transactions):
    many = [of(tmp_path, RED, RED, BLUE), of(tmp_path, BLUE), of(tmp_path, RED, BLUE), of(tmp_path, RED)]
    monkeypatch.setattr(adding, "IMAGES", 2 * len(RED + BLUE))
    pool = TrajectoryPool(images=images)
    before = pool.store.table().revision
    assert pool.extend(many).tolist() == [0, 1, 2, 3]
    assert pool.store.table().revision - before == transactions


def test_images_are_read_from_their_paths(tmp_path):
    pytest.importorskip("PIL")
    pool = TrajectoryPool()
    made = of(tmp_path, RED, b"no image")
    pool.add(made)
    assert pool.image(0, 0).tolist() == [[[255, 0, 0]] * 4] * 3
    with pytest.raises(StoreError, match="has no screenshot of step 1"):
        pool.image(0, 1)
    (tmp_path / "0-0.png").write_bytes(BLUE)
    with pytest.raises(StoreError, match=r"0-0.png' is another image than trajectory 0 saw in step 0: it was replaced"):
        pool.image(0, 0)
    (tmp_path / "0-0.png").unlink()
    with pytest.raises(StoreError, match=r"0-0.png' is no image"):
        pool.image(0, 0)


def test_relative_paths_begin_in_the_folder_that_was_named(tmp_path):
    pytest.importorskip("PIL")
    (tmp_path / "red.png").write_bytes(RED)
    made = trajectory(steps=2, images=["red.png", "red.png"])
    pool = TrajectoryPool(tmp_path / "pool", image_folder=tmp_path)
    pool.add(made)
    assert shown(pool) == [True, False]
    assert pool.trajectory(0).steps[0].observation.image_path == "red.png"
    assert pool.image(0, 1).tolist()[0][0] == [255, 0, 0]
    pool.close()
    with TrajectoryPool.open(tmp_path / "pool", image_folder=tmp_path) as reader:
        assert reader.image(0, 0).tolist()[0][0] == [255, 0, 0]
    with TrajectoryPool.open(tmp_path / "pool") as elsewhere, pytest.raises(StoreError, match=r"red.png"):
        elsewhere.image(0, 0)
