#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the checks, all or those named, and ends with `N passed, N failed`."""

import argparse
import functools
import pathlib
import sys
import time

import bans
import common
import format as cpp_format
import layers
import licence
import links
import scripts
import tidy

CHECKS = {
    "licence": licence.check,
    "layers": layers.check,
    "bans": bans.check,
    "scripts": scripts.check,
    "links": links.check,
    "format": cpp_format.check,
    "tidy": tidy.check,
}


def run(name: str, check, root: pathlib.Path) -> bool:
    began = time.monotonic()
    findings = check(root)
    failed = common.print_findings(findings)
    count = len(set(findings))
    outcome = "ok" if not failed else f"{count} finding{'s' if count > 1 else ''}"
    print(f"check {name}: {outcome} ({time.monotonic() - began:.1f} s)", flush=True)
    return not failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev check", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="one of: " + " ".join(CHECKS))
    parser.add_argument("--build", type=pathlib.Path, help="the build folder clang-tidy reads (build/dev)")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in CHECKS]:
        parser.error(f"unknown check {unknown[0]}; there are: {' '.join(CHECKS)}")
    root = common.root_from_arguments([])
    checks = dict(CHECKS)
    if arguments.build:
        checks["tidy"] = functools.partial(tidy.check, build=arguments.build.resolve())
    passed = [run(name, checks[name], root) for name in arguments.names or CHECKS]
    print(f"{passed.count(True)} passed, {passed.count(False)} failed")
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
