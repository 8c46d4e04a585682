#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Finds words that only listed files may use; bans.txt lists words, replacements and files."""

import configparser
import dataclasses
import pathlib
import re

import common
from common import Finding

TABLE = pathlib.Path(__file__).with_name("bans.txt")
TEXT_SUFFIXES = {
    "", ".cc", ".h", ".go", ".proto", ".py", ".sh", ".cmake", ".txt", ".md", ".json", ".yaml", ".yml", ".mk", ".html",
    ".css", ".js", ".cnf", ".conf", ".service", ".toml", ".in",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Ban:
    name: str
    pattern: re.Pattern
    instead: str
    where: tuple[str, ...]
    code_only: bool
    allowed: tuple[str, ...]


def glob_matches(glob: str, path: str) -> bool:
    """`*` stays inside a folder, `**` crosses them."""
    parts = re.split(r"(\*\*/?|\*)", glob)
    wild = {"**": ".*", "**/": "(?:.*/)?", "*": "[^/]*"}
    return re.fullmatch("".join(wild.get(part, re.escape(part)) for part in parts), path) is not None


def matches_any(globs: tuple[str, ...], path: str) -> bool:
    return any(glob_matches(glob, path) for glob in globs)


def read_table(path: pathlib.Path) -> list[Ban]:
    config = configparser.ConfigParser(interpolation=None, comment_prefixes=("#",), strict=True)
    config.read_string(common.read(path), str(path))
    bans = []
    for name in config.sections():
        rule = config[name]
        allowed = []
        for line in filter(None, map(str.strip, rule.get("allow", "").splitlines())):
            glob, _, reason = line.partition(" -- ")
            if not reason.strip():
                raise SystemExit(f"{path}: [{name}] allows {glob} without a reason; write `GLOB -- reason`")
            allowed.append(glob.strip())
        bans.append(
            Ban(name, re.compile(rule["pattern"]), rule["instead"], tuple(rule["in"].split()),
                rule.get("view", "text") == "code", tuple(allowed))
        )  # fmt: skip
    return bans


def check_file(ban: Ban, path: str, text: str) -> list[Finding]:
    return [
        Finding(path, number, f"[{ban.name}] {match[0].strip()}", ban.instead)
        for number, line in enumerate(text.splitlines(), 1)
        if (match := ban.pattern.search(line))
    ]


def unused_allowances(bans: list[Ban], paths: list[str]) -> list[Finding]:
    return [
        Finding("tools/check/bans.txt", 1, f"[{ban.name}] allows {glob}, which is not there", "drop the allowance")
        for ban in bans
        for glob in ban.allowed
        if not any(glob_matches(glob, path) for path in paths)
    ]


def check(root: pathlib.Path, table: pathlib.Path | None = None) -> list[Finding]:
    bans = read_table(table or TABLE)
    files = [path for path in common.tree_files(root) if path.suffix in TEXT_SUFFIXES]
    paths = [common.relative(path, root) for path in files]
    findings = unused_allowances(bans, paths)
    for path, name in zip(files, paths):
        text = common.read(path)
        code = common.cpp_code(text) if path.suffix in (".h", ".cc") else text
        for ban in bans:
            if matches_any(ban.where, name) and not matches_any(ban.allowed, name):
                findings += check_file(ban, name, code if ban.code_only else text)
    return findings


if __name__ == "__main__":
    common.main(check)
