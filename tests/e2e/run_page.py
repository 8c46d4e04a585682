#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a page of documentation: every ```sh block, in order, in one shell; a ```text block after it is
what it must print, where "…" stands for anything within a line, and a line of its own for any lines.

usage: run_page.py PAGE --path DIR [--path DIR ...]     (exit code 77: skipped, with the reason)
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

TIMEOUT_SECONDS = 600


def blocks(page):
    """[(line number, kind, text)] of the fenced blocks that run or are expected."""
    found = []
    kind, start, lines = None, 0, []
    for number, line in enumerate(page.splitlines(), 1):
        fence = re.match(r"^```(\w*)\s*$", line)
        if fence and kind is None:
            kind, start, lines = fence.group(1) or "other", number, []
        elif fence:
            if kind in ("sh", "text"):
                found.append((start, kind, "\n".join(lines)))
            kind = None
        elif kind is not None:
            lines.append(line)
    return found


def pattern(expected):
    """The regular expression of a ```text block."""
    parts = []
    for line in expected.splitlines():
        if line.strip() == "…":
            parts.append(r"(?:.*\n)*")
        else:
            parts.append(".*".join(re.escape(piece) for piece in line.split("…")) + r"\n")
    return re.compile("".join(parts))


def run(script, folder, path):
    environment = dict(os.environ, PATH=os.pathsep.join(path + [os.environ["PATH"]]))
    shell = subprocess.Popen(
        ["bash", "-c", script], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
    try:
        output, _ = shell.communicate(timeout=TIMEOUT_SECONDS)
        return shell.returncode, output
    except subprocess.TimeoutExpired:
        return "a timeout", ""
    finally:
        try:
            os.killpg(shell.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("page")
    arguments.add_argument("--path", action="append", default=[])
    options = arguments.parse_args()
    path = [str(pathlib.Path(p).resolve()) for p in options.path]
    for program in ("capstan", "envoy", "jq", "make", "curl"):
        if not shutil.which(program, path=os.pathsep.join(path + [os.environ["PATH"]])):
            print(f"SKIPPED: {program} is not on this machine")
            return 77

    steps = blocks(pathlib.Path(options.page).read_text(encoding="utf-8"))
    # Each block writes its output to a file of its own; what runs in the background must not hold ours.
    script = ["set -eu -o pipefail"]
    for line, kind, text in steps:
        if kind == "sh":
            script.append(f"echo {line} > .block\n{{\n{text}\n}} > .out-{line} 2>&1")
    folder = tempfile.mkdtemp(prefix="capstan-page-")
    code, output = run("\n".join(script), folder, path)

    failures = []
    shown = ""
    for line, kind, text in steps:
        out = pathlib.Path(folder, f".out-{line}")
        if kind == "sh":
            shown = out.read_text(encoding="utf-8") if out.exists() else ""
        elif not pattern(text).fullmatch(shown):
            failures.append(f"{options.page}:{line}: expected\n{text}\nbut it printed\n{shown}")
    if code != 0:
        block = pathlib.Path(folder, ".block").read_text().strip()
        last = pathlib.Path(folder, f".out-{block}")
        failures.insert(0, f"{options.page}:{block}: the shell ended with {code}: {output}"
                           f"{last.read_text() if last.exists() else ''}")
    if failures:
        print("\n".join(failures[:1]))
        for log in sorted(pathlib.Path(folder).glob("*.log")):
            print(f"--- the end of {log.name}\n{log.read_text(errors='replace')[-2000:]}")
        print(f"(everything is kept in {folder})\n0 passed, 1 failed")
        return 1
    shutil.rmtree(folder)
    print(f"{sum(kind == 'sh' for _, kind, _ in steps)} blocks of {options.page} ran as written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
