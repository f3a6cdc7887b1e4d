"""In a compiled loop: both sides in one program, as an agent that lives on the device runs them."""

from benchmarks.case import Case

BOTH = ("jaxbuffers", "flashbax")


def cases(quick: bool) -> list[Case]:
    """Return the cases."""
    found = []
    for name, envs, length, goal in (
        ("uniform-1", 1, 2**20, None),
        ("uniform-16", 16, 2**16, 2.0),
        ("uniform-1024", 1024, 2**10, 2.0),
        ("uniform-16-in-cache", 16, 2**12, None),
    ):
        length = length if not quick else max(2**15 // envs, 32)
        work = f"add + sample 256 pairs, {envs} environment{'s' * (envs > 1)} x {length:,} rows"
        args = {"envs": envs, "length": length, "steps": 4 if quick else 300}
        found.append(
            Case(
                name=name,
                question="loop",
                work=work,
                peer="flashbax",
                build="sides.uniform:scan",
                args=args,
                searched=BOTH,
                goal=goal,
            )
        )
    length = 2**15 if quick else 2**20
    work = f"add + sample 256 pairs, 1 environment x {length:,} rows (brax rolls a full ring at every insert)"
    args = {"length": length, "steps": 2 if quick else 10}
    found.append(
        Case(
            name="uniform-brax",
            question="loop",
            work=work,
            peer="brax",
            build="sides.uniform:brax",
            args=args,
            searched=("jaxbuffers", "brax"),
        )
    )
    for name, envs, goal, weighted in (
        ("prioritized-1", 1, 2.0, True),
        ("prioritized-16", 16, 2.0, True),
        ("prioritized-1024", 1024, 5.0, True),
        ("prioritized-16-plain", 16, None, False),
    ):
        length = (2**18 if quick else 2**20) // envs
        streams = f"{envs} environment{'s' * (envs > 1)} x {length:,} rows"
        work = f"add + sample 256 + TD step + update, prioritized, {streams}"
        if not weighted:
            work += " (priorities without the weights: XLA copies flashbax's tree twice a step)"
        args = {"envs": envs, "length": length, "steps": 4 if quick else 100, "weighted": weighted}
        found.append(
            Case(
                name=name,
                question="loop",
                work=work,
                peer="flashbax",
                build="sides.prioritized:scan",
                args=args,
                searched=BOTH,
                goal=goal,
            )
        )
    return [*found, *_others(quick)]


def _others(quick: bool) -> list[Case]:
    length = 640 if quick else 2048
    windows = {"length": length, "steps": 2 if quick else 20}
    epoch = {"envs": 64 if quick else 1024, "steps": 16, "width": 128, "batch": 64 if quick else 1024}
    rollout = f"one epoch of minibatches of {epoch['batch']} over {epoch['envs']} x 16 rows of 128 floats"
    ours, seeds = ("jaxbuffers",), {"every": 10, "steps": 50 if quick else 400, "warm_up": 10 if quick else 100}
    return [
        Case(
            name="windows",
            question="loop",
            work="sample 16 x 64 windows of 64x64x3 uint8",
            peer="memcpy into an old array",
            build="sides.images:scan",
            args=windows,
            searched=ours,
            goal=1 / 1.3,
        ),
        Case(
            name="epoch",
            question="loop",
            work=f"{rollout}, Rollout.minibatches",
            peer="PyTorch",
            build="sides.epochs:epoch",
            args=epoch | {"laid_out": False},
            searched=ours,
            goal=1.0,
        ),
        Case(
            name="epoch-flat",
            question="loop",
            work=f"{rollout}, flatten + minibatches",
            peer="PyTorch",
            build="sides.epochs:epoch",
            args=epoch | {"laid_out": True},
            searched=ours,
            goal=1.0,
        ),
        Case(
            name="gate",
            question="loop",
            work="a step of 8 seeds of a Q-learner under vmap that learn every tenth time, gated by state.adds",
            peer="the same, gated by can_sample",
            build="gates:contest",
            args=seeds,
        ),
    ]
