# SPDX-License-Identifier: Apache-2.0
"""Go programs that tests compare Capstan with, built once into build/tools/go/bin."""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = pathlib.Path(os.environ.get("CAPSTAN_TOOLS_DIR", ROOT / "build" / "tools")).absolute()
GO_BIN = TOOLS / "go" / "bin"
SKIPPED = 77


def skip(reason: str):
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def find_go() -> str:
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
    if not go:
        skip("Go is not installed, and what this compares with is built from a Go module")
    return go


def installed(name: str, package: str) -> pathlib.Path:
    """The program `name` of the Go package "path@version"; a second call costs nothing."""
    program, stamp = GO_BIN / name, GO_BIN / f"{name}.version"
    if program.exists() and stamp.exists() and stamp.read_text() == package:
        return program
    GO_BIN.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GOBIN": str(GO_BIN), "GOFLAGS": "-mod=mod"}
    built = subprocess.run([find_go(), "install", package], env=environment, capture_output=True, text=True,
                           timeout=1500, check=False)
    if built.returncode != 0:
        skip(f"go install {package} failed: {built.stderr.strip().splitlines()[-1:] or 'no reason'}")
    stamp.write_text(package)
    return program


def built(name: str, source: pathlib.Path) -> pathlib.Path:
    """A program from one file that needs the standard library alone; built again when the file changes."""
    program = GO_BIN / name
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return program
    GO_BIN.mkdir(parents=True, exist_ok=True)
    result = subprocess.run([find_go(), "build", "-o", str(program), str(source)], capture_output=True, text=True,
                            env={**os.environ, "GO111MODULE": "off"}, timeout=600, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"go build {source}: {result.stderr}")
    return program


def module_folder(module: str) -> pathlib.Path:
    """Where the source of a Go module "path@version" is, downloaded if need be."""
    cache = subprocess.run([find_go(), "env", "GOMODCACHE"], capture_output=True, text=True, check=True).stdout.strip()
    folder = pathlib.Path(cache, module)
    if not folder.is_dir():
        subprocess.run([find_go(), "mod", "download", module], capture_output=True, check=False, cwd=TOOLS)
    if not folder.is_dir():
        skip(f"Go module {module} is not to be had")
    return folder
