"""Builds the nanobind module with one call of the compiler.

python examples/nanobind_env/build.py build/walk [flags]
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import nanobind
from fastrl.envs import get_include


def build(folder: Path, flags: list[str]) -> Path:
    include = Path(nanobind.include_dir())
    robin_map = include.parent / "ext" / "robin_map" / "include"
    library = folder / f"walk_env{sysconfig.get_config_var('EXT_SUFFIX')}"
    folder.mkdir(parents=True, exist_ok=True)
    folders = [include, robin_map, get_include(), sysconfig.get_paths()["include"]]
    sources = [Path(__file__).with_name("module.cpp"), include.parent / "src" / "nb_combined.cpp"]
    subprocess.run(
        [
            os.environ.get("CXX", "c++"),
            *("-std=c++20", "-O3", "-fPIC", "-shared", "-fvisibility=hidden", "-DNDEBUG"),
            *(f"-I{one}" for one in folders),
            *flags,
            *sources,
            *("-o", library),
        ],
        check=True,
    )
    return library


if __name__ == "__main__":
    print(build(Path(sys.argv[1]), sys.argv[2:]))
