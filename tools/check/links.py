#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Local links in Markdown lead somewhere: to a file of the tree, and to a heading where they name one."""

import pathlib
import re
import urllib.parse

import common
from common import Finding

LINK = re.compile(r"\[[^\]\n]*\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
DEFINITION = re.compile(r"^\s{0,3}\[[^\]\n]+\]:\s+<?(\S+?)>?(?:\s|$)")
FENCE = re.compile(r"^\s*(```|~~~)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
ELSEWHERE = re.compile(r"^([a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)


def prose(text: str) -> list[str]:
    """Lines of a document; those inside code fences, and code spans, are blanked."""
    lines, fenced = [], False
    for line in text.splitlines():
        fence = FENCE.match(line) is not None
        lines.append("" if fence or fenced else re.sub(r"`[^`]*`", lambda span: " " * len(span[0]), line))
        fenced ^= fence
    return lines


def anchors(text: str) -> set[str]:
    """The names headings get on the usual hosts."""
    found, fenced = set(), False
    for line in text.splitlines():
        if FENCE.match(line):
            fenced = not fenced
        heading = None if fenced else HEADING.match(line)
        if not heading:
            continue
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        name, number = slug, 0
        while name in found:
            number += 1
            name = f"{slug}-{number}"
        found.add(name)
    return found


def check_link(root: pathlib.Path, document: pathlib.Path, link: str) -> str | None:
    """What is wrong with a link, if anything."""
    if ELSEWHERE.match(link):
        return None
    path, _, anchor = urllib.parse.unquote(link).partition("#")
    base = root if path.startswith("/") else document.parent
    target = (base / path.lstrip("/")).resolve() if path else document
    if not target.is_relative_to(root):
        return f"link {link} leaves the tree"
    if not target.exists():
        return f"link {link}: no such file"
    if anchor and target.suffix == ".md" and anchor not in anchors(common.read(target)):
        return f"link {link}: {common.relative(target, root)} has no heading #{anchor}"
    return None


def check(root: pathlib.Path) -> list[Finding]:
    findings = []
    for document in common.tree_files(root, ".md"):
        for number, line in enumerate(prose(common.read(document)), 1):
            definition = DEFINITION.match(line)
            for link in LINK.findall(line) + ([definition[1]] if definition else []):
                if wrong := check_link(root, document, link):
                    findings.append(Finding(common.relative(document, root), number, wrong))
    return findings


if __name__ == "__main__":
    common.main(check)
