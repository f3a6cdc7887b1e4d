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
            found.append(Case(name, "texts", f"intern {said}", peer, "sides.texts:intern", args | {"peer": peer}))
        found.append(Case(f"lookup-{kind}", "texts", f"look up {said}", "Python list", "sides.texts:lookup", args))
        found.append(
            Case(
                f"intern-{kind}-file",
                "texts",
                f"intern {said}, on disk and committed",
                "SQLite, UNIQUE text",
                "sides.texts:file",
                args,
                rounds=5,
            )
        )
    marked, steps = (40_000, 200) if quick else (4_000_000, 20_000)
    found += [
        Case(
            "intern-tensordict",
            "texts",
            "intern 1,000 texts of 100 B, each",
            "tensordict",
            "sides.texts:intern",
            {"number": 1_000, "size": 100, "peer": "tensordict"},
        ),
        Case("mark", "texts", f"mark {marked:,} ids", "Python set", "sides.texts:mark", {"marked": marked}),
    ]
    for verb, said in (("ingest", "ingest into a pool on disk, a step"), ("filter", "filter"), ("draw", "draw 1,800")):
        work = f"trajectories of {steps:,} steps: {said}"
        found.append(
            Case(
                f"pool-{verb}",
                "texts",
                work,
                "a list of dicts",
                "sides.pools:contest",
                {"verb": verb, "steps": steps},
                rounds=5 if verb == "ingest" else 51,
            )
        )
    return found
