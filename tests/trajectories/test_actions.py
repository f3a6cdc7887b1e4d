"""Actions are typed, x comes before y in every way of writing them, and nothing else is taken for an action."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tier import budget

from jaxbuffers.errors import ConfigurationError, DtypeError, ResponseError
from jaxbuffers.trajectories import (
    Back,
    Click,
    Goto,
    Scroll,
    Stop,
    Type,
    Wait,
    action_of,
    parse_action,
    parse_response,
    render_action,
)

NUMBER = st.integers(0, 10**6) | st.sampled_from([10**300, 5e-324]) | st.floats(0, 1.7976931348623157e308)
TEXT = st.text(st.characters(codec=None, categories=None), max_size=12)
POINT = st.tuples(NUMBER, NUMBER) | st.tuples(st.none(), st.none())
DIRECTION = st.sampled_from(["up", "down", "left", "right"])
ACTION = st.one_of(
    st.builds(Click, NUMBER, NUMBER),
    st.builds(lambda text, point: Type(text, *point), TEXT, POINT),
    st.builds(lambda way, far, point: Scroll(way, far, *point), DIRECTION, st.none() | NUMBER, POINT),
    st.builds(Goto, TEXT),
    st.just(Back()),
    st.builds(Wait, st.none() | NUMBER),
    st.builds(Stop, st.none() | TEXT),
)

XY = [
    "click(12, 34)", " Click( 12,34 )", "click(x=12, y=34)", "click(y=34, x=12)", "click(12, y=34)", "tap(12, 34)",
    {"action": "click", "x": 12, "y": 34}, {"key": "click", "y": 34, "x": 12},
    {"name": "click", "arguments": {"x": 12, "y": 34}},
    {"action": "left_click", "coordinate": [12, 34]}, {"type": "click", "args": {"point": [12, 34]}},
    {"name": "computer", "arguments": {"action": "click", "coordinate": [12, 34]}},
    '{"name": "click", "arguments": {"x": 12, "y": 34}}', '```json\n{"action": "click", "coordinate": [12, 34]}\n```',
]  # fmt: skip


@pytest.mark.parametrize("written", XY, ids=str)
def test_x_comes_before_y_however_it_is_written(written):
    assert parse_action(written) == Click(12, 34) != Click(34, 12)
    response = {"action": written} if isinstance(written, str) else {"tool_call": written}
    assert action_of(parse_response(json.dumps(response))) == Click(12, 34)
    assert action_of({"action": "back()", **response}) == Click(12, 34)


def test_x_comes_before_y_in_every_action_that_has_a_point():
    for action in (Click(12, 34), Type("a", 12, 34), Scroll("up", 3, 12, 34)):
        assert (action.x, action.y) == (12, 34)
        assert parse_action(render_action(action)) == action
        name, given = type(action).__name__.lower(), dict(vars(action))
        given["coordinate"] = [given.pop("x"), given.pop("y")]
        assert parse_action({"name": name, "arguments": given}) == action


OTHERS = {
    "type('it\\'s \"red\"')": Type('it\'s "red"'),
    'type("red", x=1, y=2.5)': Type("red", 1, 2.5),
    "input('a', 1, 2)": Type("a", 1, 2),
    "scroll('down')": Scroll("down"),
    "scroll(direction='up', amount=300)": Scroll("up", 300),
    "goto('https://example.org/?a=(1,2)')": Goto("https://example.org/?a=(1,2)"),
    "back": Back(),
    "go_back()": Back(),
    "wait(2.5,)": Wait(2.5),
    "wait()": Wait(),
    "stop": Stop(),
    'answer("42")': Stop("42"),
    "stop(null)": Stop(),
}


@pytest.mark.parametrize("text", OTHERS)
def test_actions_in_words(text):
    assert parse_action(text) == OTHERS[text]


REFUSED = [
    "", "click", "click(", "click(12)", "click(12, 34", "click(12, 34) please", "click(1, 2, 3)", "click(x=1, 2)",
    "click(1, x=2)",
    "click(x=1, x=2)", "click(-1, 2)", "click('1', 2)", "click(true, 2)", "click(1e999, 2)", "click(NaN, 2)",
    "click(z=1)",
    "click(1 2)", "type(red)", "type(3)", "type('a', 1)", "type('a\nb')", "type('\\x')", "scroll('north')",
    "scroll()", "goto()", "back(1)",
    "wait(-1)", "stop(3)", "jump(1, 2)", "12, 34", {}, {"x": 1}, {"action": "click"},
    {"action": "click", "coordinate": [1]},
    {"action": "click", "coordinate": [1, 2], "x": 1}, {"action": "click", "x": 1, "y": 2, "z": 3},
    {"name": "click", "arguments": [1, 2]},
    {"name": "click", "arguments": {"x": 1, "y": 2}, "x": 1}, {"name": "click", "arguments": {}, "args": {}},
    {"name": "t", "x": 1, "arguments": {"action": "back"}}, {"action": "back", "name": "back"}, '{"action": "back"',
    '{"action": NaN}', None, 3,
]  # fmt: skip


@pytest.mark.parametrize("written", REFUSED, ids=str)
def test_what_is_no_action_is_refused(written):
    with pytest.raises(ResponseError) as caught:
        parse_action(written)
    assert caught.value.reason


@pytest.mark.parametrize("digits", [400, 5000])
def test_numbers_too_large_for_a_float_are_refused(digits):
    large = 10**digits
    for written in (
        {"action": "click", "x": large, "y": 2},
        {"action": "wait", "seconds": large},
        {"action": "click", "coordinate": [large]},
        f"click({'9' * digits}, 2)",
    ):
        with pytest.raises(ResponseError, match=r"^arguments"):
            parse_action(written)


def test_points_beyond_the_screen_are_refused_where_its_size_is_given():
    assert parse_action("click(0, 99)", size=(200, 100)) == Click(0, 99)
    assert parse_action("click(199.5, 0)", size=(200, 100)) == Click(199.5, 0)
    with pytest.raises(ResponseError, match="outside at character 0: y=100 is not below 100"):
        parse_action("click(99, 100)", size=(200, 100))
    with pytest.raises(ResponseError, match="outside"):
        parse_action("type('a', 200, 0)", size=(200, 100))
    assert parse_action("type('a')", size=(1, 1)) == Type("a")


@settings(max_examples=budget(150, 5000), deadline=None)
@given(ACTION)
def test_every_action_that_is_written_is_read_again(action):
    assert parse_action(render_action(action)) == action
    assert action_of(parse_response(json.dumps({"action": render_action(action)}))) == action


PARTS = st.sampled_from(
    [
        "click",
        "type",
        "(",
        ")",
        ",",
        "=",
        "x",
        "y",
        "'",
        '"',
        "\\",
        "1",
        "-",
        "2.5",
        "1e999",
        "null",
        "{",
        "}",
        ":",
        '"action"',
        "9" * 400,
        "9" * 5000,
    ]
)
FIELDS = st.sampled_from(["action", "name", "type", "key", "arguments", "args", "x", "y", "coordinate", "text"])


def keyed(values):
    return st.dictionaries(FIELDS, values, max_size=4)


SCALAR = st.none() | st.booleans() | NUMBER | TEXT | st.floats()
VALUE = st.recursive(SCALAR, lambda x: st.lists(x, max_size=2) | keyed(x), max_leaves=4)


@settings(max_examples=budget(200, 10_000), deadline=None)
@given(st.lists(PARTS | TEXT, max_size=10).map("".join) | keyed(VALUE | st.just("click")))
def test_whatever_is_written_is_an_action_or_refused(written):
    try:
        action = parse_action(written)
    except ResponseError as error:
        assert error.place >= 0  # noqa: PT017
    else:
        assert parse_action(render_action(action)) == action


def test_actions_check_their_fields():
    for make in (
        lambda: Click(-1, 0),
        lambda: Click(1, None),
        lambda: Type("", 1),
        lambda: Wait(float("inf")),
        lambda: Scroll("in"),
    ):
        with pytest.raises(ConfigurationError):
            make()
    with pytest.raises(DtypeError, match=r"Goto.url must be a str"):
        Goto(3)
    with pytest.raises(ConfigurationError, match="action must be"):
        render_action("back()")
    with pytest.raises(ResponseError, match="neither an action nor a tool call"):
        action_of({"thought": "a"})
