#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""C++ is formatted as clang-format 14 formats it by .clang-format."""

import concurrent.futures
import os
import pathlib
import re
import subprocess

import common
from common import Finding

TOOL = "clang-format-14"
VIOLATION = re.compile(r"^(.+?):(\d+):\d+: error: ", re.MULTILINE)
BATCH = 20


def check_batch(root: pathlib.Path, names: list[str]) -> list[Finding]:
    run = subprocess.run(
        [TOOL, "--dry-run", "-Werror", "--style=file", *names], cwd=root, capture_output=True, text=True, check=False
    )
    first, count = {}, {}
    for name, line in VIOLATION.findall(run.stderr):
        first.setdefault(name, int(line))
        count[name] = count.get(name, 0) + 1
    if run.returncode and not first:
        raise SystemExit(f"{TOOL} failed: {run.stderr.strip()}")
    return [
        Finding(name, line, f"not formatted in {count[name]} places, here first", f"run {TOOL} -i {name}")
        for name, line in first.items()
    ]


def check(root: pathlib.Path) -> list[Finding]:
    names = [common.relative(path, root) for path in common.cpp_files(root)]
    batches = [names[start : start + BATCH] for start in range(0, len(names), BATCH)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return [finding for found in pool.map(lambda batch: check_batch(root, batch), batches) for finding in found]


if __name__ == "__main__":
    common.main(check)
