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
                name=f"store-{name}",
                question="disk",
                work=f"EpisodeStore: {images}, in the page cache",
                peer=peer,
                build="sides.store:windows",
                args={"peer": peer, "episodes": episodes},
                goal=goal,
                seconds=2,
            )
        )
    found.append(
        Case(
            name="store-cold",
            question="disk",
            work=f"EpisodeStore: open and sample {images}, not in the page cache",
            peer="NumPy memory map",
            build="sides.store:cold",
            args={"episodes": episodes},
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
        found.append(
            Case(
                name=name,
                question="disk",
                work=work,
                peer=f"{peer}, not synced",
                build="sides.store:append",
                args=args,
                rounds=21,
                seconds=2,
            )
        )
    many = 10_000 if quick else 1_000_000
    found.append(
        Case(
            name="store-draw",
            question="disk",
            work=f"EpisodeStore: draw 256 transitions from {many:,} episodes",
            peer="NumPy, searchsorted",
            build="sides.store:draw",
            args={"episodes": many},
            seconds=2,
        )
    )
    saved = {"kind": "random bytes", "megabytes": megabytes}
    vault = {"kind": "runs", "megabytes": 26}
    found += [
        Case(
            name="save",
            question="disk",
            work=f"save a ring of {megabytes} MB, random bytes",
            peer="numpy.save, synced",
            build="sides.checkpoints:save",
            args=saved,
            rounds=7,
            seconds=6,
        ),
        Case(
            name="restore",
            question="disk",
            work=f"restore a ring of {megabytes} MB, random bytes",
            peer="numpy.load, unchecked",
            build="sides.checkpoints:restore",
            args=saved,
            rounds=7,
            seconds=5,
        ),
        Case(
            name="save-small",
            question="disk",
            work="save 300 arrays of 16 kB",
            peer="numpy.save, synced",
            build="sides.checkpoints:small",
            args={"arrays": 300},
            rounds=9,
        ),
        Case(
            name="save-vault",
            question="disk",
            work="save a ring of 26 MB, runs of 256 equal bytes",
            peer="flashbax Vault",
            build="sides.checkpoints:vault",
            args=vault,
            rounds=3,
            seconds=5,
        ),
        Case(
            name="save-loop",
            question="disk",
            work="a training loop that saves its ring in the background three times",
            peer="the loop alone",
            build="sides.checkpoints:stall",
            args={"megabytes": 26 if quick else 100, "chunks": 6 if quick else 36},
            rounds=5,
            seconds=8,
        ),
    ]
    for workers in (0, 2):
        # Many batches a turn: what is prefetched while the other side is timed, two to four of them, weighs little.
        args = {"peer": "files", "episodes": 12 if quick else 60, "workers": workers, "prefetch": 2}
        args |= {"per": 5 if quick else 50}
        work = f"{images} onto the device, {workers} worker processes, prefetched"
        found.append(
            Case(
                name=f"load-{workers}",
                question="disk",
                work=work,
                peer="DataLoader over .npz",
                build="sides.loading:contest",
                args=args,
                rounds=11,
                seconds=5,
                least=5,
            )
        )
    args = {"peer": "torchrl", "episodes": 12 if quick else 60, "workers": 0, "prefetch": 0, "per": 5}
    work = f"{images} onto the device, no workers"
    return [
        *found,
        Case(
            name="load-torchrl",
            question="disk",
            work=work,
            peer="torchrl",
            build="sides.loading:contest",
            args=args,
            rounds=21,
        ),
    ]
