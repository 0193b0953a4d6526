"""Build hook that compiles `recis/bridge/_row_writer.c`; without a compiler the package uses its Python equivalent.

The module uses the stable ABI of Python 3.11, so there is one wheel per platform. An editable install has it in the
source tree: install again after a change of the C file. With `RECIS_MONITOR_PURE=1` in the environment nothing is
compiled, and the wheel is for every platform.
"""

import os
import shutil
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

SOURCE = Path("recis/bridge/_row_writer.c")
PURE = "RECIS_MONITOR_PURE"
ABI = "0x030B0000"
ABI_TAG = "cp311-abi3"


class CompileRows(BuildHookInterface[Any]):
    """Compiles the row writer when a wheel or an editable install is built."""

    _made: Path | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and add the module to the wheel or, for an editable install, put it beside its source.

        Raises:
            ValueError: `RECIS_MONITOR_PURE` is neither 0 nor 1.
        """
        folder = Path(self.root) / SOURCE.parent
        if version == "editable":
            for old in folder.glob("_row_writer*.so"):
                old.unlink()  # built from another source or by another compiler
        pure = os.environ.get(PURE) or "0"
        if pure not in ("0", "1"):
            raise ValueError(f"{PURE}: expected 0 or 1, got {pure!r}")
        if pure == "1":
            return
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
        """Remove temporary build files."""
        if self._made is not None:
            shutil.rmtree(self._made)


def compile_rows(root: Path, folder: Path) -> Path | None:
    """Compile in `folder` and return the module's path, or None if there is no compiler or it failed."""
    module = ".".join(SOURCE.with_suffix("").parts)
    extension = Extension(
        module, [str(root / SOURCE)], define_macros=[("Py_LIMITED_API", ABI)], py_limited_api=True, optional=True
    )
    command = build_ext(Distribution({"name": "rows", "ext_modules": [extension]}))
    command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "temp")
    command.ensure_finalized()
    command.run()
    return next((folder / "lib").rglob("_row_writer*"), None)
