#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sums up a ctest run from its JUnit file: what failed, what was skipped and why, then the counts.

A GoogleTest program or a verbose Python unittest counts as its cases, any other test as one. The last line is always
`N passed, N failed, N skipped`; the exit code is 1 if anything failed, did not run, or nothing ran.
"""

import dataclasses
import re
import sys
import xml.etree.ElementTree as ElementTree

GTEST_RESULT = re.compile(r"^\[\s+(OK|FAILED|SKIPPED)\s+\] ([\w/]+\.[\w/]+?)(?:,.*)? \(\d+ ms\)$")
GTEST_RUN = re.compile(r"^\[ RUN      \] ([\w/]+\.[\w/]+)$")
GTEST_SKIP = re.compile(r"^.+: Skipped$")
UNITTEST_TOTAL = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)
UNITTEST_CASE = re.compile(r"^(?:(\w+) \([\w.]+\)|.*?) ?\.\.\. (ok|FAIL|ERROR|skipped ['\"](.*)['\"])$")
UNITTEST_NAME = re.compile(r"^(\w+) \([\w.]+\)")
REASON = re.compile(r"\bskip", re.IGNORECASE)


@dataclasses.dataclass
class Outcome:
    """The cases of one ctest entry; a skipped or failed one carries its reason."""

    passed: int = 0
    failed: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


def skip_reason(output: str) -> str:
    """The reason a script printed before it ended with the skip code: the line that says "skip", or the last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for line in reversed(lines):
        if REASON.search(line):
            return line
    return lines[-1] if lines else "no reason was printed"


def gtest_outcome(name: str, output: str) -> Outcome:
    """Reads a GoogleTest program's output, crash included: a case that began and never ended has failed."""
    outcome = Outcome()
    running, reason, collecting = None, [], False
    for line in output.splitlines():
        if began := GTEST_RUN.match(line):
            running, reason, collecting = began[1], [], False
        elif ended := GTEST_RESULT.match(line):
            case = f"{name}: {ended[2]}"
            if ended[1] == "OK":
                outcome.passed += 1
            elif ended[1] == "SKIPPED":
                outcome.skipped.append((case, " ".join(reason) or "no reason was given"))
            else:
                outcome.failed.append((case, ""))
            running, collecting = None, False
        elif running and GTEST_SKIP.match(line):
            collecting = True
        elif collecting and line.strip():
            reason.append(line.strip())
    if running:
        outcome.failed.append((f"{name}: {running}", "it began and did not end"))
    return outcome


def unittest_outcome(name: str, output: str, ran: int) -> Outcome:
    """Reads what `python3 -m unittest -v` printed; a case with a docstring has its name a line earlier."""
    outcome = Outcome()
    case = "?"
    for line in output.splitlines():
        if named := UNITTEST_NAME.match(line):
            case = named[1]
        ended = UNITTEST_CASE.match(line)
        if not ended:
            continue
        if ended[2].startswith("skipped"):
            outcome.skipped.append((f"{name}: {case}", ended[3]))
        elif ended[2] != "ok" and (f"{name}: {case}", "") not in outcome.failed:  # once, however many subtests
            outcome.failed.append((f"{name}: {case}", ""))
    outcome.passed = max(0, ran - len(outcome.skipped) - len(outcome.failed))
    return outcome


def passed_outcome(name: str, output: str) -> Outcome:
    """The cases of a test that ended well; one that left none in its output counts as one."""
    outcome = cases_outcome(name, output)
    return outcome if outcome.passed or outcome.failed or outcome.skipped else Outcome(passed=1)


def cases_outcome(name: str, output: str) -> Outcome:
    """The cases found in a test's output; nothing where it is no GoogleTest and no unittest."""
    if "[ RUN      ]" in output:
        return gtest_outcome(name, output)
    if ran := UNITTEST_TOTAL.search(output):
        return unittest_outcome(name, output, int(ran[1]))
    return Outcome()


def case_outcome(case: ElementTree.Element) -> Outcome:
    name, status = case.get("name", "?"), case.get("status", "?")
    output = case.findtext("system-out") or ""
    if status == "run":
        return passed_outcome(name, output)
    if status == "notrun" and case.find("skipped") is not None:
        why = (case.find("skipped").get("message") or "").strip()
        if "SKIP" in why:
            return Outcome(skipped=[(name, skip_reason(output))])
        return Outcome(failed=[(name, why or "it did not run")])
    if status == "disabled":
        return Outcome(skipped=[(name, "disabled in its CMakeLists.txt")])
    failure = case.find("failure")
    why = (failure.get("message") or "").strip() if failure is not None else status
    outcome = cases_outcome(name, output)
    if not outcome.failed:  # a crash or a time-out between cases, or no cases at all
        outcome.failed.append((name, why or "see its output"))
    return outcome


def summarize(root: ElementTree.Element) -> Outcome:
    total = Outcome()
    for case in root.iter("testcase"):
        total.add(case_outcome(case))
    return total


def report(total: Outcome, out) -> int:
    for title, rows in (("skipped", total.skipped), ("failed", total.failed)):
        if rows:
            print(f"\n{title}:", file=out)
        for name, reason in rows:
            print(f"  {name}{': ' if reason else ''}{reason}", file=out)
    nothing = not (total.passed or total.failed or total.skipped)
    if nothing:
        print("no test ran", file=out)
    print(f"\n{total.passed} passed, {len(total.failed)} failed, {len(total.skipped)} skipped", file=out)
    return 1 if total.failed or nothing else 0


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: test_summary.py JUNIT_FILE", file=sys.stderr)
        return 2
    try:
        root = ElementTree.parse(sys.argv[1]).getroot()
    except (OSError, ElementTree.ParseError) as error:
        print(f"\nctest left no readable results in {sys.argv[1]}: {error}\n0 passed, 1 failed, 0 skipped")
        return 1
    return report(summarize(root), sys.stdout)


if __name__ == "__main__":
    sys.exit(main())
