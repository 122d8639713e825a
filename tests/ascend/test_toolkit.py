"""A toolkit is found in every layout, tells its version, and set_env.sh may do what it likes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend import toolkit as module
from ascend.errors import AscendError, MissingToolError, ToolFailedError
from ascend.toolkit import Toolkit, find_toolkit
from tests.ascend.standins.toolkit import ARCH, STANDINS, VERSION_FILES, make_toolkit

LAYOUTS = pytest.mark.parametrize("layout", ["ascend-toolkit", "cann"])
SECRET = "hunter2"


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Return what the caller has: a home without CANN, and a secret."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(module, "ROOT", tmp_path / "usr_local")
    return {"HOME": str(home), "PATH": os.environ["PATH"], "TOKEN": SECRET}


def with_script(tmp_path: Path, environ: dict[str, str], script: str) -> Toolkit:
    """Return a toolkit whose set_env.sh is ``script``."""
    top = make_toolkit(tmp_path / "usr")
    (top / "set_env.sh").write_text(script)
    return find_toolkit(top, environ)


@LAYOUTS
def test_found_below_the_home_of_the_user(
    tmp_path: Path, environ: dict[str, str], layout: str
) -> None:
    top = make_toolkit(tmp_path / "home" / "Ascend", layout=layout)
    found = find_toolkit(environ=environ)
    assert (found.root, found.version) == (top, "8.1.RC1")


@LAYOUTS
@pytest.mark.parametrize("variable", ["ASCEND_TOOLKIT_HOME", "ASCEND_HOME_PATH"])
def test_found_where_a_sourced_set_env_says(
    tmp_path: Path, environ: dict[str, str], layout: str, variable: str
) -> None:
    top = make_toolkit(tmp_path / "opt", layout=layout)
    home = top / "latest" if layout == "ascend-toolkit" else top
    assert find_toolkit(environ={**environ, variable: str(home)}).root == top


@pytest.mark.parametrize("given_", ["", "latest", "8.1.RC1", "set_env.sh", ".."])
def test_found_by_any_folder_of_it(tmp_path: Path, environ: dict[str, str], given_: str) -> None:
    top = make_toolkit(tmp_path / "opt")
    found = find_toolkit(top.parent if given_ == ".." else top / given_, environ)
    assert found.executable("atc").samefile(top / "latest/bin/atc")


def test_what_is_named_is_taken_or_nothing(tmp_path: Path, environ: dict[str, str]) -> None:
    make_toolkit(tmp_path / "home" / "Ascend")
    with pytest.raises(MissingToolError, match=r"no set_env.sh in \S+/elsewhere"):
        find_toolkit(tmp_path / "elsewhere", environ)


def test_a_toolkit_that_is_nowhere_says_where_it_looked(environ: dict[str, str]) -> None:
    with pytest.raises(MissingToolError) as error:
        find_toolkit(environ={**environ, "ASCEND_HOME_PATH": "/no/such"})
    for place in ("/no/such", str(module.ROOT), f"{environ['HOME']}/Ascend", "--toolkit"):
        assert place in str(error.value)


@pytest.mark.parametrize("name", VERSION_FILES)
def test_each_file_alone_tells_the_version(
    tmp_path: Path, environ: dict[str, str], name: str
) -> None:
    top = make_toolkit(tmp_path, version="8.0.RC2.alpha001", version_files=[name])
    assert find_toolkit(top, environ).version == "8.0.RC2.alpha001"


def test_a_version_that_no_file_tells_is_none(tmp_path: Path, environ: dict[str, str]) -> None:
    top = make_toolkit(tmp_path, version_files=[])
    (top / "latest/version.cfg").write_bytes(b"\xff\xfe toolkit_running_version = [\n" * 9)
    assert find_toolkit(top, environ).version is None


@given(content=st.binary() | st.text().map(str.encode))
def test_any_version_file_is_read(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    home = tmp_path_factory.getbasetemp() / "any"
    home.mkdir(exist_ok=True)
    (home / "version.cfg").write_bytes(b"toolkit_running_version=" + content)
    version = Toolkit(home, home, {}).version
    assert version is None or "\n" not in version


def test_the_environment_is_what_set_env_changes(tmp_path: Path, environ: dict[str, str]) -> None:
    top = make_toolkit(tmp_path / "As cend")
    new = find_toolkit(top, {**environ, "LD_LIBRARY_PATH": "/mine"}).environment()
    home = top / "latest"
    assert new == {
        "ASCEND_TOOLKIT_HOME": str(home),
        "ASCEND_HOME_PATH": str(home),
        "ASCEND_OPP_PATH": f"{home}/opp",
        "ASCEND_AICPU_PATH": str(home),
        "TOOLCHAIN_HOME": f"{home}/toolkit",
        "PATH": f"{home}/bin:{environ['PATH']}",
        "LD_LIBRARY_PATH": f"{home}/lib64:/mine",
        "PYTHONPATH": f"{STANDINS}:",
    }


def test_noise_and_line_ends_in_values_do_not_change_what_is_read(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    script = (
        "echo ASCEND_HOME_PATH=/noise; echo oops >&2; read answer\n"
        "export ASCEND_HOME_PATH=/right ODD=$'a\\nFAKE=b'\nunset LANG; cd /\n"
    )
    new = with_script(tmp_path, environ, script).environment()
    assert new == {"ASCEND_HOME_PATH": "/right", "ODD": "a\nFAKE=b"}


def test_the_script_sees_no_secret_and_what_it_prints_is_not_repeated(
    tmp_path: Path, environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    script = f'echo "key {SECRET}"; env; export SEEN=$TOKEN; return 3\n'
    found = with_script(tmp_path, environ, script)
    with pytest.raises(ToolFailedError, match=r"set neither .* \(status 3\)") as error:
        found.environment()
    assert SECRET not in f"{error.value}{found}{caplog.text}"


def test_the_script_cannot_keep_a_secret(tmp_path: Path, environ: dict[str, str]) -> None:
    script = "export ASCEND_HOME_PATH=/x SEEN=$TOKEN\n"
    new = with_script(tmp_path, environ, script).environment()
    assert new == {"ASCEND_HOME_PATH": "/x", "SEEN": ""}


def test_a_status_at_the_end_is_no_failure_when_the_variables_are_there(
    tmp_path: Path, environ: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    found = with_script(tmp_path, environ, "export ASCEND_HOME_PATH=/x\n[ -d /no/such ]\n")
    assert found.environment() == {"ASCEND_HOME_PATH": "/x"}
    assert "ended with status 1" in caplog.text


@pytest.mark.parametrize("script", ["exit 5", "set -e; false; true", "exec true", "kill -9 $$"])
def test_a_script_that_ends_the_shell_has_failed(
    tmp_path: Path, environ: dict[str, str], script: str
) -> None:
    with pytest.raises(ToolFailedError, match="ended the shell that sourced it"):
        with_script(tmp_path, environ, script).environment()


def test_a_script_that_is_no_shell_has_failed(tmp_path: Path, environ: dict[str, str]) -> None:
    with pytest.raises(ToolFailedError, match="set neither"):
        with_script(tmp_path, environ, "\x7fELF ((( '\n").environment()


def test_a_script_that_hangs_has_failed(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.3)
    with pytest.raises(ToolFailedError, match="did not end"):
        with_script(tmp_path, environ, "sleep 99").environment()


def test_a_program_that_is_not_there_is_missing(tmp_path: Path, environ: dict[str, str]) -> None:
    top = make_toolkit(tmp_path)
    (top / "latest/bin/atc").unlink()
    with pytest.raises(MissingToolError, match=r"no program 'atc' .*searched \S+/latest/bin"):
        find_toolkit(top, environ).executable("atc")


def test_a_program_of_another_toolkit_on_path_is_not_taken(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    other = make_toolkit(tmp_path / "other", layout="cann")
    top = make_toolkit(tmp_path / "this")
    (top / "latest/bin/atc").unlink()
    path = f"{other / 'bin'}:{environ['PATH']}"
    with pytest.raises(MissingToolError, match="no program 'atc'"):
        find_toolkit(top, {**environ, "PATH": path}).executable("atc")


def test_programs_are_found_when_set_env_was_sourced_before(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    top = make_toolkit(tmp_path)
    path = f"{top / 'latest/bin'}:{environ['PATH']}"
    found = find_toolkit(top, {**environ, "PATH": path})
    assert found.executable("atc") == top / "latest/bin/atc"


def test_another_version_than_the_one_asked_for_is_refused(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    top = make_toolkit(tmp_path)
    older = top / "7.0.0"
    older.mkdir()
    (older / "version.cfg").write_text("toolkit_running_version=[7.1.0.1:7.0.0]\n")
    found = find_toolkit(older, environ)
    assert found.version == "7.0.0"
    with pytest.raises(AscendError, match=r"sets up version 8.1.RC1 at \S+, not 7.0.0"):
        found.environment()


def test_devlib_is_found(tmp_path: Path, environ: dict[str, str]) -> None:
    top = make_toolkit(tmp_path, layout="cann")
    assert find_toolkit(top, environ).devlib == top / ARCH / "devlib"


def test_a_folder_that_may_not_be_read_is_passed_over(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    top = make_toolkit(tmp_path / "home" / "Ascend")
    is_file = Path.is_file

    def denied(path: Path) -> bool:
        if "closed" in path.parts:
            raise PermissionError
        return is_file(path)

    monkeypatch.setattr(Path, "is_file", denied)
    found = find_toolkit(environ={**environ, "ASCEND_HOME_PATH": "/closed"})
    assert found.root == top


def test_the_path_of_the_script_is_no_shell_code(tmp_path: Path, environ: dict[str, str]) -> None:
    top = make_toolkit(tmp_path / "a'b; $(touch gone) c")
    assert find_toolkit(top, environ).executable("atc") == top / "latest/bin/atc"
