"""Build a stand-in CANN root: set_env.sh, version files, and programs that run the stand-ins.

What is documented of the real one is here and nothing else: where the files are, the variables
that set_env.sh sets, the three files that hold the version. ``bin/npu-smi`` is inside for
convenience; the real one comes with the driver.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

STANDINS = Path(__file__).resolve().parent
ARCH = "x86_64-linux"
VERSION_FILES = {
    f"{ARCH}/ascend_toolkit_install.info": "package_name=Ascend-cann-toolkit\nversion={}\n",
    "version.cfg": "# version\ntoolkit_running_version=[7.7.0.1.238:{}]\n",
    "compiler/version.info": "Version=7.7.0.1.238\nversion_dir={}\n",
}
PROGRAMS = {"atc": "atc.py", "npu-smi": "npu_smi.py"}
_SET_ENV = """\
export ASCEND_TOOLKIT_HOME={home}
export ASCEND_HOME_PATH={home}
export ASCEND_OPP_PATH={home}/opp
export ASCEND_AICPU_PATH={home}
export TOOLCHAIN_HOME={home}/toolkit
export PATH={home}/bin:$PATH
export LD_LIBRARY_PATH={home}/lib64:$LD_LIBRARY_PATH
export PYTHONPATH={standins}:$PYTHONPATH
"""


def make_toolkit(
    root: Path,
    *,
    version: str = "8.1.RC1",
    layout: str = "ascend-toolkit",
    version_files: Collection[str] = tuple(VERSION_FILES),
) -> Path:
    """Build a toolkit below ``root``, which stands for /usr/local/Ascend.

    Args:
        root: Folder to build in; made if need be.
        version: Its version.
        layout: ``ascend-toolkit``, with a folder a version and a link ``latest``; or ``cann``, the
            one of 2026.
        version_files: Which of `VERSION_FILES` to write.

    Returns:
        The folder that holds set_env.sh.
    """
    top = root / layout
    home = top / "latest" if layout == "ascend-toolkit" else top
    top.mkdir(parents=True)
    if home != top:
        (top / version).mkdir()
        home.symlink_to(version)
    for folder in ("bin", "compiler", "lib64", "opp", f"{ARCH}/devlib"):
        (home / folder).mkdir(parents=True)
    for name in version_files:
        (home / name).write_text(VERSION_FILES[name].format(version))
    for name, standin in PROGRAMS.items():
        program = home / "bin" / name
        program.write_text(
            f'#!/bin/sh\nexec {shlex.join([sys.executable, str(STANDINS / standin)])} "$@"\n'
        )
        program.chmod(0o755)
    script = _SET_ENV.format(home=shlex.quote(str(home)), standins=shlex.quote(str(STANDINS)))
    (top / "set_env.sh").write_text(script)
    return top
