"""Whole training runs: the question that users ask. Wall time of a run, and the curves, which must be the same."""

from benchmarks.case import Case

FLASHBAX = ("jaxbuffers", "flashbax")


def cases(quick: bool) -> list[Case]:
    """Return the cases."""
    found = []
    for seeds, every, steps, seconds in (
        (1, 1, 15_000, 25),
        (1, 10, 50_000, 25),
        (8, 1, 8_000, 50),
        (8, 10, 30_000, 50),
    ):
        steps = 200 if quick else steps
        often = "every step" if every == 1 else f"every {every}th step"
        work = (
            f"DQN on CartPole, {steps:,} steps of 10 environments, learning in {often}, {seeds} seed{'s' * (seeds > 1)}"
        )
        args = {"steps": steps, "every": every, "seeds": seeds}
        found.append(
            Case(
                f"dqn-{seeds}-every-{every}",
                "training",
                work,
                "flashbax",
                "training.dqn:contest",
                args,
                FLASHBAX,
                1.0,
                seconds,
            )
        )
    updates, steps, loop = (20, 200, 200) if quick else (300, 10_000, 3_000)
    found += [
        Case(
            "ppo",
            "training",
            f"PPO on CartPole, {updates} rollouts of 128 steps of 4 environments, 4 seeds",
            "a permutation",
            "training.ppo:contest",
            {"updates": updates, "seeds": 4},
            ("jaxbuffers", "a permutation"),
            1.0,
            25,
        ),
        Case(
            "recurrent",
            "training",
            f"recurrent Q-learning on CartPole without velocities, prioritized sequences of "
            f"16, {steps:,} steps of 8 environments, 2 seeds",
            "flashbax",
            "training.recurrent:contest",
            {"steps": steps, "seeds": 2},
            FLASHBAX,
            1.0,
            50,
        ),
    ]
    for peer in ("cpprb", "Stable-Baselines3"):
        work = f"DQN on CartPole in a Python loop, {loop:,} steps of one environment"
        args = {"peer": peer, "steps": loop}
        found.append(
            Case(
                f"dqn-python-{peer.lower()}",
                "training",
                work,
                peer,
                "training.python_loop:contest",
                args,
                ("jaxbuffers",),
                1.0,
                35,
            )
        )
    return found
