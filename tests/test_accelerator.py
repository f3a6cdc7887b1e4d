"""The table of an accelerator: how kernels are counted, and which goals it calls reached."""

from types import SimpleNamespace

import pytest

from benchmarks.accelerator import kernels, report
from benchmarks.accelerator.measure import Row

ABOUT = {
    "device": "Card", "platform": "driver 1", "backend": "gpu", "jax": "1.0", "cores": 2,
    "copy": {"bytes": 10**9, "copy": 1e12, "memcpy": 1e12, "kernel": 9e11}, "least": {"in a loop": 1.0, "call": 9.0},
}  # fmt: skip
PROGRAM = """HloModule jit_step, is_scheduled=true

%twice (x.1: s32[8]) -> s32[8] {
  %x.1 = s32[8]{0} parameter(0)
  %one.1 = s32[8]{0} fusion(%x.1), kind=kLoop, calls=%fused
  ROOT %two.1 = s32[8]{0} fusion(%one.1), kind=kLoop, calls=%fused
}

%once (x.2: s32[8]) -> s32[8] {
  %x.2 = s32[8]{0} parameter(0)
  ROOT %one.2 = s32[8]{0} fusion(%x.2), kind=kLoop, calls=%fused
}

ENTRY %main.9 (p: s32[8], q: s32[]) -> s32[8] {
  %p = s32[8]{0} parameter(0)
  %q = s32[] parameter(1)
  %b = s32[8]{0} bitcast(%p)
  %loop = s32[8]{0} while(%b), condition=%true, body=%twice, backend_config={"known_trip_count":{"n":"5"}}
  %called = s32[8]{0} call(%loop), to_apply=%once
  %chosen = s32[8]{0} conditional(%q, %called, %called), branch_computations={%once, %twice}
  ROOT %end = s32[8]{0} copy(%chosen)
}
"""


def profile(**planes):
    """A profile of planes with lines of (name, nanoseconds)."""
    return SimpleNamespace(
        planes=[
            SimpleNamespace(
                name=plane.replace("_", " "),
                lines=[
                    SimpleNamespace(
                        name=line, events=[SimpleNamespace(name=name, duration_ns=took) for name, took in events]
                    )
                    for line, events in lines.items()
                ],
            )
            for plane, lines in planes.items()
        ]
    )


def test_kernels_are_those_on_the_streams_of_one_device_per_call():
    seen = {
        "Stream #7(Compute)": [("gather", 3000.0), ("scatter", 500.0), ("gather", 1000.0)],
        "Stream #8(MemcpyD2D)": [("copy", 500.0)],
        "XLA Modules": [("jit_step", 9e9)],
    }
    found = kernels.launched(
        profile(**{"/host:CPU": seen, "/device:CUSTOM": seen, "/device:GPU:0": seen, "/device:GPU:1": seen}), calls=2
    )
    assert (found.count, found.microseconds, found.how) == (2.0, 2.5, "profiler")
    assert found.names == [("gather", 1.0, 2.0), ("scatter", 0.5, 0.25), ("copy", 0.5, 0.25)]


def test_of_a_tpu_the_operations_count():
    seen = {"XLA Ops": [("fusion", 1000.0)], "Steps": [("1", 5000.0)]}
    assert kernels.launched(profile(**{"/device:TPU:0": seen}), calls=1).names == [("fusion", 1.0, 1.0)]


def test_a_profile_without_a_device_says_nothing():
    assert kernels.launched(profile(**{"/host:CPU": {"Stream #1": [("gather", 1.0)]}}), calls=1) is None


def test_a_compiled_program_is_counted_with_its_loops_and_its_longest_branch():
    found = kernels.read(PROGRAM)
    assert (found.count, found.how) == (5 * 2 + 1 + 2 + 1, "text")
    assert found.names == [("fusion", 13, 0.0), ("copy", 1, 0.0)]


def row(verb, rows, us, **other):
    return Row(kind=other.pop("kind", "uniform"), rows=rows, verb=verb, side=other.pop("side", "jaxbuffers"),
               loop_us=us, loop_low=us, loop_high=us, **other)  # fmt: skip


@pytest.mark.parametrize(
    "us, said",
    [
        # 6e6 bytes in 10 us are 600 GB/s, of 1,000.
        (10.0, "60% of the copy bandwidth; goal 60% (reached)"),
        (10.1, "59% of the copy bandwidth; goal 60% (NOT reached)"),
    ],
)
def test_windows_are_held_against_the_copy_bandwidth(us, said):
    images = row("sample", 100, us, kind="images", moved=6_000_000, goal=0.6)
    assert report.goals([images], 1e12) == [f"images, 100 rows, sample: {said}"]


def test_a_peer_is_compared_by_kernels_and_by_time():
    ours = row("add", 100, 10.0, kernels=15.0, ratio=1.01)
    assert report.goals([ours, row("add", 100, 10.1, side="flashbax", kernels=10.0)], 1e12) == [
        "uniform, 100 rows, add: 1.50 x flashbax's kernels; goal 1.5 (reached); 1.01 times as fast; goal 1 (reached)"
    ]
    ours.kernels, ours.ratio = 16.0, 1.0
    (said,) = report.goals([ours, row("add", 100, 10.1, side="flashbax", kernels=10.0)], 1e12)
    assert said.count("NOT reached") == 2


def test_the_largest_ring_is_compared_with_that_of_1e5_rows():
    rows = [row("add", size, us) for size, us in ((9_984, 1.0), (99_984, 10.0), (999_984, 30.0), (9_999_984, 12.0))]
    assert report.goals(rows, 1e12) == [
        "uniform, add: 9,999,984 rows take 1.20 x the time of 99,984; goal 1.2 (reached)"
    ]
    rows[-1].loop_us = 12.1
    assert "(NOT reached)" in report.goals(rows, 1e12)[0]


def test_what_failed_is_in_the_table_and_reaches_no_goal():
    failed = row("sample", 100, 10.0, kind="images", moved=6_000_000, goal=0.6)
    failed.error = "ValueError: it broke"
    assert "it broke" in report.table(ABOUT, [failed])
    assert report.goals([failed], 1e12) == ["nothing was measured that has a goal"]


def test_a_line_of_the_table_has_the_speed_and_its_share(tmp_path):
    rows = [row("sample", 100, 10.0, moved=5_000_000, kernels=7.0, kernels_how="text", names=[("fusion", 7, 0.0)])]
    text = report.write(tmp_path, ABOUT, rows)
    assert text == (tmp_path / "table.txt").read_text()
    assert all(each in text for each in ("Card (driver 1)", "10.0 (10.0 to 10.0)", "7 t", "50.0%", "5.000", "500"))
    assert "fusion" in (tmp_path / "kernels.txt").read_text()
