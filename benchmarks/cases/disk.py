"""On disk: the store of episodes, checkpoints, and batches read by workers."""

from benchmarks.case import Case


def cases(quick: bool) -> list[Case]:
    """Return the cases."""
    episodes, megabytes = (12, 26) if quick else (200, 300)
    images, found = "16 x 64 windows of 64x64x3", []
    for name, peer, goal in (
        ("numpy", "NumPy", 1 / 1.5),
        ("numpy-device", "NumPy, onto the device", None),
        ("ring", "our ring", None),
        ("torchrl", "torchrl", 5.0),
    ):
        found.append(
            Case(
                f"store-{name}",
                "disk",
                f"EpisodeStore: {images}, in the page cache",
                peer,
                "sides.store:windows",
                {"peer": peer, "episodes": episodes},
                goal=goal,
                seconds=4,
            )
        )
    found.append(
        Case(
            "store-cold",
            "disk",
            f"EpisodeStore: open and sample {images}, not in the page cache",
            "NumPy memory map",
            "sides.store:cold",
            {"episodes": episodes},
            rounds=10,
        )
    )
    for kind, number, peer in (
        ("images", 8, "numpy.save"),
        ("images", 8, "torchrl"),
        ("numbers", 50, "numpy.save"),
        ("numbers", 50, "torchrl"),
    ):
        args = {"peer": peer, "kind": kind, "number": number if not quick else 2}
        name, work = f"store-append-{kind}-{peer.split('.')[0]}", f"EpisodeStore: append an episode of {kind}, durable"
        found.append(Case(name, "disk", work, f"{peer}, not synced", "sides.store:append", args, rounds=21, seconds=4))
    many = 10_000 if quick else 1_000_000
    found.append(
        Case(
            "store-draw",
            "disk",
            f"EpisodeStore: draw 256 transitions from {many:,} episodes",
            "NumPy, searchsorted",
            "sides.store:draw",
            {"episodes": many},
            seconds=2,
        )
    )
    saved = {"kind": "random bytes", "megabytes": megabytes}
    vault = {"kind": "runs", "megabytes": 26}
    found += [
        Case(
            "save",
            "disk",
            f"save a ring of {megabytes} MB, random bytes",
            "numpy.save, synced",
            "sides.checkpoints:save",
            saved,
            rounds=7,
            seconds=10,
        ),
        Case(
            "restore",
            "disk",
            f"restore a ring of {megabytes} MB, random bytes",
            "numpy.load, unchecked",
            "sides.checkpoints:restore",
            saved,
            rounds=7,
            seconds=8,
        ),
        Case(
            "save-small",
            "disk",
            "save 300 arrays of 16 kB",
            "numpy.save, synced",
            "sides.checkpoints:small",
            {"arrays": 300},
            rounds=9,
        ),
        Case(
            "save-vault",
            "disk",
            "save a ring of 26 MB, runs of 256 equal bytes",
            "flashbax Vault",
            "sides.checkpoints:vault",
            vault,
            rounds=3,
            seconds=8,
        ),
        Case(
            "save-loop",
            "disk",
            "a training loop that saves its ring in the background three times",
            "the loop alone",
            "sides.checkpoints:stall",
            {"megabytes": 26 if quick else 100, "chunks": 6 if quick else 36},
            rounds=5,
            seconds=12,
        ),
    ]
    for workers in (0, 1, 2):
        args = {"peer": "files", "episodes": 12 if quick else 60, "workers": workers, "prefetch": 2, "per": 5}
        work = f"{images} onto the device, {workers} worker processes, prefetched"
        found.append(
            Case(
                f"load-{workers}",
                "disk",
                work,
                "DataLoader over .npz",
                "sides.loading:contest",
                args,
                rounds=11,
                seconds=8,
            )
        )
    args = {"peer": "torchrl", "episodes": 12 if quick else 60, "workers": 0, "prefetch": 0, "per": 5}
    work = f"{images} onto the device, no workers"
    return [*found, Case("load-torchrl", "disk", work, "torchrl", "sides.loading:contest", args, rounds=21)]
