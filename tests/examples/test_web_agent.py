"""The example of a web agent learns from its recorded attempts, and says what it shows of them; browsers are long."""

import html.parser
import re
import sys

import jax
import numpy as np
import pytest

import jaxbuffers as jb

pytest.importorskip("PIL")
import web_agent
import web_pages
import web_report
from web_pages import Element, elements, missing, read_tree, record, replayed

NAMES = ("untrained", "all steps", "kept steps")


@pytest.fixture(autouse=True)
def _promotion_as_flax_and_optax_need_it():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def pool():
    return replayed(web_agent.RECORDED)


def run(folder, capsys, *options):
    """Run the program; what it prints, and the share of each policy, or agent, in percent."""
    web_agent.main([*options, "--out", str(folder / "web.png"), "--report", str(folder / "web.html")])
    said = capsys.readouterr().out
    last = next(line for line in said.splitlines() if line.startswith(("right clicks", "success in the browser")))
    return said, {name: int(share) for name, share in re.findall(r"(?:^|, )([a-z ]+) (\d+)%", last.split(": ", 1)[1])}


class Page(html.parser.HTMLParser):
    """The tags of a page with their attributes, and all its words."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)


@pytest.mark.long  # a training run; quick: its parts, below
def test_without_a_browser_it_says_what_to_install_and_learns_from_recorded_attempts(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "miniwob", None)
    monkeypatch.setattr(web_agent, "CHUNK", 5)
    said, shares = run(tmp_path, capsys, "--steps", "10")
    assert "pip install '.[web]'" in said
    assert list(shares) == list(NAMES)
    assert (tmp_path / "web.png").stat().st_size > 20_000


def test_without_a_program_it_says_which_to_install(monkeypatch):
    for name in ("miniwob", "selenium"):
        monkeypatch.setitem(sys.modules, name, type(sys)(name))
    for name in web_pages.NAMED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(web_pages.shutil, "which", lambda name: None)
    assert "apt-get install chromium chromium-driver" in missing()
    monkeypatch.setattr(web_pages.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert missing() is None


def test_the_report_needs_no_other_file_and_says_what_each_filter_kept(tmp_path, pool):
    filters = {"good": jb.trajectories.successful(), "moved": ~jb.trajectories.same_screenshot()}
    web_report.report(tmp_path / "web.html", pool, filters, web_agent.KEEP)
    page = Page((tmp_path / "web.html").read_text())
    links = [value for _, given in page.tags for name, value in given.items() if name in ("href", "src")]
    assert links
    assert all(link.startswith("data:image/png;base64,") for link in links)
    shown = len([tag for tag, _ in page.tags if tag == "figure"])
    for name in filters:
        assert sum(word in (f"✓ {name}", f"✗ {name}") for word in page.words) == shown
    learned = [given.get("class") == "learned" for tag, given in page.tags if tag == "figure"]
    marks = [word[0] == "✓" for word in page.words if word[:2] in ("✓ ", "✗ ")]
    assert learned == [a and b for a, b in zip(marks[::2], marks[1::2], strict=True)]
    assert any(learned)
    assert not all(learned)


def test_what_is_recorded_comes_back(tmp_path, pool):
    some = jb.TrajectoryPool(images="bytes")
    folder = tmp_path / "images"
    folder.mkdir()
    for id in pool.metadata["id"][:3].tolist():
        given = pool.trajectory(id).to_dict()
        for i, step in enumerate(given["steps"]):
            web_agent.Image.fromarray(pool.image(id, i)).save(folder / f"{id}-{i}.png")
            step["observation"]["image_path"] = str(folder / f"{id}-{i}.png")
        some.add(given)
    record(some, tmp_path / "some.tar.xz")
    again = replayed(tmp_path / "some.tar.xz")
    for one, other in zip(some, again, strict=True):
        assert [step.response for step in one.steps] == [step.response for step in other.steps]
        assert one.task == other.task
        assert [step.same_as_next_screenshot for step in one.steps] == [
            step.same_as_next_screenshot for step in other.steps
        ]
    assert again.image(0, 0).shape == (105, 80, 3)


def test_an_accessibility_tree_is_read_as_it_was_written():
    page = [
        web_pages.PAGE,
        Element("button", 'a "b" (1)', False, 1, 52, 3, 4),
        Element("checkbox", "", True, 0, 60, 9, 9),
    ]
    assert read_tree("\n".join(map(str, page))) == page


def test_elements_beyond_the_page_are_cut_off_and_what_is_beside_a_checkbox_names_it():
    def node(ref, tag, box, text="", parent=0, value="", leaf=1):
        left, top, width, height = (np.array([x], np.float32) for x in box)
        place = {"left": left, "top": top, "width": width, "height": height}
        flags = np.array([0, 0, 0, leaf], np.int8)
        return {
            "ref": ref,
            "tag": tag,
            "text": text,
            "parent": parent,
            "value": value,
            "classes": "",
            "flags": flags,
        } | place

    dom = [
        node(1, "div", (0, 0, 160, 210), leaf=0),
        node(2, "input_checkbox", (6, 55, 20, 13), parent=9, value="True"),
        node(-1, "t", (29, 59, 14, 11), "AU", parent=9),
        node(3, "button", (2, 200, 95, 31), "Submit"),
        node(4, "span", (2, 300, 95, 31), "below"),
    ]
    assert elements(dom) == [
        web_pages.PAGE,
        Element("checkbox", "AU", True, 6, 55, 20, 13),
        Element("button", "Submit", False, 2, 200, 95, 10),
    ]


def test_every_click_on_record_lies_on_what_its_lesson_says(pool):
    learned = web_agent.lessons(pool)
    assert len(learned.kept) == pool.num_steps
    assert 0.3 < learned.kept.mean() < 1
    assert not (learned.kept & ~np.asarray(learned.pages.there).any(1)).any()
    at = 0
    for trajectory in pool:
        for step in trajectory.steps:
            x, y = step.action.action["x"], step.action.action["y"]
            page = read_tree(step.observation.ac_tree)
            assert page[int(learned.clicked[at])].holds(x, y)
            assert not any(each.holds(x, y) for each in page[int(learned.clicked[at]) + 1 :])
            at += 1


@pytest.mark.long  # a training run
def test_a_policy_learns_and_more_from_steps_worth_it(tmp_path, capsys):
    _, shares = run(tmp_path, capsys, "--recorded")
    assert shares["kept steps"] > shares["untrained"] + 30
    assert shares["kept steps"] > shares["all steps"]


@pytest.mark.long  # a browser
@pytest.mark.skipif(missing() is not None, reason=str(missing()))
@pytest.mark.filterwarnings("ignore")  # of MiniWoB and Selenium
def test_a_policy_plays_in_a_browser(tmp_path, capsys, monkeypatch):
    for module in (web_agent, web_pages, web_report):
        monkeypatch.setattr(module, "TASKS", ("click-button", "click-tab"))
    said, shares = run(tmp_path, capsys, "--attempts", "6", "--trials", "4", "--steps", "100")
    assert "without a browser" not in said
    assert list(shares) == ["expert", *NAMES]
    assert shares["expert"] >= 50
