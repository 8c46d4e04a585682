#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds includes between rooms, and what rooms link, to the table in layers.txt.

The compiler cannot: every room is compiled with src/ as its include folder, so a header of any room
would be found.
"""

import dataclasses
import pathlib
import re

import common
from common import Finding

TABLE = pathlib.Path(__file__).with_name("layers.txt")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"', re.MULTILINE)
ROW = re.compile(r"^(\w+)\s+(\d+)(?:\s+->\s+([\w ]+))?$")
KEYWORDS = ("DEPS", "PRIVATE_DEPS", "TEST_DEPS")


@dataclasses.dataclass(frozen=True)
class Room:
    layer: int
    beside: frozenset[str]  # rooms of the same layer it may use


def read_table(path: pathlib.Path) -> dict[str, Room]:
    rooms = {}
    for number, line in enumerate(common.read(path).splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        row = ROW.match(line)
        if not row:
            raise SystemExit(f"{path}:{number}: expected `room layer [-> rooms]`, found: {line}")
        rooms[row[1]] = Room(int(row[2]), frozenset((row[3] or "").split()))
    return rooms


def linked(cmake: str) -> dict[str, set[str]]:
    """The libraries named after DEPS, PRIVATE_DEPS and TEST_DEPS of a room's capstan_room(...)."""
    libraries = {keyword: set() for keyword in KEYWORDS}
    call = re.search(r"^capstan_room\(([^)]*)\)", cmake, re.MULTILINE)
    keyword = None
    for word in re.sub(r"#.*", "", call[1]).split() if call else []:
        if word in libraries:
            keyword = word
        elif keyword:
            libraries[keyword].add(word)
    return libraries


def may_use(rooms: dict[str, Room], user: str, used: str) -> bool:
    return user == used or rooms[used].layer < rooms[user].layer or used in rooms[user].beside


def refusal(rooms: dict[str, Room], user: str, used: str) -> str:
    return f"{user} (layer {rooms[user].layer}) may not use {used} (layer {rooms[used].layer})"


REMEDY = "declare a port of your own for a higher layer to implement, or move the noun down a layer"


class Tree:
    """The rooms of one tree: their sources and what they link."""

    def __init__(self, root: pathlib.Path, rooms: dict[str, Room]):
        self.root, self.rooms = root, rooms
        self.folders = {path.parent.name: path.parent for path in sorted(root.glob("src/*/CMakeLists.txt"))}
        self.links = {name: linked(common.read(folder / "CMakeLists.txt")) for name, folder in self.folders.items()}

    def reach(self, room: str, keywords: tuple[str, ...]) -> set[str]:
        """Libraries the room sees: what it links by those keywords, and on from there what is public."""
        seen, todo = set(), [f"capstan_{room}"]
        first = True
        while todo:
            library = todo.pop()
            if library in seen:
                continue
            seen.add(library)
            links = self.links.get(library.removeprefix("capstan_"))
            if library == "capstan_grpc":
                todo.append("capstan_proto")
            if links:
                todo += [name for keyword in (keywords if first else ("DEPS",)) for name in links[keyword]]
            first = False
        return seen

    def check_table(self) -> list[Finding]:
        findings = []
        for name in self.folders.keys() - self.rooms.keys():
            findings.append(
                Finding(f"src/{name}/CMakeLists.txt", 1, f"room {name} has no layer", "give it one in tools/check/layers.txt")
            )
        for name in self.rooms.keys() - self.folders.keys():
            findings.append(Finding("tools/check/layers.txt", 1, f"there is no room {name} in src/", "drop its row"))
        return findings

    def check_links(self, name: str) -> list[Finding]:
        path = f"src/{name}/CMakeLists.txt"
        findings = []
        for used in sorted(set().union(*(self.links[name][keyword] for keyword in ("DEPS", "PRIVATE_DEPS")))):
            used = used.removeprefix("capstan_")
            if used in self.rooms and not may_use(self.rooms, name, used):
                findings.append(Finding(path, 1, f"DEPS: {refusal(self.rooms, name, used)}", REMEDY))
        return findings

    def check_include(self, name: str, include: str, sees: set[str]) -> tuple[str, str] | None:
        """What is wrong with one include of a room, and the remedy."""
        if include.endswith(".pb.h"):
            library = "capstan_grpc" if include.endswith(".grpc.pb.h") else "capstan_proto"
            if library in sees:
                return None
            return f"{name} includes generated {include} and does not link {library}", "use a value of your own room"
        if "/" not in include:
            return f'"{include}" has no room', f'write "{name}/{include}"'
        used = include.split("/")[0]
        if used not in self.rooms:
            return None  # a library's header, or the compiler will say
        if not may_use(self.rooms, name, used):
            return refusal(self.rooms, name, used), REMEDY
        if f"capstan_{used}" not in sees:
            return f"{name} includes {include} and does not link capstan_{used}", f"add it to DEPS in src/{name}/CMakeLists.txt"
        return None

    def check_includes(self, name: str) -> list[Finding]:
        findings = []
        for path in common.cpp_files(self.folders[name]):
            is_test = path.name.endswith("_test.cc")
            sees = self.reach(name, KEYWORDS if is_test else ("DEPS", "PRIVATE_DEPS"))
            text = common.read(path)
            for match in INCLUDE.finditer(text):
                if wrong := self.check_include(name, match[1], sees):
                    line = text.count("\n", 0, match.start()) + 1
                    findings.append(Finding(common.relative(path, self.root), line, *wrong))
        return findings


def check(root: pathlib.Path, table: pathlib.Path | None = None) -> list[Finding]:
    tree = Tree(root, read_table(table or TABLE))
    findings = tree.check_table()
    for name in tree.folders:
        if name in tree.rooms:
            findings += tree.check_links(name) + tree.check_includes(name)
    return findings


if __name__ == "__main__":
    common.main(check)
