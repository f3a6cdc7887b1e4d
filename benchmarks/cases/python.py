"""From Python: one call after another, as people write loops around Gymnasium."""

from benchmarks.case import Case

BOTH, OURS = ("jaxbuffers", "flashbax"), ("jaxbuffers",)
NAMES = {"cpprb": "cpprb (C++)"}


def cases(quick: bool) -> list[Case]:
    """Return the cases."""
    size = 2**15 if quick else 2**20
    call = {"envs": 16, "length": size // 16}
    tree = 2**18 if quick else size
    found = [
        Case(
            "call-uniform",
            "python",
            f"jitted sample of 256 pairs, 16 environments x {size // 16:,} rows",
            "flashbax",
            "sides.uniform:call",
            call,
            BOTH,
            goal=3.0,
        ),
        Case(
            "call-prioritized",
            "python",
            f"jitted prioritized sample of 256 pairs, 16 environments x {tree // 16:,} rows",
            "flashbax",
            "sides.prioritized:call",
            {"envs": 16, "length": tree // 16},
            BOTH,
            goal=1.5,
        ),
        Case(
            "call-windows",
            "python",
            "jitted sample of 16 x 64 windows of 64x64x3 uint8",
            "memcpy into a new array",
            "sides.images:call",
            {"length": 640 if quick else 2048},
            OURS,
        ),
        Case(
            "step-prioritized",
            "python",
            f"prioritized sample of 256 + update, {tree:,} rows",
            NAMES["cpprb"],
            "sides.host_prioritized:step",
            {"capacity": tree},
            OURS,
            goal=1.0,
        ),
    ]
    for peer, together, goal in (
        ("cpprb", 1, 1.0),
        ("Stable-Baselines3", 1, None),
        ("torchrl", 1, None),
        ("cpprb", 16, 2.0),
        ("torchrl", 16, None),
    ):
        args = {"peer": peer, "capacity": size, "together": together, "calls": 10 if quick else 2048 // together}
        work = f"HostReplay: insert {'one row' if together == 1 else f'{together} rows, each'}, {size:,} rows"
        name = f"insert-{together}-{peer.lower()}"
        found.append(Case(name, "python", work, NAMES.get(peer, peer), "sides.host:insert", args, OURS, goal))
    for peer, image, goal in (
        ("cpprb", False, 1.0),
        ("Stable-Baselines3", False, None),
        ("torchrl", False, None),
        ("cpprb", True, 2.0),
        ("Stable-Baselines3", True, None),
        ("torchrl", True, None),
    ):
        rows = (2_560 if quick else 20_000) if image else size
        what = "pairs of 64x64x3 images" if image else "transitions"
        name = f"sample-{'images-' * image}{peer.lower()}"
        args = {"peer": peer, "capacity": rows, "image": image}
        work = f"HostReplay: sample 256 {what}, {rows:,} rows"
        found.append(Case(name, "python", work, NAMES.get(peer, peer), "sides.host:sample", args, OURS, goal))
    return found
