#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every source file says its licence in its first three lines."""

import pathlib

import common
from common import Finding

HEADER = "SPDX-License-Identifier: Apache-2.0"
SUFFIXES = {
    ".h", ".cc", ".go", ".proto", ".py", ".sh", ".cmake", ".mk", ".yaml", ".yml", ".js", ".css", ".html", ".service",
}  # fmt: skip


def needs_header(path: pathlib.Path) -> bool:
    if path.suffix in SUFFIXES or path.name == "CMakeLists.txt":
        return True
    with path.open("rb") as file:
        return file.read(2) == b"#!"


def check(root: pathlib.Path) -> list[Finding]:
    return [
        Finding(common.relative(path, root), 1, "no licence header", f"begin with `{HEADER}` in a comment")
        for path in common.tree_files(root)
        if needs_header(path) and HEADER not in "\n".join(common.read(path).splitlines()[:3])
    ]


if __name__ == "__main__":
    common.main(check)
