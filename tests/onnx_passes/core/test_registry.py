from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from onnx_passes.core import registry
from onnx_passes.core.contract import Pass, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.onnx_passes.core.conftest import Planter

PLUGIN = """
from onnx_passes import Pass, PassResult, register

@register
class Double(Pass):
    name, exactness = "double-trouble", "exact"

    def run(self, model):
        return PassResult()
"""


def write(folder: Path, text: str, name: str = "plugin.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_every_pass_file_registers_its_passes_under_their_file_names() -> None:
    folder = Path(registry.__file__).parents[1] / "passes"
    files = {file.stem for file in folder.glob("[a-z]*.py")}
    ours = {cls for cls in registry.passes() if cls.__module__.startswith("onnx_passes.passes.")}
    assert files
    assert {cls.name.replace("-", "_") for cls in ours} == files


def test_passes_are_sorted_by_name_and_found_by_it() -> None:
    names = [cls.name for cls in registry.passes()]
    assert names == sorted(names)
    assert registry.get("drop-identity").name == "drop-identity"


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match="unknown pass 'drop-identiy'; did you mean 'drop-ident"):
        registry.get("drop-identiy")
    with pytest.raises(UsageError, match="unknown pass 'qqqqqq'; 'onnx-passes list' shows all"):
        registry.get("qqqqqq")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        pytest.param({"exactness": "exact"}, "has no name", id="no name"),
        pytest.param({"name": "", "exactness": "exact"}, "has no name", id="an empty name"),
        pytest.param({"name": 5, "exactness": "exact"}, "has no name", id="a number for a name"),
        pytest.param({"name": "a,b", "exactness": "exact"}, "not kebab case", id="a comma"),
        pytest.param({"name": "Fold", "exactness": "exact"}, "not kebab case", id="a capital"),
        pytest.param({"name": "planted"}, "must set 'exactness' to one of exact", id="no claim"),
        pytest.param(
            {"name": "planted", "exactness": "roughly"}, "must set 'exactness'", id="another claim"
        ),
    ],
)
def test_refuses_to_register(attributes: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        registry.register(type("Planted", (Pass,), attributes))


def test_a_name_that_is_taken_says_by_whom(plant: Planter) -> None:
    with pytest.raises(UsageError, match=r"'drop-identity' is taken by .*drop_identity\.py:Drop"):
        registry.register(type(plant(lambda _: None, "drop-identity")))


def test_the_same_class_may_register_twice() -> None:
    registry.register(registry.get("drop-identity"))


def test_a_plugin_registers_its_passes_once(tmp_path: Path) -> None:
    path = write(tmp_path, PLUGIN)
    (found,) = registry.load_plugin(path)
    assert registry.get("double-trouble") is found
    assert registry.load_plugin(path) == [found]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("def broken(:", "cannot be imported: SyntaxError: ", id="a syntax error"),
        pytest.param("import no_such_module_x", "ModuleNotFoundError: ", id="a missing import"),
        pytest.param("raise SystemExit(0)", "cannot be imported: SystemExit: 0", id="sys.exit"),
        pytest.param("x = 1", "registers no pass; decorate a Pass class", id="no pass"),
        pytest.param(PLUGIN.replace("double-trouble", "drop-identity"), "is taken by", id="a name"),
        pytest.param(PLUGIN + "raise ValueError(1)", "ValueError: 1", id="an error at the end"),
    ],
)
def test_refuses_a_plugin_and_forgets_what_it_registered(
    tmp_path: Path, text: str, message: str
) -> None:
    before = registry.passes()
    with pytest.raises(UsageError, match=message):
        registry.load_plugin(write(tmp_path, text))
    assert registry.passes() == before


@pytest.mark.parametrize("name", ["missing.py", "folder", "plugin.txt"])
def test_refuses_a_plugin_that_is_no_python_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    write(tmp_path, PLUGIN, "plugin.txt")
    with pytest.raises(UsageError, match=r"is not a (Python )?file"):
        registry.load_plugin(tmp_path / name)


@pytest.fixture
def distributions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install two distributions with plugins, and let discovery run afresh."""
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    write(info, "Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n", "METADATA")
    write(
        info,
        "[onnx_passes.passes]\n"
        "gone = stranger_gone\nbroken = stranger_broken\nleaves = stranger_leaves\n"
        "good = stranger_good\nours = stranger_ours\n",
        "entry_points.txt",
    )
    write(tmp_path, PLUGIN, "stranger_good.py")
    write(tmp_path, PLUGIN.replace("double-trouble", "drop-identity"), "stranger_ours.py")
    half = PLUGIN.replace("double-trouble", "half-way")
    write(tmp_path, half + "raise RuntimeError('not today')", "stranger_broken.py")
    write(tmp_path, "raise SystemExit", "stranger_leaves.py")
    other = tmp_path / "zother-2.0.dist-info"
    other.mkdir()
    write(other, "Metadata-Version: 2.1\nName: zother\nVersion: 2.0\n", "METADATA")
    write(other, "[onnx_passes.passes]\ntwin = zother_twin\n", "entry_points.txt")
    write(tmp_path, PLUGIN, "zother_twin.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._discover.cache_clear()
    monkeypatch.setattr(registry, "_contested", {})
    names = ("good", "broken", "leaves", "ours")
    for name in ("zother_twin", *(f"stranger_{name}" for name in names)):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield
    registry._discover.cache_clear()


@pytest.mark.usefixtures("distributions")
def test_entry_points_register_and_a_broken_one_stops_nothing() -> None:
    names = {cls.name for cls in registry.passes()}
    assert {"double-trouble", "drop-identity"} <= names
    assert "half-way" not in names, "a plugin that failed left a pass behind"
    broken = {plugin.entry.split()[0]: plugin for plugin in registry.broken_plugins()}
    assert broken["gone"].reason == "ModuleNotFoundError: No module named 'stranger_gone'"
    assert broken["broken"].reason == "RuntimeError: not today"
    assert broken["leaves"].reason == "SystemExit"
    assert broken["broken"].distribution == "stranger 1.0"
    assert len({"good", "twin"} - set(broken)) == 1, "the first to claim the name is listed"


@pytest.mark.usefixtures("distributions")
def test_a_plugin_cannot_take_a_name_of_ours() -> None:
    assert registry.get("drop-identity").__module__ == "onnx_passes.passes.drop_identity"
    (ours,) = [plugin for plugin in registry.broken_plugins() if plugin.entry.startswith("ours")]
    assert "drop_identity.py" in ours.reason
    assert "stranger_ours.py" in ours.reason


@pytest.mark.usefixtures("distributions")
def test_a_name_that_two_distributions_claim_is_an_error_that_names_both() -> None:
    with pytest.raises(UsageError, match="'double-trouble' is taken by") as caught:
        registry.get("double-trouble")
    assert "stranger_good.py" in str(caught.value)
    assert "zother_twin.py" in str(caught.value)


@pytest.mark.usefixtures("distributions")
def test_an_unknown_name_says_that_plugins_are_broken() -> None:
    with pytest.raises(UsageError, match="and 5 broken plugins"):
        registry.get("half-way")
