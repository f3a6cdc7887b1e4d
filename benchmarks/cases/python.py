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
            name="call-uniform",
            question="python",
            work=f"jitted sample of 256 pairs, 16 environments x {size // 16:,} rows",
            peer="flashbax",
            build="sides.uniform:call",
            args=call,
            searched=BOTH,
            goal=3.0,
        ),
        Case(
            name="call-prioritized",
            question="python",
            work=f"jitted prioritized sample of 256 pairs, 16 environments x {tree // 16:,} rows",
            peer="flashbax",
            build="sides.prioritized:call",
            args={"envs": 16, "length": tree // 16},
            searched=BOTH,
            goal=1.5,
        ),
        Case(
            name="call-windows",
            question="python",
            work="jitted sample of 16 x 64 windows of 64x64x3 uint8",
            peer="memcpy into a new array",
            build="sides.images:call",
            args={"length": 640 if quick else 2048},
            searched=OURS,
        ),
        Case(
            name="step-prioritized",
            question="python",
            work=f"prioritized sample of 256 + update, {tree:,} rows",
            peer=NAMES["cpprb"],
            build="sides.host_prioritized:step",
            args={"capacity": tree},
            searched=OURS,
            goal=1.0,
        ),
    ]
    for peer, together, goal in (
        ("cpprb", 1, 1.0),
        ("Stable-Baselines3", 1, None),
        ("cpprb", 16, 2.0),
        ("torchrl", 16, None),
    ):
        args = {"peer": peer, "capacity": size, "together": together, "calls": 10 if quick else 2048 // together}
        work = f"HostReplay: insert {'one row' if together == 1 else f'{together} rows, each'}, {size:,} rows"
        name = f"insert-{together}-{peer.lower()}"
        found.append(
            Case(
                name=name,
                question="python",
                work=work,
                peer=NAMES.get(peer, peer),
                build="sides.host:insert",
                args=args,
                searched=OURS,
                goal=goal,
            )
        )
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
        found.append(
            Case(
                name=name,
                question="python",
                work=work,
                peer=NAMES.get(peer, peer),
                build="sides.host:sample",
                args=args,
                searched=OURS,
                goal=goal,
            )
        )
    return found
