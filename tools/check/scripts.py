#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shell scripts pass shellcheck; Python scripts compile."""

import json
import pathlib
import re
import subprocess

import common
from common import Finding


def shebang(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        line = file.readline(120)
    return line.decode("utf-8", "replace").strip() if line.startswith(b"#!") else ""


def is_shell(path: pathlib.Path) -> bool:
    return path.suffix == ".sh" or re.search(r"\b(sh|bash|dash)$", shebang(path)) is not None


def is_python(path: pathlib.Path) -> bool:
    return path.suffix == ".py" or "python" in shebang(path)


def check_shell(root: pathlib.Path, scripts: list[pathlib.Path]) -> list[Finding]:
    if not scripts:
        return []
    names = [common.relative(path, root) for path in scripts]
    run = subprocess.run(["shellcheck", "-f", "json", *names], cwd=root, capture_output=True, text=True, check=False)
    if run.returncode > 1:
        raise SystemExit(f"shellcheck failed: {run.stderr.strip()}")
    return [
        Finding(row["file"], row["line"], f"SC{row['code']} {row['message']}", "shellcheck explains it by that number")
        for row in json.loads(run.stdout)
    ]


def check_python(root: pathlib.Path, path: pathlib.Path) -> list[Finding]:
    try:
        compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return [Finding(common.relative(path, root), getattr(error, "lineno", 1) or 1, f"does not compile: {error}")]
    return []


def check(root: pathlib.Path) -> list[Finding]:
    files = common.tree_files(root)
    findings = check_shell(root, [path for path in files if is_shell(path)])
    for path in filter(is_python, files):
        findings += check_python(root, path)
    return findings


if __name__ == "__main__":
    common.main(check)
