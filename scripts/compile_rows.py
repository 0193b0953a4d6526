"""The build hook that compiles `recis/bridge/_rows.c`; without a compiler the package does the same in Python.

One file for all versions of Python (its stable ABI), so one wheel per platform. An editable install has it in the
source tree; whoever changes the C file installs again.
"""

import shutil
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

SOURCE = Path("recis/bridge/_rows.c")
ABI = "0x030B0000"
ABI_TAG = "cp311-abi3"


class CompileRows(BuildHookInterface[Any]):
    """See the module."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles, and puts what comes out into the wheel or, of an editable install, beside its source."""
        folder = Path(self.root) / SOURCE.parent
        if version == "editable":
            for old in folder.glob("_rows*.so"):
                old.unlink()  # of another source, or of another compiler
        self._made = Path(tempfile.mkdtemp(prefix="recis-rows-"))
        built = compile_rows(Path(self.root), self._made)
        if built is None:
            self.app.display_warning(f"{SOURCE} could not be compiled: a report takes a microsecond longer")
            return
        if version == "editable":
            shutil.copy(built, folder / built.name)
            return
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"{ABI_TAG}-{platform}"
        build_data["force_include"][str(built)] = f"{SOURCE.parent.as_posix()}/{built.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Removes what was only needed for the build."""
        shutil.rmtree(self._made)


def compile_rows(root: Path, folder: Path) -> Path | None:
    """The compiled module somewhere below `folder`; None where there is no compiler, or it fails, and has said why."""
    module = ".".join(SOURCE.with_suffix("").parts)
    extension = Extension(
        module, [str(root / SOURCE)], define_macros=[("Py_LIMITED_API", ABI)], py_limited_api=True, optional=True
    )
    command = build_ext(Distribution({"name": "rows", "ext_modules": [extension]}))
    command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "temp")
    command.ensure_finalized()
    command.run()
    return next((folder / "lib").rglob("_rows*"), None)
