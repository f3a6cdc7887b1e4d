"""Change the library in small ways, and see whether the quick tests notice: ``make mutants``.

    python tests/mutation [--file windows/queue.py] [--sample 30] [--out mutants.jsonl]

Each mutant is a fork of a process that has imported JAX, NumPy and pytest, but not the library: nothing is written to
disk, and a mutant costs what its tests cost until one of them fails. What was tried already is read from ``--out``.
"""

import argparse
import collections
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import resource
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 900  # of processor time: what takes longer is a loop that never ends
HEAVY = "chex flax.serialization flax.struct hypothesis.stateful jax.experimental.checkify numpy pytest scipy.stats"

ALREADY = "ignore::pytest.PytestAssertRewriteWarning"  # of plugins that are imported already
OPTIONS = ["-x", "-q", "-p", "no:cacheprovider", "-W", ALREADY]


class Finder(importlib.abc.MetaPathFinder):
    """Finds one module, changed."""

    def __init__(self, path, tree):
        self.name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        self.path, self.code = path, compile(tree, str(path), "exec")

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self.name:
            return None
        loader = importlib.machinery.SourceFileLoader(fullname, str(self.path))
        loader.get_code = lambda _: self.code
        return importlib.util.spec_from_loader(fullname, loader)


def outcome(arguments, finder=None):
    """Run tests in a fork: "survived" if all pass, else "killed", or "endless"; and the seconds it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        nothing = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nothing, stream)
        if finder is not None:
            sys.meta_path.insert(0, finder)
        os._exit(sys.modules["pytest"].main([*arguments, *OPTIONS, "-m", "not long"]))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = {0: "survived", 5: "not tested", -24: "endless", -9: "endless"}
    return said.get(status, "killed"), round(seconds, 1)


def tried(out):
    """What a file of results says: dict from (file, place, way) to a result."""
    if not out.exists():
        return {}
    results = map(json.loads, out.read_text().splitlines())
    return {(result["file"], result["place"], result["way"]): result for result in results}


def main():
    """Try the mutants, and say what became of them."""
    from mutation.mutate import mutants, mutated
    from mutation.tests_of import TESTS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", choices=TESTS, action="append", help="one of those that have a list of tests")
    parser.add_argument("--sample", type=int, help="try so many of each file, drawn with a fixed seed; default: all")
    parser.add_argument("--again", action="store_true", help="try those that survived once more")
    parser.add_argument("--out", type=Path, default=Path("mutants.jsonl"), help="where results are kept")
    args = parser.parse_args()
    for name in HEAVY.split():
        importlib.import_module(name)
    results = tried(args.out)
    for name in args.file or TESTS:
        path = ROOT / "jaxbuffers" / name
        source, arguments = path.read_text(encoding="utf-8"), [str(ROOT / "tests" / test) for test in TESTS[name]]
        chosen = mutants(source)
        random.Random(0).shuffle(chosen)
        chosen = chosen[: args.sample]
        missing = [m for m in chosen if (name, m.place, m.way) not in results]
        if args.again:
            survived = {key for key, result in results.items() if result["result"] == "survived"}
            missing = [m for m in chosen if (name, m.place, m.way) in survived]
        if missing:
            result, seconds = outcome(arguments)
            print(f"{name}: without a change, {result} after {seconds} s", flush=True)
            assert result == "survived"
        for mutant in missing:
            result, seconds = outcome(arguments, Finder(path, mutated(source, mutant)))
            entry = {"file": name, **vars(mutant), "result": result, "seconds": seconds}
            results[name, mutant.place, mutant.way] = entry
            with args.out.open("a") as file:
                file.write(json.dumps(entry) + "\n")
            print(f"{result:9} {seconds:6.1f} s  {name} {mutant}".partition("\n")[0], flush=True)
    for name in args.file or TESTS:
        said = collections.Counter(each["result"] for each in results.values() if each["file"] == name)
        print(f"{name}: {said.total() - said['survived']} of {said.total()} noticed")


if __name__ == "__main__":
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # threads do not survive a fork
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    os.chdir(ROOT)
    from tier import begin_quick

    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
    begin_quick()
    main()
