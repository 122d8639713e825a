"""The wheel: what is in it, and that it works in a clean venv beside files named like ours."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DECOY = "raise SystemExit('the decoy was imported')\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def clean_venv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a venv that holds the wheel; its dependencies are this environment's.

    The dependencies come through a .pth file, so that the test needs no network; the wheel's own
    packages come first and must be complete.
    """
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    purelib = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"]
    subprocess.run([*install, "--no-index", str(wheel)], check=True, capture_output=True)
    (Path(purelib) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def test_the_wheel_holds_the_four_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "onnx_passes",
        "ascend",
        "eval",
        "pipeline",
    }
    for package in ("onnx_passes", "ascend", "eval", "pipeline"):
        assert f"{package}/py.typed" in names
    assert "pipeline/recipes/starnet.toml" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_it_works_beside_decoys(clean_venv: Path, starnet_onnx: Path, tmp_path: Path) -> None:
    for name in ("eval", "pipeline", "ascend", "onnx_passes"):
        (tmp_path / f"{name}.py").write_text(DECOY)
    script = clean_venv / "bin" / "onnx-passes"
    # onnxsim runs in a child process: that must find our code too, not the decoys.
    command = [str(script), "run", str(starnet_onnx), "-o", "out.onnx", "--shape", "x=1,3,32,100"]
    passes = ["--passes", "onnxsim,decompose-grid-sample"]
    for arguments in (["--version"], ["eval", "--help"], ["flow", "--help"], ["list"]):
        subprocess.run([str(script), *arguments], check=True, cwd=tmp_path, capture_output=True)
    done = subprocess.run(
        [*command, *passes], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out.onnx").is_file()


def test_the_installed_code_is_the_wheels(clean_venv: Path, tmp_path: Path) -> None:
    code = "import onnx_passes, pipeline; print(onnx_passes.__file__); print(pipeline.__file__)"
    python = clean_venv / "bin" / "python"
    done = subprocess.run(
        [str(python), "-c", code], check=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert all(line.startswith(str(clean_venv)) for line in done.stdout.split())
