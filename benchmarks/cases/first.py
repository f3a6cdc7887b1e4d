"""Before anything runs: importing the library, and compiling each verb for the first time."""

from benchmarks.case import Case

VERBS = (("add", None), ("sample", None), ("add", 0.6), ("sample", 0.6), ("update", 0.6))


def cases(quick: bool) -> list[Case]:
    """Return the cases."""
    length = 2**10 if quick else 2**12
    found = []
    for verb, alpha in VERBS:
        kind = "uniform" if alpha is None else "prioritized"
        found.append(
            Case(
                name=f"compile-{kind}-{verb}",
                question="first",
                work=f"trace, lower and compile {kind} {verb}{' of 256' if verb != 'add' else ''}, caches cleared",
                peer="flashbax",
                build="sides.first:compilation",
                args={"verb": verb, "alpha": alpha, "envs": 16, "length": length},
                searched=("jaxbuffers", "flashbax"),
                goal=1 / 1.2,
                seconds=1,
                least=5,
            )
        )
    for name, more in (("import", ""), ("import-flashbax", "flashbax")):
        found.append(
            Case(
                name=name,
                question="first",
                work="import jaxbuffers, jax and flax in a new process",
                peer="flashbax, jax and flax" if more else "jax and flax alone",
                build="sides.first:imports",
                args={"more": more},
                seconds=3,
                least=5,
            )
        )
    return found
