"""Many hosts: real processes share a run, save it together, and go on from it in another number.

The quick tests look at one run: two processes go on from what this one saved, until one of them is killed.
"""

import json
import shutil

import jax
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.checkpoint import file, shares

from .launching import Run
from .work import Work, begin, mesh_of, sums_of

BEGUN, LAST = 1, 5  # the steps with which this process and the two of them end


@pytest.fixture(scope="module")
def here():
    """The same run in this one process, on as many devices."""
    mesh = mesh_of()
    return mesh, Work(mesh)


@pytest.fixture(scope="module")
def two(tmp_path_factory, here):
    """Two processes at their end, one killed; beside the folder with what they said is that with the checkpoints."""
    mesh, work = here
    root = tmp_path_factory.mktemp("two")
    with jb.checkpoint.Manager(root / "run") as manager:
        manager.save(BEGUN, work.until(begin(mesh), BEGUN))
    with Run(root / "said", 2, "all", root / "run", LAST, devices=2) as run:
        for number in range(2):
            run.until(number, "ready")
        run.kill(1)
        (root / "killed").touch()
        run.ended()
        yield run, root


def sums(run):
    """What the processes of a run had at its end, together."""
    found = {}
    for number in range(run.count):
        line = next(line for line in run.said(number) if line.startswith("sums"))
        for name, total in json.loads(line.removeprefix("sums")).items():
            assert found.setdefault(name, total) == total, f"{name} differs between processes"
    return found


def test_two_processes_go_on_from_what_one_saved_as_if_they_were_one(two, here):
    run, _ = two
    mesh, work = here
    assert [run.said(number)[1] for number in range(2)] == [f"from {BEGUN}\n"] * 2
    assert sums(run) == sums_of(work.until(begin(mesh), LAST))


def test_one_process_goes_on_from_what_two_saved(two, here):
    _, root = two
    mesh, work = here
    with jb.checkpoint.Manager(root / "run") as manager:
        assert manager.steps() == [1, 3, 5]
        found = manager.restore(begin(mesh)).tree
    assert sums_of(found) == sums_of(work.until(begin(mesh), LAST))
    assert sums_of(work.until(found, LAST + 3)) == sums_of(work.until(begin(mesh), LAST + 3))
    plain = jax.tree.map(np.zeros_like, begin(mesh)["replay"])  # on no devices at all
    path = root / "run" / f"step-{LAST:012}.safetensors"
    found = jb.checkpoint.restore(path, begin(mesh) | {"replay": plain}).tree["replay"]
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(work.until(begin(mesh), LAST)["replay"]), strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


def test_when_one_is_killed_the_other_ends_with_an_error_and_the_next_save_cleans_up(two):
    run, root = two
    assert run.processes[0].returncode not in (0, None)
    assert "process 1 did not come within 1 s" in run.complained(0), run.all()
    assert not (root / "alone").exists(), "half of a checkpoint was published"
    (root / "alone.01234567.1of2").write_bytes(b"what a process that is gone may have left")
    jb.checkpoint.save(root / "alone", {})
    assert [each.name for each in root.glob("alone*")] == ["alone"]


@pytest.fixture
def copied(two, tmp_path):
    """The checkpoints of the two, to be damaged."""
    shutil.copytree(two[1] / "run", tmp_path / "run")
    return tmp_path / "run"


def share_of(folder, step, number=1):
    return next(folder.glob(f"step-{step:012}.safetensors.*.{number}of2"))


def refused(folder, mesh, text, step=LAST):
    with pytest.raises(jb.errors.DamagedCheckpointError, match=text):
        jb.checkpoint.Manager(folder).restore(begin(mesh), step)


def test_a_share_that_is_missing_mixed_or_damaged_is_named_and_an_earlier_checkpoint_is_there(copied, here):
    mesh, work = here
    mine, other = share_of(copied, LAST), share_of(copied, 3)
    whole = mine.read_bytes()
    mine.unlink()
    refused(copied, mesh, f"{mine.name}, the share of process 2 of the 2 that saved it, is missing")
    shutil.copy(other, mine)
    refused(copied, mesh, "shares of two checkpoints are mixed")
    header = 8 + int.from_bytes(whole[:8], "little")
    for place in (12, header, (header + len(whole)) // 2, len(whole) - 6, len(whole) - 1):
        mine.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        refused(copied, mesh, "is damaged|comes from another save")
    with jb.checkpoint.Manager(copied) as manager:
        found = manager.restore(begin(mesh), fallback=True)
        assert found.step == 3
        assert sums_of(found.tree) == sums_of(work.until(begin(mesh), 3))
        manager.save(LAST, work.until(found.tree, LAST))  # one that is damaged is replaced, with all of its shares
        assert not list(copied.glob(f"step-{LAST:012}.safetensors.*"))
        assert sums_of(manager.restore(begin(mesh)).tree) == sums_of(work.until(begin(mesh), LAST))


def test_a_share_is_no_checkpoint(copied):
    with pytest.raises(jb.errors.CheckpointError, match="is the share of one process in a checkpoint"):
        jb.checkpoint.restore(share_of(copied, LAST), {})


def test_rotation_deletes_the_shares_too(copied, here):
    mesh, work = here
    with jb.checkpoint.Manager(copied, keep=1) as manager:
        manager.save(6, work.until(begin(mesh), 6))
    assert [each.name for each in copied.iterdir()] == ["step-000000000006.safetensors"]


def test_pieces_that_are_not_all_of_an_array_are_refused(copied, here):
    """A checkpoint whose checksums are right, but not what it says."""
    mesh, _ = here
    path = copied / f"step-{LAST:012}.safetensors"
    with file.opened(str(path)) as reader:
        words = json.loads(reader.words["jaxbuffers"])
    token = words["shares"]["token"]
    share_of(copied, LAST).unlink()
    sums_now = [words["shares"]["sums"][0], shares.write_share(str(path), token, 1, 2, {})]
    path.unlink()
    file.write(str(path), {"jaxbuffers": json.dumps(words | {"shares": {"token": token, "sums": sums_now}})}, {})
    refused(copied, mesh, r"the pieces of leaf '\w+.*' are not all of it, or overlap")


def test_another_number_of_shards_is_refused_by_name(two, here):
    mesh = mesh_of(2)
    like = begin(here[0]) | {"replay": begin(mesh)["replay"]}
    with pytest.raises(jb.errors.ConfigurationError, match=r"'replay': shards of .*: saved has 4, here has 2"):
        jb.checkpoint.Manager(two[1] / "run").restore(like)
