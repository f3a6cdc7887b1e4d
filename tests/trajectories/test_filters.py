"""Filters say what a list comprehension over the trajectories says, whatever happened to the pool."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tier import budget

from jaxbuffers import trajectories as jt
from jaxbuffers.errors import ConfigurationError, DtypeError, MissingFieldError, ShapeError
from trajectories.made import trajectory

# Each filter, and what it says in plain Python of (trajectory, number of a step).
FILTERS = {
    "successful()": (jt.successful(), lambda t, i: t.reward >= 1 and t.reward != -1),
    "successful(-3)": (jt.successful(-3), lambda t, i: t.reward != -1),
    "judged()": (jt.judged(), lambda t, i: t.reward != -1),
    "blocked()": (jt.blocked(), lambda t, i: any(s.reward and s.reward.is_blocked for s in t.steps)),
    "same_screenshot()": (jt.same_screenshot(), lambda t, i: bool(t.steps[i].same_as_next_screenshot)),
    "invalid_page()": (jt.invalid_page(), lambda t, i: len(t) == 1 and t.steps[0].observation.image_path == ""),
    "min_length(2)": (jt.min_length(2), lambda t, i: len(t) >= 2),
    "domain": (jt.domain("Entertainment", "Misc."), lambda t, i: t.task.domain in ("Entertainment", "Misc.")),
    "difficulty": (jt.difficulty(1, 3), lambda t, i: t.task.difficulty in (1, 3)),
    "iteration": (jt.iteration(0, 2), lambda t, i: t.iteration in (0, 2)),
    "attempt_level": (jt.attempt_level(0), lambda t, i: t.task.attempt_level == 0),
    "fresh": (jt.fresh(5, 2), lambda t, i: t.policy_version is not None and 3 <= t.policy_version <= 5),
    "columns": (jt.by_columns(lambda c: c["reward"] > 0.2), lambda t, i: t.reward > 0.2),
    "steps": (jt.by_step(lambda steps: steps.step % 2 == 1), lambda t, i: i % 2 == 1),
}
NAMES = st.sampled_from(list(FILTERS))
EXPRESSION = st.recursive(
    NAMES, lambda x: st.tuples(st.just("~"), x) | st.tuples(st.sampled_from("&|"), x, x), max_leaves=5
)


def built(expression):
    """A filter, and its meaning, of an expression."""
    if isinstance(expression, str):
        return FILTERS[expression]
    if expression[0] == "~":
        part, said = built(expression[1])
        return ~part, lambda t, i: not said(t, i)
    (left, a), (right, b) = built(expression[1]), built(expression[2])
    if expression[0] == "&":
        return left & right, lambda t, i: a(t, i) and b(t, i)
    return left | right, lambda t, i: a(t, i) or b(t, i)


TASK = st.builds(
    jt.Task,
    st.just("a"),
    st.sampled_from([None, "Entertainment", "Misc.", "Science"]),
    difficulty=st.none() | st.integers(1, 3),
    attempt_level=st.sampled_from([None, 0, 1]),
)


@st.composite
def made(draw):
    steps = draw(st.integers(1, 4))
    return trajectory(
        draw(st.integers(0, 9)),
        steps,
        draw(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0])),
        draw(st.booleans()),
        images=[draw(st.sampled_from(["", "x"])) for _ in range(steps)],
        task=draw(TASK),
        iteration=draw(st.none() | st.integers(0, 3)),
        process=draw(st.none() | st.integers(0, 1)),
        policy_version=draw(st.none() | st.integers(1, 7)),
    ), draw(st.lists(st.booleans(), min_size=steps, max_size=steps))


OPERATION = st.one_of(
    st.tuples(st.just("add"), st.lists(made(), min_size=1, max_size=3)),
    st.tuples(st.just("judge"), st.integers(0, 20), st.sampled_from([0.0, 0.5, 1.0])),
    st.tuples(st.just("delete"), st.integers(0, 20)),
    st.tuples(st.just("evict"), st.integers(0, 2)),
    st.tuples(st.just("compact")),
)


def with_verdicts(one, same):
    steps = [
        dataclasses.replace(step, same_as_next_screenshot=flag and i + 1 < len(one))
        for i, (step, flag) in enumerate(zip(one.steps, same, strict=True))
    ]
    return dataclasses.replace(one, steps=tuple(steps))


def ordered(held):
    def key(item):
        i, t = item
        return (t.iteration is not None, t.iteration or 0, t.process is not None, t.process or 0, i)

    return sorted(held.items(), key=key)


@settings(max_examples=budget(25, 1500), deadline=None)
@given(
    st.lists(OPERATION, min_size=1, max_size=8),
    EXPRESSION,
    st.none() | st.integers(4, 12),
    st.booleans(),
    st.booleans(),
    st.none() | st.integers(0, 6),
)
def test_filters_say_what_a_list_comprehension_says(operations, expression, capacity, shuffle, pending, count):
    filter, said = built(expression)
    pool = jt.TrajectoryPool(capacity=capacity, shuffle=shuffle, filter=filter, invalid_pages=True)
    held, number = {}, 0
    for name, *what in [*operations, ("last",)]:
        if name == "add":
            for one, same in what[0]:
                one = with_verdicts(one, same)
                while capacity is not None and sum(map(len, held.values())) + len(one) > capacity:
                    del held[min(held)]
                assert pool.add(one) == number
                held[number], number = one, number + 1
        elif name == "judge" and what[0] in held:
            i, reward = what
            last = held[i].steps[-1]
            judged = dataclasses.replace(last.reward, reward=reward, evaluation="late")
            steps = (*held[i].steps[:-1], dataclasses.replace(last, reward=judged))
            held[i] = dataclasses.replace(held[i], steps=steps)
            pool.judge(i, reward=reward, evaluation="late", again=True)
        elif name == "delete" and what[0] in held:
            pool.store.delete(what[0])
            del held[what[0]]
        elif name == "evict":
            pool.store.evict(what[0])
            for i in sorted(held)[: what[0]]:
                del held[i]
        elif name == "compact":
            pool.store.compact(1.0)
        wanted = [(i, k) for i, t in ordered(held) for k in range(len(t)) if said(t, k) and (pending or t.reward != -1)]
        samples = pool.get_training_samples(count, 2.0, pending=pending)
        found = list(zip(samples.trajectory.tolist(), samples.step.tolist(), strict=True))
        assert samples.eligible == len(wanted)
        if count is None or count >= len(wanted):
            assert sorted(found) == sorted(wanted)
            assert shuffle or found == wanted
        else:
            assert len(set(found)) == count
            assert set(found) <= set(wanted)
        for place, sample in zip(found, samples, strict=True):
            one = held[place[0]]
            step = one.steps[place[1]]
            assert sample == {
                "message": step.response.raw_prompt,
                "action": step.response.raw_response,
                "trajectory_reward": one.reward,
                "same_as_next_screenshot": step.same_as_next_screenshot,
            }


def test_the_latest_iterations():
    pool = jt.TrajectoryPool()
    pool.extend([trajectory(i, 1, iteration=number) for i, number in enumerate([4, None, 1, 7, 7, 2])])
    kept = {n: set(pool.get_training_samples(filter=jt.latest(n)).trajectory.tolist()) for n in (1, 2, 9)}
    assert kept == {1: {3, 4}, 2: {0, 3, 4}, 9: {0, 2, 3, 4, 5}}


@dataclasses.dataclass(frozen=True)
class Wrong(jt.Filter):
    """A filter that says one thing of all steps."""

    def mask(self, steps):
        return np.ones(1, bool)


def test_names_of_difficulties_and_columns_of_ones_own():
    pool = jt.TrajectoryPool()
    tasks = [jt.Task("a", difficulty="easy"), jt.Task("b", difficulty="hard"), jt.Task("c")]
    pool.extend([trajectory(i, 1, task=task, columns={"n": i} if i else {}) for i, task in enumerate(tasks)])

    def kept(filter):
        return pool.get_training_samples(filter=filter).trajectory.tolist()

    assert kept(jt.difficulty("hard")) == [1]
    assert kept(~jt.difficulty("hard")) == [0, 2]
    assert kept(jt.by_columns(lambda columns: columns["n"] >= 1)) == [1, 2]
    assert kept(jt.by_columns(lambda columns: columns["n"] < 9)) == [1, 2]  # the first has none
    texts = jt.by_step(lambda steps: steps.field("raw_response") == pool.texts.intern("Action: click(1, 0)"))
    assert kept(texts) == [1]
    assert kept(texts | jt.difficulty("easy")) == [0, 1]
    with pytest.raises(DtypeError, match="column 'difficulty' has no 3"):
        kept(jt.difficulty(3))
    with pytest.raises(MissingFieldError, match="no trajectory has a column 'm'"):
        kept(jt.predicates.column_in("m", (1,)))
    with pytest.raises(ShapeError, match=r"mask of Wrong\(\) must be one bool for each step, \[3\], got bool\[1\]"):
        kept(Wrong())
    with pytest.raises(ValueError, match="read-only"):
        kept(jt.by_columns(lambda columns: np.add(columns["reward"], 1, out=columns["reward"]) > 0))
    with pytest.raises(DtypeError, match="must return a bool array"):
        kept(jt.by_columns(lambda columns: columns["n"]))
    with pytest.raises(ShapeError, match=r"one bool for each step, \[3\]"):
        kept(jt.by_step(lambda steps: np.ones(2, bool)))


def test_what_no_trajectory_has_is_never_kept():
    pool = jt.TrajectoryPool()
    pool.add(trajectory(0, 1, task=jt.Task("a", domain=None)))
    for filter in (
        jt.difficulty(1),
        jt.difficulty("easy"),
        jt.domain("a"),
        jt.iteration(0),
        jt.latest(2),
        jt.fresh(1, 1),
    ):
        assert pool.get_training_samples(filter=filter).eligible == 0
        assert pool.get_training_samples(filter=~filter).eligible == 1
        assert jt.TrajectoryPool().get_training_samples(filter=filter).eligible == 0


def test_filters_are_values_that_say_what_they_are():
    assert jt.successful() & ~jt.blocked() == jt.successful(1.0) & ~jt.blocked()
    assert jt.successful() & ~jt.blocked() != jt.successful(0.5) & ~jt.blocked()
    assert repr(jt.domain("a") | jt.min_length(2) & jt.iteration(3)) == "(domain('a') | (min_length(2) & iteration(3)))"
    assert len({jt.judged(), jt.judged(), ~jt.judged()}) == 2
    for wrong in (
        lambda: jt.successful() & jt.blocked,
        lambda: jt.successful() | True,
        lambda: jt.domain(),
        lambda: jt.domain(3),
    ):
        with pytest.raises(ConfigurationError):
            wrong()
    for wrong in (
        lambda: jt.successful("1"),
        lambda: jt.min_length(0),
        lambda: jt.latest(0),
        lambda: jt.fresh(3, -1),
        lambda: jt.iteration(True),
    ):
        with pytest.raises(ConfigurationError):
            wrong()


def test_filters_are_not_joined_by_words():
    for joined in (lambda: jt.judged() and jt.blocked(), lambda: not jt.judged(), lambda: jt.blocked() or jt.judged()):
        with pytest.raises(ConfigurationError, match="neither true nor false: join filters by &"):
            joined()
