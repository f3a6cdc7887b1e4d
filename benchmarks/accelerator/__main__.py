"""Print one table for whatever device there is, and write it to a folder.

    python -m benchmarks.accelerator --out results              # about four minutes on a GPU
    python -m benchmarks.accelerator --quick --out results      # one minute
    python -m benchmarks.accelerator --only images --sizes 1e4  # some of it
    python -m benchmarks.accelerator --contract --out results   # the quick tests on this backend, and nothing else

Each verb's time in a jitted loop and called from Python, kernels launched, bytes moved against the device's own copy
bandwidth, in place or not. What fails says so in its row, and the run goes on.
"""

import argparse
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from rich.console import Console

from benchmarks.accelerator import contract, report

SIZES, QUICK = (10_000, 100_000, 1_000_000, 10_000_000), (100_000, 10_000_000)
KINDS = ("uniform", "images", "prioritized", "dreamer")
MOST_IMAGES = 1_000_000


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("accelerator"), metavar="DIR", help="a folder for the results")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="what to measure")
    parser.add_argument("--sizes", nargs="+", type=lambda text: int(float(text)), help="rows, such as 1e4 1e5")
    parser.add_argument("--quick", action="store_true", help="a minute: two sizes, few repetitions")
    parser.add_argument("--seconds", type=float, help="after which no further size is begun")
    parser.add_argument("--no-profile", action="store_true", help="count kernels in the compiled text")
    parser.add_argument("--contract", action="store_true", help="run the contract suite's quick form instead")
    parser.add_argument("--contract-seconds", type=float, default=240.0, help="its time limit")
    parser.add_argument("--workers", type=int, default=4, help="processes for the contract suite")
    args = parser.parse_args()
    console, began = Console(), time.monotonic()

    def say(text: str) -> None:
        console.print(f"[{time.monotonic() - began:5.1f} s] {text}", highlight=False, markup=False, soft_wrap=True)

    if args.contract:
        backend = _backend()
        say(f"the contract suite's quick form on {backend}, {args.contract_seconds:.0f} s at most")
        say(contract.run(args.out, backend, args.contract_seconds, args.workers))
        return
    _measure(args, say, began)


def _backend() -> str:
    import subprocess
    import sys

    command = [sys.executable, "-c", "import jax; print(jax.default_backend())"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]


def _measure(args: argparse.Namespace, say: Callable[[str], None], began: float) -> None:
    from benchmarks.accelerator import device
    from benchmarks.accelerator.measure import Row, Settings, measured

    about = device.described()
    say(f"{about['device']}, backend {about['backend']}, jax {about['jax']}")
    about |= {"copy": device.copy_bandwidth(), "least": device.least()}
    say(f"a large copy: {about['copy']['copy'] / 1e9:,.0f} GB/s; the least step: {about['least']['in a loop']:.2f} us")
    sizes = args.sizes or list(QUICK if args.quick else SIZES)
    seconds = args.seconds or (50 if args.quick else 210)
    settings = Settings(deadline=began + seconds, profiling=0.0 if args.no_profile else 60.0)
    if args.quick:
        settings.loops, settings.calls = 0.1, 0.05
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as texts:

        def keep(name: str, text: str) -> None:
            (Path(texts) / f"{name}.txt").write_text(text)

        settings.keep = keep
        for kind in args.only:
            if time.monotonic() > settings.deadline:
                rows.append(Row(kind, 0, "", "", error="no time left"))
                continue
            try:
                groups = list(_groups(kind, sizes))
                for row in measured(groups, settings, partial(_said, say, kind)):
                    rows.append(row)
                    if row.error:
                        say(f"{row.kind}, {row.rows:,} rows, {row.verb}, {row.side}: {row.error}")
            except Exception as error:
                rows.append(Row(kind, 0, "", "", error=f"{type(error).__name__}: {error}"))
                say(f"{kind}: {error!r}")
            report.write(args.out, about | {"seconds": time.monotonic() - began}, rows)
        text = report.write(args.out, about | {"seconds": time.monotonic() - began}, rows)
        with tarfile.open(args.out / "compiled.tar.xz", "w:xz") as archive:
            archive.add(texts, "compiled")
    print(text, flush=True)
    say(f"done; see {args.out}")


def _said(say: Callable[[str], None], kind: str, text: str) -> None:
    say(f"{kind}: {text}")


def _groups(kind: str, sizes: list[int]) -> Iterator:
    from benchmarks.accelerator import device, dreamer_step, images, small_rows

    if kind in ("uniform", "prioritized"):
        return small_rows.groups(sizes, prioritized=kind == "prioritized")
    if kind == "dreamer":
        return dreamer_step.groups(sizes, device.room())
    return images.groups(sorted({min(size, MOST_IMAGES) for size in sizes}), device.room())


if __name__ == "__main__":
    main()
