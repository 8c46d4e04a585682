# SPDX-License-Identifier: Apache-2.0
"""What the checks share: findings, the files of the tree, and C++ without its comments."""

import dataclasses
import os
import pathlib
import re
import sys

SKIPPED_FOLDERS = {".git", "build", "__pycache__", "testdata", "corpora"}


@dataclasses.dataclass(frozen=True, order=True)
class Finding:
    """One violation: where, what is wrong, and what to write instead."""

    path: str
    line: int
    what: str
    instead: str = ""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}" + (f"; {self.instead}" if self.instead else "")


def tree_files(root: pathlib.Path, *suffixes: str) -> list[pathlib.Path]:
    """Every file below root, in order, but build output and test material; with suffixes, only those."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS]
        found += [pathlib.Path(folder, name) for name in names]
    return sorted(path for path in found if path.is_file() and (not suffixes or path.suffix in suffixes))


def cpp_files(root: pathlib.Path) -> list[pathlib.Path]:
    return tree_files(root, ".h", ".cc")


def relative(path: pathlib.Path, root: pathlib.Path) -> str:
    return path.relative_to(root).as_posix()


def read(path: pathlib.Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


_CPP_TOKENS = re.compile(
    r"""(?P<comment>//(?:\\\n|[^\n])*|/\*.*?\*/)
      | (?P<include>^[ \t]*\#[ \t]*include[^\n]*)
      | (?P<raw>R"(?P<delimiter>[^()\s\\]{0,16})\(.*?\)(?P=delimiter)")
      | (?P<string>"(?:\\.|[^"\\\n])*")
      | (?P<digits>[0-9](?:[0-9a-zA-Z_.]|'[0-9a-zA-Z])*)
      | (?P<char>'(?:\\.|[^'\\\n])+')""",
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)


def cpp_code(text: str) -> str:
    """C++ with comments and the insides of literals blanked; lines and columns stay where they are."""

    def blank(match: re.Match) -> str:
        if match["include"] or match["digits"]:
            return match[0]
        return re.sub(r"[^\n]", " ", match[0])

    return _CPP_TOKENS.sub(blank, text)


def root_from_arguments(arguments: list[str]) -> pathlib.Path:
    """The tree to check: the only argument, or the one this script is in."""
    return pathlib.Path(arguments[1]).resolve() if len(arguments) > 1 else pathlib.Path(__file__).resolve().parents[2]


def print_findings(findings: list[Finding]) -> int:
    print("".join(f"{finding}\n" for finding in sorted(set(findings))), end="")
    return 1 if findings else 0


def main(check) -> None:
    """Runs one check as a program of its own: findings on stdout, exit code 1 if there are any."""
    sys.exit(print_findings(check(root_from_arguments(sys.argv))))
