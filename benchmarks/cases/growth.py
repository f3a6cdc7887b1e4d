"""Growth with size: each verb by itself, as curves over rows and over environments."""

from benchmarks.case import Case

FLASHBAX = ("jaxbuffers", "flashbax")
ROWS, ENVS = (10**4, 10**5, 10**6, 10**7), (1, 16, 256, 4096)
VERBS = (("add", None), ("sample", None), ("add", 0.6), ("sample", 0.6), ("update", 0.6))


def cases(quick: bool) -> list[Case]:
    """Return the cases."""
    found = []
    for verb, alpha in VERBS:
        kind = "uniform" if alpha is None else "prioritized"
        args = {"verb": verb, "alpha": alpha, "steps": 4 if quick else 50}
        for axis, points, more, said in (
            ("size", (10**4, 10**5) if quick else ROWS, {"envs": 16}, "16 environments, by rows"),
            ("envs", ENVS, {"size": 10**4 if quick else 2**20}, f"{10**4 if quick else 2**20:,} rows, by environments"),
        ):
            name = f"grow-{kind}-{verb}-{'rows' if axis == 'size' else 'envs'}"
            work = f"{kind} {verb} {'of 256' if verb != 'add' else ''}".strip() + f", {said}"
            found.append(
                Case(
                    name=name,
                    question="growth",
                    work=work,
                    peer="flashbax",
                    build="sides.growth:verb",
                    args=args | more,
                    searched=FLASHBAX,
                    seconds=0.7,
                    rounds=41,
                    axis=axis,
                    points=points,
                )
            )
    small, large = (10**5, 10**6) if quick else (10**5, 10**7)
    found.append(
        Case(
            name="grow-tree",
            question="growth",
            work=f"prioritized sample of 256 in a scan, {large:,} rows against {small:,}",
            peer=f"{small:,} rows",
            build="sides.prioritized:capacity",
            args={"small": small, "large": large, "steps": 20 if quick else 100},
            searched=(f"{large:,} rows", f"{small:,} rows"),
            goal=1 / 1.5,
        ),
    )
    for shards in (2, 8):
        flags = f"--xla_force_host_platform_device_count={shards}"
        work = f"add 16 rows, sample 32 windows and update on each of {shards} devices of the CPU"
        found.append(
            Case(
                name=f"grow-shards-{shards}",
                question="growth",
                work=work,
                peer="as many separate replays, one after the other",
                build="sides.shards:contest",
                args={"shards": shards, "steps": 20 if quick else 200},
                searched=("jaxbuffers", "separate replays"),
                env={"XLA_FLAGS": flags},
            )
        )
    return found
