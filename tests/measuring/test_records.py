"""The records of the benchmarks are valid, and what is written of a run shows losses like gains."""

import ast
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from benchmarks import against, charts, page
from benchmarks.case import QUESTIONS, Difference
from benchmarks.cases import cases
from benchmarks.run import chosen
from benchmarks.training.curves import BINS, Curves, compare, p_value

ROOT = Path(__file__).parents[2] / "benchmarks"
FULL, QUICK = cases(False), cases(True)


def signature(build):
    """Return the arguments of the function that a record names, without importing it: it may need peers."""
    module, function = build.split(":")
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    (found,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    arguments = [each.arg for each in found.args.args]
    return set(arguments), set(arguments[: len(arguments) - len(found.args.defaults)])


def test_names_are_unique_and_questions_known():
    names = [case.name for case in FULL]
    assert len(set(names)) == len(names)
    assert {case.question for case in FULL} == set(QUESTIONS)
    assert [case.name for case in QUICK] == names


@pytest.mark.parametrize("case", FULL + QUICK, ids=lambda case: case.name)
def test_a_record_is_valid(case):
    allowed, needed = signature(case.build)
    given = set(case.args) | ({case.axis} if case.points else set())
    assert needed <= given <= allowed
    assert case.work
    assert case.peer
    assert case.goal is None or case.goal > 0
    assert bool(case.axis) == bool(case.points)
    makes_no_ring = case.name in ("gate", "ppo")  # both sides make what they need anew
    assert case.question not in ("loop", "training") or case.searched or makes_no_ring


def test_the_times_that_are_declared_leave_room_in_twenty_minutes():
    assert sum(case.seconds * max(1, len(case.points)) for case in FULL) < 6 * 60


def test_only_takes_names_and_questions():
    assert {case.question for case in chosen(["disk"], False)} == {"disk"}
    assert {case.name for case in chosen(["prioritized-16"], False)} == {"prioritized-16", "prioritized-16-plain"}
    assert len(chosen([], False)) == len(FULL)
    assert not chosen(["nothing of the kind"], False)


def seeds(mean, count, seed):
    curves, random = Curves(), np.random.default_rng(seed)
    curves.add(mean + 10 * random.standard_normal((count, 1)) + np.zeros(BINS))
    return curves


def test_curves_of_equal_learners_pass_and_those_of_different_ones_do_not():
    found = compare({"ours": seeds(100, 16, 0), "theirs": seeds(100, 16, 1)})
    assert "p = " in found["note"]
    assert {name: np.shape(curves) for name, curves in found["curves"].items()} == {"ours": (16, BINS)} | {
        "theirs": (16, BINS)
    }
    with pytest.raises(Difference, match="the curves differ"):
        compare({"ours": seeds(100, 16, 0), "theirs": seeds(120, 16, 1)})


def test_the_permutation_test_is_two_sided_and_exact_for_few_seeds():
    assert p_value(np.array([1.0, 2, 3]), np.array([1.0, 2, 3])) == 1
    low, high = np.arange(4.0), 10 + np.arange(4.0)
    assert p_value(low, high) == p_value(high, low) == pytest.approx(2 / 70, abs=0.01)  # 70 ways to choose 4 of 8


def result(ratio, **more):
    spread = [10.0, 9.0, 11.0]
    found = {"ours": spread, "theirs": [x * ratio[0] for x in spread], "ratio": ratio, "others": 0.01, "load": 1.0}
    record = {"name": "a-case", "question": "loop", "work": "work", "peer": "peer", "goal": 2.0, "axis": ""}
    return record | {"found": [found | {"point": None, "note": ""}]} | more


GAIN, LOSS = result([4.0, 3.5, 4.5]), result([0.25, 0.2, 0.3], name="another")


def test_a_loss_is_as_far_from_the_middle_of_the_picture_as_a_gain():
    axes = charts.ratios("title", [GAIN, LOSS]).axes[0]
    assert axes.get_xscale() == "log"
    left, right = axes.get_xlim()
    assert left * right == pytest.approx(1)
    assert left < 0.2 < 4.5 < right
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert all("against peer" in label for label in labels)


def test_the_table_has_losses_goals_and_units():
    (gain,), (loss,) = page.rows(GAIN), page.rows(LOSS)
    assert gain == ("work", "peer", "10.0 µs (9.00 to 11.0)", "40.0 µs (36.0 to 44.0)", "4.00 (3.50 to 4.50)",
                    "faster", "2.00 reached", "1%")  # fmt: skip
    assert loss[5:7] == ("slower", "2.00 not reached")
    assert page.times([2.5e6, 2e6, 3e6]) == "2.50 s (2.00 to 3.00)"


def test_a_run_is_written_with_a_table_and_a_picture_for_each_question(tmp_path, monkeypatch):
    curve = [LOSS["found"][0] | {"point": point} for point in (1, 10)]
    learned = GAIN["found"][0] | {"curves": {"ours": [[1, None]], "peer": [[1, 2]]}}
    results = [GAIN, LOSS, result([1, 1, 1], question="growth", axis="size", found=curve, name="c")]
    results.append(result([1, 1, 1], question="training", found=[learned], name="d"))
    for name in ("JSON", "PAGE", "README"):
        monkeypatch.setattr(page, name, tmp_path / getattr(page, name).name)
    page.README.write_text(f"before\n{page.BEGIN}\nold figures\n{page.END}\nafter\n")
    page.record({"machine": "a machine", "results": results})
    written = page.PAGE.read_text()
    assert "## In a compiled loop" in written
    assert "| work: 10 | peer |" in written
    for picture in ("loop", "growth", "training", "curves", "returns"):
        assert f"benchmarks-{picture}.png" in written
        assert (tmp_path / f"benchmarks-{picture}.png").stat().st_size > 1_000
    assert page.README.read_text() == f"before\n{page.figures(results)}\nafter\n"
    again = result([9, 9, 9], name="another")
    page.record({"machine": "a machine", "results": [again]}, update=True)
    names = [each["name"] for each in json.loads(page.JSON.read_text())["results"]]
    assert names == ["a-case", "c", "d", "another"]
    assert "Recorded before" not in page.PAGE.read_text()
    page.record({"machine": "a second machine", "results": [again]}, update=True)
    on_the_first = " ".join(page.PAGE.read_text().split())
    assert "- a second machine - Recorded before, a machine: a-case, c, d." in on_the_first
    page.record({"machine": "a machine", "results": [again]}, update=True)
    assert "Recorded before" not in page.PAGE.read_text()


def test_old_beside_new_is_measured_in_the_environment_that_the_case_asks_for(monkeypatch, tmp_path):
    seen = []

    def run(command, env, **_):
        seen.append(env["XLA_FLAGS"])
        Path(command[4]).write_text(json.dumps([{"point": None, "times": [1.0, 2.0, 3.0]}]))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(against.subprocess, "run", run)
    case = next(each for each in QUICK if each.env)
    ((work, *_, ratio),) = against.beside(case, [tmp_path, tmp_path], True, 2, 3)
    assert seen == [case.env["XLA_FLAGS"]] * 4
    assert (work, ratio) == (case.work, "1.00 (1.00 to 1.00)")


@pytest.mark.skipif(not page.JSON.exists(), reason="no run has been recorded yet")
def test_the_page_and_the_figures_of_the_readme_are_those_of_the_recorded_run():
    recorded = json.loads(page.JSON.read_text())
    assert page.PAGE.read_text() == page.text(recorded)
    assert page.figures(recorded["results"]) in page.README.read_text()
