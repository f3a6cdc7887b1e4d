"""A look inside: what is reported is what was stored, on the terminal and on a page that needs nothing else."""

import base64
import builtins
import io
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

import jaxbuffers as jb
from jaxbuffers.__main__ import main
from jaxbuffers.inspecting import inspect
from jaxbuffers.inspecting.page import page
from jaxbuffers.inspecting.terminal import plain, progress

from .stores import ROW, table

Image = pytest.importorskip("PIL.Image")


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


def test_an_empty_store_and_one_in_memory():
    store = jb.EpisodeStore()
    assert list(plain(inspect(store)))[1:] == ["  episodes  0", "  rows      0", "  texts     0 (0 B)"]
    store.add_episode({"x": np.zeros(3, np.float32)})
    assert dict(inspect(store).facts)["rows of an episode"] == "3 to 3, mean 3.0"


def test_columns_without_values_and_with_many_are_summed_up():
    store = jb.EpisodeStore(columns={"empty": int})
    for i in range(6):
        store.add_episode({"x": np.zeros(2, np.float32)}, {"name": f"n{i}"})
    own = table(inspect(store), "Columns of your own")
    assert own["name"] == ("str", "'n0', 'n1', 'n2', 'n3', and 2 more")
    assert own["empty"] == ("int", "6 without")
