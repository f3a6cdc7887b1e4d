"""What a model answers is read, or refused with a reason and a place; what is written is read again."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tier import budget

from jaxbuffers.errors import ConfigurationError, DtypeError, ResponseError
from jaxbuffers.trajectories import GRAMMARS, Grammar, parse_response, render_response
from jaxbuffers.trajectories.tokens import TOKENS

READ = {
    '{"action": "back()"}': {"action": "back()"},
    ' {"Thought": "a", "action": {"name": "back"}, "memory": null}\n': {"thought": "a", "action": {"name": "back"}},
    'Well {then}: {"thought": "a", "tool_call": {"name": "x"}}. Done.': {"thought": "a", "tool_call": {"name": "x"}},
    'See {"a": 1}: {"action": "b"}': {"action": "b"},
    'So:\n```json\n{"action": "a"}\n```\nThat is all.': {"action": "a"},
    '```\n{"action": "a"}```': {"action": "a"},
    '```python\nx\n```\n```json\n{"action": "a"}```': {"action": "a"},
    "Thought: a\nb\nMemory: c\nAction: d\n": {"thought": "a\nb", "memory": "c", "action": "d"},
    "Of course.\nMemory_Updated: c\n**Action:** d": {"memory": "c", "action": "d"},
    "Observation: o\nACTION:click(1, 2)": {"observation": "o", "action": "click(1, 2)"},
    'Action: ```json\n{"a": 1}\n```': {"action": '```json\n{"a": 1}\n```'},
    "<think>Action: no</think>Action: yes": {"thinking": "Action: no", "action": "yes"},
    "a long story\n</think>\n\nAction: yes": {"thinking": "a long story", "action": "yes"},
    "Hm. <think>a</think> <action>b</action>": {"thinking": "a", "action": "b"},
    "<thought>a: <b></thought> and <Action>Action: c\nAction: d</Action>": {"thought": "a: <b>",
    "action": "Action: c\nAction: d"},
    'Go <tool_call>\n{"name": "x", "arguments": {}}\n</tool_call>': {"tool_call": {"name": "x", "arguments": {}}},
    'Thought: t\nAction: press\n<tool_call>{"name": "x"}</tool_call> ok': {"thought": "t", "action": "press",
    "tool_call": {"name": "x"}},
    '<thought>t</thought><tool_call>{"name": "x"}</tool_call>': {"thought": "t", "tool_call": {"name": "x"}},
    't</think><tool_call>{"name": "x"}</tool_call>': {"thinking": "t", "tool_call": {"name": "x"}},
    '{"thinking": "</think> Action: x", "action": "<tool_call>"}': {"thinking": "</think> Action: x",
    "action": "<tool_call>"},
}  # fmt: skip


@pytest.mark.parametrize("text", READ)
def test_ways_to_answer(text):
    assert parse_response(text) == READ[text]
    assert list(parse_response(text)) == [name for name in TOKENS if name in READ[text]]


REFUSED = {
    "": ("not recognized", 0),
    "I wait.": ("not recognized", 0),
    "Thought: I wait.": ("no action", 0),
    "Action:": ("no action", 0),
    "Action: a\nThought: b\naction: c": ("repeated", 21),
    "<think>Action: a": ("unclosed", 0),
    "<think>a</think>b</think>Action: c": ("ambiguous", 17),
    "Action: a <think>b</think>": ("ambiguous", 0),
    '<tool_call>{"name": "x"}</tool_call><think>a</think>Action: b': ("ambiguous", 0),
    '{"action": "a"': ("not JSON", 14),
    'So {"thought": "a", "action": {"action": "click", "x": 1}': ("not JSON", 57),
    '{"action": "a"} {"action": "b"}': ("ambiguous", 16),
    '{"action": "a", "action": "b"}': ("not JSON", 0),
    '{"action": "a", "Action": "b"}': ("repeated", 0),
    '{"action": "a", "x": 1}': ("unknown key", 0),
    '{"action": 3}': ("wrong type", 0),
    '{"action": "a", "thought": {}}': ("wrong type", 0),
    '{"tool_call": "a"}': ("wrong type", 0),
    '{"action": null}': ("no action", 0),
    '{"a": NaN, "action": "x"}': ("not JSON", 0),
    '{"tool_call": {"x": 1e999}}': ("not JSON", 0),
    '<tool_call>{"x": -1e999}</tool_call>': ("not JSON", 11),
    "```json\n{]\n```": ("not JSON", 9),
    "```json\n[1]\n```": ("not JSON", 8),
    '```json\n{"action": "a"}\n```\n```json\n{"action": "b"}\n```': ("ambiguous", 28),
    "<action>a": ("unclosed", 0),
    "a</action>": ("unopened", 1),
    "<action>a<thought>b</thought></action>": ("unclosed", 9),
    "<action>a</action><action>b</action>": ("repeated", 18),
    "<thought>a</thought>\nAction: b": ("ambiguous", 21),
    '<tool_call>{"name": "x"}': ("unclosed", 0),
    "</tool_call>": ("unopened", 0),
    "<tool_call>{}</tool_call><tool_call>{}</tool_call>": ("ambiguous", 38),
    "<tool_call>{'a': 1}</tool_call>": ("not JSON", 12),
    "<tool_call>[]</tool_call>": ("not JSON", 11),
    "<tool_call>{}</tool_call>\nAction: b": ("ambiguous", 25),
    "Thought: <think>a</think>\n<thinking>b</thinking><action>c</action>": ("ambiguous", 0),
    "<think>a</think><thinking>b</thinking><action>c</action>": ("repeated", 16),
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_cannot_be_read_is_refused_with_a_reason_and_a_place(text):
    with pytest.raises(ResponseError) as caught:
        parse_response(text)
    assert (caught.value.reason, caught.value.place) == REFUSED[text]


WORDS = st.sampled_from(
    [
        "<think>", "</think>", "<thought>", "</thought>", "<action>", "</action>", "<tool_call>", "</tool_call>",
        "Thought:", "Action:", "Memory_Updated:", "**Action:**", "```json", "```", "{", "}", '{"action": "a"}',
    '{"action": ', '"a"', "[", "]", ":", ",", '"', "\\", "\n", "\n\n", " ", "NaN", "1e999", "9" * 5000, "\ud800",
    "\x00",
    ]
)  # fmt: skip
NOISE = st.lists(WORDS | st.text(max_size=3), max_size=14).map("".join)


@settings(max_examples=budget(200, 10_000), deadline=None)
@given(NOISE, st.sampled_from(["auto", *GRAMMARS]))
def test_whatever_a_model_answers_is_read_or_refused_within_the_text(text, grammar):
    try:
        tokens = parse_response(text, grammar)
    except ResponseError as error:
        assert 0 <= error.place <= len(text)  # noqa: PT017
        assert error.reason  # noqa: PT017
    else:
        assert tokens.get("action") or "tool_call" in tokens
        assert set(tokens) <= set(TOKENS)
        json.dumps(tokens)


TEXT = st.text(st.characters(codec=None, categories=None), max_size=8) | NOISE
DICT = st.dictionaries(TEXT, st.integers() | TEXT | st.none(), max_size=3)
SOME = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("thinking", "thought", "memory", "observation"), TEXT) | {"tool_call": DICT}
)
ANY_TOKENS = st.builds(lambda some, action: {**some, "action": action}, SOME, TEXT.filter(bool) | DICT.filter(bool))
PLAIN = st.text("ab c.,1()é\n", min_size=1, max_size=12).map(str.strip).filter(bool)


@settings(max_examples=budget(150, 5000), deadline=None)
@given(ANY_TOKENS, st.sampled_from(list(GRAMMARS)))
def test_what_is_written_is_read_again(tokens, grammar):
    try:
        text = render_response(tokens, grammar)
    except ResponseError as error:
        assert error.reason == "not writable"  # noqa: PT017
        assert grammar != "json"  # which can write everything
    else:
        assert parse_response(text, grammar) == tokens


@settings(max_examples=budget(100, 5000), deadline=None)
@given(st.fixed_dictionaries({"thinking": PLAIN, "thought": PLAIN, "memory": PLAIN, "action": PLAIN}))
def test_plain_tokens_can_be_written_in_every_grammar_and_are_recognized(tokens):
    for grammar in ("json", "fenced", "labels", "tags"):
        text = render_response(tokens, grammar)
        assert parse_response(text, grammar) == parse_response(text) == tokens
    call = tokens | {"tool_call": {"name": tokens["action"]}}
    assert parse_response(render_response(call, "tool_call")) == call


def test_a_grammar_of_ones_own_is_one_function():
    def upper(text):
        if not text.isupper():
            raise ResponseError("whisper", 0, "it is not in capitals.")
        return {"action": text.lower()}

    assert parse_response("CLICK(1, 2)", upper) == {"action": "click(1, 2)"}
    with pytest.raises(ResponseError, match="whisper at character 0"):
        parse_response("click", upper)
    with pytest.raises(ConfigurationError, match="only reads"):
        render_response({"action": "a"}, Grammar(upper))
    shouted = Grammar(upper, lambda tokens: tokens["action"].upper())
    assert render_response({"action": "a"}, shouted) == "A"
    with pytest.raises(ResponseError, match="its action would be read otherwise"):
        render_response({"action": "aB"}, shouted)
    for returned in (
        None,
        {},
        {"thought": "a"},
        {"action": 3},
        {"deed": "a"},
        {"tool_call": "a"},
        {"action": {"a": object()}},
    ):
        with pytest.raises(DtypeError, match=r"what .* returned"):
            parse_response("", lambda text, returned=returned: returned)


def test_wrong_arguments_are_refused():
    with pytest.raises(DtypeError, match="a response is a str, got a bytes"):
        parse_response(b"Action: a")
    with pytest.raises(ConfigurationError, match="grammar must be auto, json"):
        parse_response("Action: a", "xml")
    with pytest.raises(DtypeError, match="tokens must have a str as 'thought'"):
        render_response({"thought": {}, "action": "a"})
