#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""clang-tidy over the programs' sources, in parallel, with a cache.

A result is kept under the hash of everything it depends on: the source, every header the
preprocessor opens for it, the compile command, .clang-tidy and the tool's version. So a second run
reads, hashes and prints. Tests are left out: GoogleTest's macros cost as much time as the programs.
"""

import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import common
from common import Finding

TOOL, COMPILER = "clang-tidy-14", "clang++-14"
DIAGNOSTIC = re.compile(r"^(/[^:\n]+):(\d+):\d+: (?:warning|error): (.*) \[([\w.,-]+)\]$", re.MULTILINE)
EXTRA = ("-Wthread-safety", "-Wno-unknown-warning-option", "-Wno-unused-command-line-argument")
LAUNCHERS = {"ccache", "sccache", "distcc"}
TIMEOUT_SECONDS = 600


def generate_headers(build: pathlib.Path) -> None:
    """Brings build files up to date and makes the headers protoc writes: without them nothing parses."""
    listed = subprocess.run(["ninja", "-C", build, "-t", "targets", "all"], capture_output=True, text=True, check=True)
    headers = re.findall(r"^(\S+\.pb\.h): CUSTOM_COMMAND$", listed.stdout, re.MULTILINE)
    made = subprocess.run(["ninja", "-C", build, "build.ninja", *headers], capture_output=True, text=True, check=False)
    if made.returncode:
        raise SystemExit(f"cannot generate headers in {build}:\n{made.stdout}{made.stderr}")


def compile_commands(root: pathlib.Path, build: pathlib.Path) -> dict[pathlib.Path, dict]:
    """Commands of the sources clang-tidy reads, by source."""
    entries = json.loads(common.read(build / "compile_commands.json"))
    return {
        path: entry
        for entry in entries
        if (path := pathlib.Path(entry["file"])).is_relative_to(root / "src") and not path.name.endswith("_test.cc")
    }


def arguments(entry: dict) -> list[str]:
    """The compiler's arguments without launcher, compiler and output."""
    words = shlex.split(entry["command"])
    while pathlib.Path(words[0]).name in LAUNCHERS:
        words.pop(0)
    words.pop(0)
    kept, skip = [], False
    for word in words:
        if not skip and word not in ("-c", "-o"):
            kept.append(word)
        skip = word == "-o"
    return kept


@functools.lru_cache(maxsize=None)
def file_hash(path: str) -> str:
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


@functools.lru_cache(maxsize=None)
def tool_hash(root: pathlib.Path) -> str:
    version = subprocess.run([TOOL, "--version"], capture_output=True, text=True, check=True).stdout
    parts = [version, common.read(root / ".clang-tidy"), common.read(pathlib.Path(__file__))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def dependencies(entry: dict) -> list[str] | None:
    """Every file the preprocessor opens for a source; None where it stops with an error."""
    run = subprocess.run(
        [COMPILER, *arguments(entry), *EXTRA, "-M"], cwd=entry["directory"], capture_output=True, text=True, check=False
    )
    if run.returncode:
        return None
    names = run.stdout.replace("\\\n", " ").split(":", 1)[1].split()
    return sorted({os.path.join(entry["directory"], name) for name in names})


def cache_key(root: pathlib.Path, entry: dict) -> str | None:
    files = dependencies(entry)
    if files is None:
        return None
    digest = hashlib.sha256(f"{tool_hash(root)}\0{entry['command']}\0".encode())
    for name in files:
        digest.update(f"{name}\0{file_hash(name)}\0".encode())
    return digest.hexdigest()


def run_tool(root: pathlib.Path, build: pathlib.Path, source: pathlib.Path) -> list[Finding]:
    command = [TOOL, "-p", str(build), "--quiet", f"--header-filter=^{re.escape(str(root / 'src'))}/"]
    command += [f"--extra-arg={flag}" for flag in EXTRA]
    run = subprocess.run(
        [*command, str(source)], cwd=root, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS
    )
    findings = [
        Finding(os.path.relpath(path, root), int(line), message, f"clang-tidy: {name}")
        for path, line, message, name in DIAGNOSTIC.findall(run.stdout)
    ]
    if run.returncode and not findings:
        raise RuntimeError(f"{TOOL} failed on {source}: {run.stderr.strip()}")
    return findings


def check_source(root: pathlib.Path, build: pathlib.Path, entry: dict, cache: pathlib.Path) -> list[Finding]:
    source = pathlib.Path(entry["file"])
    key = cache_key(root, entry)
    slot = cache / f"{key}.json"
    if key and slot.exists():
        return [Finding(*row) for row in json.loads(common.read(slot))]
    findings = run_tool(root, build, source)
    if key:
        rows = [[finding.path, finding.line, finding.what, finding.instead] for finding in findings]
        partial = slot.with_suffix(f".{os.getpid()}.{source.name}.tmp")
        partial.write_text(json.dumps(rows), encoding="utf-8")
        partial.replace(slot)
    return findings


def check_sources(root: pathlib.Path, build: pathlib.Path) -> list[Finding]:
    """Checks every source of src/ by the commands in build/compile_commands.json."""
    commands = compile_commands(root, build)
    cache = root / "build" / "check" / "tidy-cache"
    cache.mkdir(parents=True, exist_ok=True)
    findings = [
        Finding(common.relative(path, root), 1, "no target compiles this source", "its room's CMakeLists.txt must")
        for path in sorted((root / "src").rglob("*.cc"))
        if path not in commands and not path.name.endswith("_test.cc")
    ]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(check_source, root, build, entry, cache) for entry in commands.values()]
        for done, job in enumerate(concurrent.futures.as_completed(jobs), 1):
            findings += job.result()
            if sys.stderr.isatty():
                print(f"\r  tidy: {done} of {len(jobs)}", end="\r" if done < len(jobs) else "\n", file=sys.stderr)
    return findings


def check(root: pathlib.Path, build: pathlib.Path | None = None) -> list[Finding]:
    build = build or root / "build" / "dev"
    generate_headers(build)
    return check_sources(root, build)


if __name__ == "__main__":
    common.main(check)
