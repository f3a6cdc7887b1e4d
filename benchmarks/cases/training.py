"""Whole training runs: the question that users ask. Wall time of a run, and the curves, which must be the same."""

from benchmarks.case import Case

FLASHBAX = ("jaxbuffers", "flashbax")


def cases(quick: bool) -> list[Case]:
    """Return the cases."""
    found = []
    for seeds, every, steps in ((1, 1, 6_000), (1, 10, 20_000), (8, 1, 4_000), (8, 10, 15_000)):
        steps = 200 if quick else steps
        often = "every step" if every == 1 else f"every {every}th step"
        said = "1 seed" if seeds == 1 else f"{seeds} seeds under vmap"
        work = f"DQN on CartPole, {steps:,} steps of 10 environments, learning in {often}, {said}"
        args = {"steps": steps, "every": every, "seeds": seeds}
        found.append(
            Case(
                name=f"dqn-{seeds}-every-{every}",
                question="training",
                work=work,
                peer="flashbax",
                build="training.dqn:contest",
                args=args,
                searched=FLASHBAX,
                goal=1.0,
                seconds=15,
                least=5 if seeds == 1 else 3,
            )
        )
    updates, steps, loop = (20, 200, 200) if quick else (200, 3_000, 1_500)
    found += [
        Case(
            name="ppo",
            question="training",
            work=f"PPO on CartPole, {updates} rollouts of 128 steps of 4 environments, 4 seeds",
            peer="a permutation",
            build="training.ppo:contest",
            args={"updates": updates, "seeds": 4},
            goal=1.0,
            seconds=15,
        ),
        Case(
            name="recurrent",
            question="training",
            work=f"recurrent Q-learning on CartPole without velocities, prioritized sequences of "
            f"16, {steps:,} steps of 8 environments, 2 seeds",
            peer="flashbax",
            build="training.recurrent:contest",
            args={"steps": steps, "seeds": 2},
            searched=FLASHBAX,
            goal=1.0,
            seconds=15,
        ),
    ]
    for peer in ("cpprb", "Stable-Baselines3"):
        work = f"DQN on CartPole in a Python loop, {loop:,} steps of one environment"
        args = {"peer": peer, "steps": loop}
        found.append(
            Case(
                name=f"dqn-python-{peer.lower()}",
                question="training",
                work=work,
                peer=peer,
                build="training.python_loop:contest",
                args=args,
                searched=("jaxbuffers",),
                goal=1.0,
                seconds=15,
                least=5,
            )
        )
    return found
