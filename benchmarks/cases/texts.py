"""Texts, and trajectories of web agents: interned, looked up, freed; ingested, filtered, drawn."""

from benchmarks.case import Case


def cases(quick: bool) -> list[Case]:
    """Return the cases."""
    found = []
    for kind, number, size in (("short", 100_000, 100), ("long", 4_000, 50_000)):
        number = 100 if quick else number
        args, said = {"number": number, "size": size}, f"{number:,} texts of {size:,} B, each"
        for peer in ("NumPy object array", "Python dict"):
            name = f"intern-{kind}-{peer.split()[-1]}"
            found.append(
                Case(
                    name=name,
                    question="texts",
                    work=f"intern {said}",
                    peer=peer,
                    build="sides.texts:intern",
                    args=args | {"peer": peer},
                )
            )
        found.append(
            Case(
                name=f"lookup-{kind}",
                question="texts",
                work=f"look up {said}",
                peer="Python list",
                build="sides.texts:lookup",
                args=args,
            )
        )
        found.append(
            Case(
                name=f"intern-{kind}-file",
                question="texts",
                work=f"intern {said}, on disk and committed",
                peer="SQLite, UNIQUE text",
                build="sides.texts:file",
                args=args,
                rounds=5,
            )
        )
    marked, steps = (40_000, 200) if quick else (4_000_000, 20_000)
    found += [
        Case(
            name="intern-tensordict",
            question="texts",
            work="intern 1,000 texts of 100 B, each",
            peer="tensordict",
            build="sides.texts:intern",
            args={"number": 1_000, "size": 100, "peer": "tensordict"},
        ),
        Case(
            name="mark",
            question="texts",
            work=f"mark {marked:,} ids",
            peer="Python set",
            build="sides.texts:mark",
            args={"marked": marked},
        ),
    ]
    for verb, said in (("ingest", "ingest into a pool on disk, a step"), ("filter", "filter"), ("draw", "draw 1,800")):
        work = f"trajectories of {steps:,} steps: {said}"
        found.append(
            Case(
                name=f"pool-{verb}",
                question="texts",
                work=work,
                peer="a list of dicts",
                build="sides.pools:contest",
                args={"verb": verb, "steps": steps},
                rounds=5 if verb == "ingest" else 51,
            )
        )
    return found
