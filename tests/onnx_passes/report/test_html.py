from __future__ import annotations

import dataclasses
import html.parser
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pytest
from PIL import Image

from onnx_passes import optimize
from onnx_passes.core.outcome import Measure
from onnx_passes.report import markup
from onnx_passes.report.comparison import compare_models
from onnx_passes.report.differences import REUSED_NAMES, sections
from onnx_passes.report.markup import join
from onnx_passes.report.page import POLICY
from onnx_passes.report.tables import changes, size
from onnx_passes.report.write import write_report

if TYPE_CHECKING:
    from pathlib import Path

    import onnx_ir as ir

    from onnx_passes.core.outcome import Outcome
    from tests.onnx_passes.conftest import Lab

    class Server(Protocol):
        asked: list[str]
        url: str

    class Browse(Protocol):
        def __call__(self, page: Path, *arguments: str) -> str: ...


ALLOWED_TAGS = {
    *("html", "head", "meta", "link", "title", "style", "body", "div", "span", "p", "ul", "li"),
    *("h1", "h2", "h3", "dl", "dt", "dd", "code", "strong", "details", "summary", "figure"),
    *("figcaption", "table", "thead", "tbody", "tr", "th", "td", "img"),
    *("svg", "line", "text", "rect", "circle", "polygon", "polyline"),
}
VOID_TAGS = {"meta", "link", "img"}


class Page(html.parser.HTMLParser):
    """A page taken apart; a tag that is closed in the wrong place raises."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.style = ""
        self._open: list[str] = []
        self.feed(path.read_text("utf-8"))
        self.close()
        assert self._open == []

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for found, attributes in self.tags if found == tag]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["style"]:
            self.style += data
        else:
            self.texts.append(data)


@pytest.fixture(scope="session")
def passed_page(
    passed: Outcome, picture_model: ir.Model, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("passed")
    write_report(folder, passed, picture_model, model_name="m.onnx", command="onnx-passes run m")
    return folder / "report.html"


@pytest.fixture(scope="session")
def stopped_page(
    stopped: Outcome, picture_model: ir.Model, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("stopped")
    write_report(folder, stopped, picture_model)
    return folder / "report.html"


@pytest.fixture(scope="session")
def hostile_page(
    hostile: Outcome,
    hostile_model: ir.Model,
    hostile_names: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    # No operator that runs has such a name; a domain of one's own may.
    before = Measure({**hostile.before.operators, hostile_names["h"]: 1}, hostile.before.bytes)
    outcome = dataclasses.replace(hostile, before=before)
    write_report(folder, outcome, hostile_model, command=hostile_names["s"])
    return folder / "report.html"


@pytest.mark.parametrize("fixture", ["passed_page", "stopped_page", "hostile_page"])
class TestEveryPage:
    def test_holds_only_harmless_elements(
        self, fixture: str, request: pytest.FixtureRequest
    ) -> None:
        page = Page(request.getfixturevalue(fixture))
        assert {tag for tag, _ in page.tags} <= ALLOWED_TAGS
        names = {name for _, attributes in page.tags for name in attributes}
        assert not {name for name in names if name.startswith("on") or name == "style"}

    def test_refers_to_nothing_outside_itself(
        self, fixture: str, request: pytest.FixtureRequest
    ) -> None:
        page = Page(request.getfixturevalue(fixture))
        for _, attributes in page.tags:
            for name in ("src", "href", "srcset", "action", "data", "xlink:href"):
                assert (attributes.get(name) or "data:").startswith("data:")
        assert not re.search(r"url\(|@import|http", page.style)

    def test_forbids_everything_else(self, fixture: str, request: pytest.FixtureRequest) -> None:
        page = Page(request.getfixturevalue(fixture))
        head = [tag for tag, _ in page.tags].index("body")
        policies = [
            attributes["content"]
            for tag, attributes in page.tags[:head]
            if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        assert policies == [POLICY]
        assert POLICY.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")


class TestAPassedRun:
    def test_shows_each_pass_with_verdict_nodes_bytes_and_error(self, passed_page: Path) -> None:
        text = Page(passed_page).text
        assert "drop-identity ✓ passed" in text
        assert "4 → 3 Identity 1 → 0 4 B bit-equal" in text
        assert re.search(r"set-half\{value=0.5000000\d+\} ✓ passed \d", text)
        assert "onnx-passes run m" in text

    def test_plots_every_tensor_that_both_models_make(self, passed_page: Path) -> None:
        page = Page(passed_page)
        assert "3 tensors are made by both models; 3 differ." in page.text
        figures = 2
        assert len(page.of("circle")) + len(page.of("polygon")) == 3 * figures

    def test_plots_absolute_errors_first_then_relative_ones(
        self, passed_page: Path, picture_model: ir.Model, passed: Outcome
    ) -> None:
        found = compare_models(picture_model, passed.model).tensors[-1]
        error = found.difference.max_abs
        assert found.peak > 1.5
        text = Page(passed_page).text
        absolute = text.index(f"{markup.number(error)} y Add -> 'y'")
        assert absolute < text.index(f"{markup.number(error / found.peak)} y Add -> 'y'")

    def test_shows_operators_that_are_gone_before_those_that_grew(self, passed: Outcome) -> None:
        before, after = Measure({"A": 1, "B": 1, "Z": 1}, 0), Measure({"A": 2, "B": 9}, 0)
        step = dataclasses.replace(passed.steps[0], before=before, after=after)
        assert changes(step) == [("Z", 1, 0), ("B", 1, 9), ("A", 1, 2)]

    def test_warns_of_names_that_stand_for_another_value_now(self, lab: Lab) -> None:
        text = "g (float[N,4] x) => (float[N,4] y) {%s}"
        original = lab.model(text % "a = Abs(x)  y = Neg(a)")
        renamed = lab.model(text % "b = Abs(x)  a = Neg(b)  y = Identity(a)")
        broken = lab.model(text % "a = Neg(x)  y = Neg(a)")
        assert REUSED_NAMES in join(*sections(compare_models(original, renamed), {}))
        assert REUSED_NAMES not in join(*sections(compare_models(original, broken), {}))

    def test_draws_the_allowed_difference_in_the_histogram(self, passed_page: Path) -> None:
        page = Page(passed_page)
        assert any(attributes["class"] == "limit" for attributes in page.of("line"))
        assert page.of("rect")

    def test_shows_four_pictures_a_row(self, passed_page: Path) -> None:
        page = Page(passed_page)
        assert "input x before after difference" in page.text
        tensors, images, columns = 3, 2, 4
        assert len(page.of("img")) == tensors * images * columns

    def test_has_no_banner(self, passed_page: Path) -> None:
        assert not [a for a in Page(passed_page).of("div") if "banner" in (a.get("class") or "")]


class TestAFailedRun:
    def test_names_the_blamed_pass_and_its_reason_first(
        self, stopped_page: Path, stopped: Outcome
    ) -> None:
        text = Page(stopped_page).text
        banner = text.index("Pass 2 failed: set-half{value=0.75}")
        assert banner < text.index("Passes #")
        assert stopped.steps[1].reason in text
        assert "The run stopped here." in text

    def test_says_what_became_of_each_pass(self, hostile_page: Path) -> None:
        page = Page(hostile_page)
        alerts = [attributes for attributes in page.of("div") if attributes.get("role") == "alert"]
        assert len(alerts) == 2
        assert "✗ failed undone" in page.text
        assert "Pass 4 crashed: crash" in page.text

    def test_shows_the_change_where_it_was_kept(
        self, picture_model: ir.Model, kept: Outcome, tmp_path: Path
    ) -> None:
        write_report(tmp_path, kept, picture_model)
        page = Page(tmp_path / "report.html")
        assert "✗ failed kept" in page.text
        assert "The first that differs by more than rounding: h" in page.text
        assert page.of("polygon")

    def test_allows_what_the_changes_that_are_kept_allow(
        self, picture_model: ir.Model, undone: Outcome, tmp_path: Path
    ) -> None:
        write_report(tmp_path, undone, picture_model)
        assert "0 differ; allowed: no difference." in Page(tmp_path / "report.html").text


class TestARunWithoutChecks:
    def test_says_so(self, picture_model: ir.Model, unchecked: Outcome, tmp_path: Path) -> None:
        write_report(tmp_path, unchecked, picture_model, check=False)
        page = Page(tmp_path / "report.html")
        assert "No numbers were checked" in page.text
        assert "Numbers were not compared, as asked." in page.text
        assert not page.of("svg")
        assert not page.of("img")

    def test_names_what_could_not_be_checked(self, lab: Lab, tmp_path: Path) -> None:
        text = "g (float[N,4] x) => (float[N,4] y) <float[1] zero = {0}>"
        model = lab.model(text + "{ i = Identity(x)  y = Mul(i, zero) }")
        write_report(tmp_path, optimize(model, "drop-identity"), model)
        page = Page(tmp_path / "report.html")
        assert "Not everything was checked" in page.text
        assert "drop-identity : output 'y' dead" in page.text

    def test_may_have_no_pass_at_all(self, picture_model: ir.Model, tmp_path: Path) -> None:
        write_report(tmp_path, optimize(picture_model, []), picture_model)
        page = Page(tmp_path / "report.html")
        assert "The pass list is empty." in page.text
        assert "In equal numbers throughout: Add 1, Identity 1" in page.text


class TestHostileNames:
    def test_are_shown_not_obeyed(self, hostile_page: Path) -> None:
        text = Page(hostile_page).text
        assert "</td></title></style><script>document.title='owned'</script>" in text
        assert "\"'><img src=http://127.0.0.1" in text

    def test_show_what_cannot_be_seen(self, hostile_page: Path) -> None:
        text = Page(hostile_page).text
        assert "\\u202eevil\\u200f &lt;&amp;<link" in text
        assert "\\u0000\\u001b" in text
        assert not re.search("[\\u202e\\u200f\\x00\\x1b]", hostile_page.read_text("utf-8"))

    def test_are_cut_where_they_are_long(self, hostile_page: Path) -> None:
        text = Page(hostile_page).text
        assert "名" * markup.MAX_TEXT_CHARACTERS not in text
        assert "名" * (markup.MAX_NAME_CHARACTERS // 2) + " (100" in text

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            pytest.param("plain_name.0", "plain_name.0", id="keeps a plain name"),
            pytest.param("<b>&\"'", "&lt;b&gt;&amp;&quot;&#x27;", id="escapes all five signs"),
            pytest.param("שלום", "שלום", id="keeps letters of any script"),
            pytest.param("a\ud800b", "a\\ud800b", id="writes half a surrogate pair as its code"),
            pytest.param("a\nb\tc", "a\\u000ab\\u0009c", id="writes control characters as codes"),
        ],
    )
    def test_become_markup_in_one_place(self, name: str, shown: str) -> None:
        assert markup.name(name) == f"<code>{shown}</code>"

    def test_markup_that_is_built_already_is_not_escaped_again(self) -> None:
        inner = markup.element("b", "<", title='"')
        assert markup.element("p", inner, hidden=True, id=None) == (
            '<p hidden><b title="&quot;">&lt;</b></p>'
        )


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (6_590_000, "6.59 MB"), (2.2e9, "2.20 GB")],
)
def test_sizes_are_said_in_the_unit_a_person_takes(value: int, shown: str) -> None:
    assert size(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (1.5e-7, "1.50e-07"), (0.014, "0.014"), (-12.34, "-12.3"), (1e5, "1.00e+05")],
)
def test_numbers_have_three_digits(value: float, shown: str) -> None:
    assert markup.number(value) == shown
    assert [markup.number(float(v)) for v in ("inf", "nan")] == ["inf", "nan"]


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), "")


@pytest.mark.skipif(not CHROMIUM, reason="no chromium or google-chrome is installed")
class TestInABrowser:
    """The page where it is read; each test has a counterpart that shows it could fail."""

    @pytest.fixture
    def browse(self, tmp_path: Path) -> Browse:
        def run(page: Path, *arguments: str) -> str:
            command = [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu"),
                *("--disable-background-networking", "--disable-component-update"),
                *("--no-first-run", "--disable-dev-shm-usage", "--hide-scrollbars"),
                f"--user-data-dir={tmp_path / 'profile'}",
            ]
            done = subprocess.run(
                [*command, *arguments, page.as_uri()],
                capture_output=True,
                text=True,
                check=True,
                timeout=120,
                env={**os.environ, "HOME": str(tmp_path)},
            )
            return done.stdout

        return run

    def test_hostile_names_load_and_run_nothing(
        self, browse: Browse, hostile_page: Path, server: Server
    ) -> None:
        server.asked.clear()
        dom = browse(hostile_page, "--dump-dom")
        assert server.asked == []
        assert "Error along the graph" in dom
        assert "<title>owned" not in dom

    def test_unescaped_they_would(
        self, browse: Browse, hostile_names: dict[str, str], server: Server, tmp_path: Path
    ) -> None:
        server.asked.clear()
        page = tmp_path / "unescaped.html"
        page.write_text("<title>mine</title>" + "".join(hostile_names.values()), encoding="utf-8")
        assert "<title>owned" in browse(page, "--dump-dom")
        assert {"/input", "/s.css"} <= set(server.asked)

    def test_the_policy_alone_would_stop_them(
        self, browse: Browse, hostile_names: dict[str, str], server: Server, tmp_path: Path
    ) -> None:
        server.asked.clear()
        policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        page = tmp_path / "unescaped.html"
        page.write_text(
            policy + "<title>mine</title>" + "".join(hostile_names.values()), encoding="utf-8"
        )
        assert "<title>mine" in browse(page, "--dump-dom")
        assert server.asked == []

    @pytest.mark.parametrize(("scheme", "dark"), [("0", True), ("1", False)])
    def test_is_drawn_in_the_readers_colours(
        self, browse: Browse, passed_page: Path, tmp_path: Path, scheme: str, dark: bool
    ) -> None:
        shot = tmp_path / "shot.png"
        browse(
            passed_page,
            f"--screenshot={shot}",
            "--window-size=1200,2400",
            f"--blink-settings=preferredColorScheme={scheme}",
        )
        pixels = np.asarray(Image.open(shot).convert("L"))
        assert pixels.shape == (2400, 1200)
        assert (np.median(pixels) < 60) == dark
        # Text, tables, plots and pictures: no blank page, and content far down.
        assert len(np.unique(pixels)) > 50
        assert pixels[1200:].std() > 5
