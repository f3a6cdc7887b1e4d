"""A look inside: what is reported is what was stored, on the terminal and on a page that needs nothing else."""

import base64
import builtins
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import ml_dtypes
import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.__main__ import main
from jaxbuffers.inspecting import inspect
from jaxbuffers.inspecting.frames import as_pictures, is_picture, png
from jaxbuffers.inspecting.page import page
from jaxbuffers.inspecting.report import Histogram
from jaxbuffers.inspecting.terminal import plain, progress

Image = pytest.importorskip("PIL.Image")
ROW = jb.Row(
    obs={
        "image": np.zeros((9, 12, 3), np.uint8),
        "speed": np.zeros(2, np.float32),
        "low": np.zeros((), ml_dtypes.bfloat16),
        "mission": jb.text,
    },
    action=np.int32(0),
    reward=np.float32(0),
    is_first=np.bool_(0),
    is_last=np.bool_(0),
    is_terminal=np.bool_(0),
)
LENGTHS = (4, 7, 2, 9)


def rows_of(number, length):
    time = np.arange(length)
    image = np.broadcast_to((20 * number + time)[:, None, None, None], (length, 9, 12, 3)).astype(np.uint8)
    speed = np.stack([time - 3, time * 0], 1).astype(np.float32)
    speed[0, 1] = np.nan if number == 1 else 0
    return jb.Row(
        obs={
            "image": image, "speed": speed, "low": time.astype(ml_dtypes.bfloat16),
            "mission": [f"go <{number}> & back, {'far ' * 100 * number}"] * length,
        },
        action=time.astype(np.int32),
        reward=np.full(length, number, np.float32),
        is_first=time == 0,
        is_last=time == length - 1,
        is_terminal=(time == length - 1) & (number % 2 == 0),
    )  # fmt: skip


@pytest.fixture
def path(tmp_path):
    with jb.EpisodeStore(tmp_path / "store", row=ROW) as store:
        for number, length in enumerate(LENGTHS):
            columns = {"priority": number / 2, "level": number, "name": f"n{number}"} if number else {}
            store.add_episode(rows_of(number, length), columns)
    return tmp_path / "store"


def table(report, title):
    (found,) = [each for each in report.tables if each.title == title]
    return {row[0]: row[1:] for row in found.rows[1:]}


def test_a_store_is_reported_as_it_is(path):
    report = inspect(path)
    facts = dict(report.facts)
    assert facts["episodes"] == "4"
    assert facts["rows"] == "22"
    assert facts["rows of an episode"] == "2 to 9, mean 5.5"
    assert facts["return"] == "0 to 27, mean 9.5"  # the first row's reward counts, as the store adds it up
    assert table(report, "Endings") == {"terminated": ("2", "50.0%"), "truncated": ("2", "50.0%")}
    fields = table(report, "Fields of a row")
    assert fields["obs.image"] == ("uint8", "[9, 12, 3]", "7.1 kB", "0 to 68")
    assert fields["obs.speed"] == ("float32", "[2]", "176 B", "-3 to 5, 1 not finite")
    assert fields["obs.low"] == ("bfloat16", "[]", "44 B", "0 to 8")
    assert fields["obs.mission"][0] == "text"
    own = table(report, "Columns of your own")
    assert own["level"] == ("int", "1 to 3; 1 without")
    assert own["name"] == ("str", "'n1', 'n2', 'n3'; 1 without")
    histograms = {each.title: each for each in report.histograms}
    assert histograms["rows of an episode"].counts.sum() == 4
    assert dict(zip(histograms["level"].labels(), histograms["level"].counts.tolist(), strict=True)) == {
        "1": 1, "2": 1, "3": 1,
    }  # fmt: skip
    assert histograms["priority"].note == "1 of 4 without a value"
    strips = {each.title: each for each in report.strips}
    assert list(strips) == [
        "obs.image, episode 3 (newest, highest return)",
        "obs.image, episode 0 (lowest return)",
    ]
    strip = strips["obs.image, episode 3 (newest, highest return)"]
    assert strip.frames[:, 0, 0, 0].tolist() == [60 + t for t in range(9)]
    assert strip.captions == [f"row {t}" for t in range(9)]
    assert [text[:6] for _, text in report.texts] == ["go <3>", "go <3>", "go <0>", "go <0>"]
    assert not report.warnings


def test_the_page_needs_nothing_else_and_has_the_pictures(path):
    html = page(inspect(path))
    assert not re.search(r"https?://|<script|url\(", html)
    assert "go &lt;3&gt; &amp; back" in html
    assert "<3>" not in html
    found = [base64.b64decode(each) for each in re.findall(r"data:image/png;base64,([^\"]+)", html)]
    pixels = [np.asarray(Image.open(io.BytesIO(each)))[0, 0, 0] for each in found]
    assert pixels == [60 + t for t in range(9)] + list(range(4))

    class Balanced(HTMLParser):
        open_tags = ()

        def handle_starttag(self, tag, attributes):
            if tag not in ("meta", "link", "img"):
                self.open_tags = (*self.open_tags, tag)

        def handle_startendtag(self, tag, attributes):
            pass

        def handle_endtag(self, tag):
            assert self.open_tags[-1] == tag
            self.open_tags = self.open_tags[:-1]

    parser = Balanced()
    parser.feed(html)
    assert parser.open_tags == ()


def test_large_pictures_are_thinned_out_on_the_page():
    picture = np.arange(1025 * 8, dtype=np.uint32).reshape(1, 1025, 8).astype(np.uint8)
    store = jb.EpisodeStore()
    store.add_episode({"x": picture})
    (found,) = re.findall(r"data:image/png;base64,([^\"]+)", page(inspect(store)))
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(found))))
    np.testing.assert_array_equal(shown[..., 0], picture[0, ::3, ::3])


@pytest.mark.long  # starts a browser
def test_a_browser_shows_the_film_strip_and_has_nothing_to_say(path, tmp_path):
    browser = shutil.which("chromium") or pytest.skip("no chromium")
    (tmp_path / "page.html").write_text(page(inspect(path)))
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1200,2400",
         f"--screenshot={tmp_path / 'shot.png'}", (tmp_path / "page.html").as_uri()],
        capture_output=True, timeout=300, check=True,
    )  # fmt: skip
    assert b"CONSOLE" not in done.stderr
    shown = np.asarray(Image.open(tmp_path / "shot.png").convert("RGB"))
    for t in range(9):  # frames of one gray each, whose exact color fills a good part of the page
        assert (shown == 60 + t).all(-1).sum() > 1000


def test_the_terminal_shows_it_with_and_without_rich(path, capsys, monkeypatch):
    assert main(["inspect", str(path)]) == 0
    rich = capsys.readouterr().out
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "rich":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out
    for shown in (rich, lines):
        for words in ("Episode store", "obs.image", "bfloat16", "priority", "terminated", "go <3> & back", "█"):
            assert words in shown
    assert "▀" in rich
    assert "9 pictures (--html shows them)" in lines


@pytest.mark.parametrize("rich", [True, False])
def test_long_work_shows_how_far_it_is_and_leaves_nothing_out(rich, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    assert list(progress(iter("abc"), "reading", 3)) == ["a", "b", "c"]
    shown = capsys.readouterr()
    assert "reading" in shown.err
    assert not shown.out


def test_pictures_go_out_as_they_are():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (11, 13, 3), np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png(picture)))), picture)
    gray = rng.integers(0, 256, (2, 8, 9), np.uint8)
    np.testing.assert_array_equal(as_pictures(gray), np.repeat(gray[..., None], 3, -1))
    first = rng.integers(0, 256, (2, 3, 8, 9), np.uint8)
    np.testing.assert_array_equal(as_pictures(first), np.moveaxis(first, 1, -1))
    np.testing.assert_array_equal(as_pictures(np.float32([[[0, 0.5, 1]]]))[0, 0, :, 0], [0, 128, 255])
    np.testing.assert_array_equal(as_pictures(np.float32([[[-2, 0, 2]]]))[0, 0, :, 0], [0, 128, 255])
    odd = np.float32([[[-np.inf, -2, 0, np.nan, 2, np.inf]]])
    np.testing.assert_array_equal(as_pictures(odd)[0, 0, :, 0], [0, 0, 128, 0, 255, 255])
    wide = np.float64([[[-1.7e308, 0, 1.7e308]]])
    np.testing.assert_array_equal(as_pictures(wide)[0, 0, :, 0], [0, 128, 255])
    np.testing.assert_array_equal(as_pictures(np.full((1, 8, 9), np.nan)), np.zeros((1, 8, 9, 3)))
    assert as_pictures(np.zeros((2, 8, 9, 4), np.uint8)).shape == (2, 8, 9, 3)
    shapes = {
        (8, 8): True,
        (7, 8): False,
        (8, 9, 3): True,
        (3, 8, 9): True,
        (8, 9, 2): False,
        (8,): False,
        (4, 8): False,
    }
    assert {shape: is_picture(shape, np.dtype(np.uint8)) for shape in shapes} == shapes
    assert not is_picture((8, 8), np.dtype(np.int32))


@pytest.mark.parametrize(
    "values, counts",
    [
        (np.array([1, 1, 3]), {"1": 2, "2": 0, "3": 1}),
        (np.array([5.0, np.nan, np.inf, 5.0]), {"5": 2}),
        (np.arange(0, 40), {f"{x} to {x + 2}": 3 if x < 39 else 1 for x in range(0, 40, 3)}),
        (np.ma.MaskedArray([1, 9], [False, True]), {"1": 1}),
        (np.array([1e30, 1e30]), {"1e+30": 2}),
        (np.array([2**62]), {"4.612e+18": 1}),
        (np.array([0.25]), {"0.25": 1}),
    ],
)
def test_histograms_count_every_value_once(values, counts):
    found = Histogram.of("x", values)
    assert dict(zip(found.labels(), found.counts.tolist(), strict=True)) == counts
    assert Histogram.of("x", np.array([np.nan])) is None


@pytest.mark.parametrize(
    "values", [[-1.7e308, 1.7e308], [1e16, 1e16 + 2], [0, 2**62], [1, 1 + 2e-16], [0.5, 16.5], [0, 5e-324]], ids=str
)
def test_histograms_of_any_numbers_count_all_and_say_where(values):
    found = Histogram.of("x", np.array(values))
    assert found.counts.sum() == 2
    assert found.labels()[0].startswith(f"{values[0]:.4g} to ")
    assert found.labels()[-1].endswith(f" to {values[1]:.4g}")


def test_what_is_not_finite_is_counted_where_nothing_else_is():
    store = jb.EpisodeStore()
    store.add_episode({"x": np.full((3, 2), np.nan, np.float32), "reward": np.full(3, 1e30, np.float32)})
    report = inspect(store)
    assert table(report, "Fields of a row")["x"] == ("float32", "[2]", "24 B", "6 not finite")
    assert dict(report.facts)["return"] == "3e+30 to 3e+30, mean 3e+30"


def test_a_writer_may_let_episodes_go_meanwhile(path, monkeypatch):
    with jb.EpisodeStore(path) as writer, jb.EpisodeStore(path, row=ROW, read_only=True) as reader:
        known = reader.metadata
        writer.evict(2)
        monkeypatch.setattr(jb.EpisodeStore, "metadata", known)
        report = inspect(reader)
    assert ("left the store meanwhile", "episode 0") in report.facts
    assert [strip.title for strip in report.strips] == ["obs.image, episode 3 (newest, highest return)"]
    assert not report.warnings


@pytest.mark.parametrize("rich", [True, False])
def test_texts_are_no_commands_to_the_terminal(tmp_path, capsys, monkeypatch, rich):
    with jb.EpisodeStore(tmp_path / "s", row={"page\x1b[2J": jb.text}) as store:
        store.add_episode({"page\x1b[2J": ["\x1b]0;title\x07red\ud800 \x9b31m \u0639 \U0001f469\u200d\U0001f680"]})
    if not rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    assert main(["inspect", str(tmp_path / "s")]) == 0
    shown = capsys.readouterr().out
    assert not set(shown) & set("\x1b\x07\x9b\ud800")
    assert "red" in shown
    assert "\u0639 \U0001f469\u200d\U0001f680" in shown
    assert main(["inspect", str(tmp_path / "s"), "--html", str(tmp_path / "p.html")]) == 0
    assert "red?" in (tmp_path / "p.html").read_text()


def test_damage_is_named_and_the_command_fails(path, capsys):
    (segment,) = (path / "segments").glob("*.safetensors")
    data = bytearray(segment.read_bytes())
    at = bytes(data).rindex(bytes([63] * 324))  # an image of episode 3
    data[at] ^= 1
    segment.write_bytes(data)
    assert main(["inspect", str(path), "--all"]) == 1
    assert "episode 3" in capsys.readouterr().out.replace("\n", " ")


def test_texts_arrays_and_what_is_neither(tmp_path, capsys, path):
    with jb.TextTable(tmp_path / "texts.sqlite") as texts:
        texts.intern(["open the door", "go", "go"])
        texts.commit()
    report = inspect(tmp_path / "texts.sqlite")
    assert dict(report.facts)["texts"] == "2"
    assert sorted(text for _, text in report.texts) == ["go", "open the door"]
    header = {
        "__metadata__": {"who": json.dumps({"a": 1, "b": [2]})},
        "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    }
    text = json.dumps(header).encode()
    (tmp_path / "run").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    report = inspect(tmp_path / "run")
    assert table(report, "Arrays") == {"w": ("F32", "[2]", "8 B")}
    assert dict(report.facts)["who"] == "a: 1\nb: [2]"
    assert not report.warnings
    (tmp_path / "run").write_bytes(len(text).to_bytes(8, "little") + text + bytes(7))
    assert inspect(tmp_path / "run").warnings
    (segment,) = (path / "segments").glob("*.safetensors")
    assert "obs.image" in table(inspect(segment), "Arrays")
    for header in (
        {"w": {"dtype": "F32", "shape": [2], "data_offsets": ["0", "8"]}},
        {"w": {"dtype": 3, "shape": [2], "data_offsets": [0, 8]}},
        {"w": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"__metadata__": 3},
        {"__metadata__": {"who": 3}},
    ):
        text = json.dumps(header).encode()
        (tmp_path / "run").write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
        with pytest.raises(jb.errors.StructureError, match="no file of arrays"):
            inspect(tmp_path / "run")
    (tmp_path / "nothing").write_bytes(b"x" * 50)
    (tmp_path / "empty").mkdir()
    capsys.readouterr()
    for name, words in [("nothing", "StructureError"), ("missing", "there is nothing"), ("empty", "StoreError")]:
        assert main(["inspect", str(tmp_path / name)]) == 1
        assert words in capsys.readouterr().err
    assert main(["inspect", str(path), "--html", str(tmp_path / "no" / "page.html")]) == 1
    assert "No such file" in capsys.readouterr().err
    assert main(["inspect", str(path), "--html", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")


def test_an_empty_store_and_one_in_memory():
    store = jb.EpisodeStore()
    assert list(plain(inspect(store)))[1:] == ["  episodes  0", "  rows      0", "  texts     0 (0 B)"]
    store.add_episode({"x": np.zeros(3, np.float32)})
    assert dict(inspect(store).facts)["rows of an episode"] == "3 to 3, mean 3.0"
