#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every check finds a planted violation, and nothing in a tree without one."""

import io
import json
import pathlib
import shutil
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import bans  # noqa: E402
import common  # noqa: E402
import format as cpp_format  # noqa: E402
import layers  # noqa: E402
import licence  # noqa: E402
import links  # noqa: E402
import scripts  # noqa: E402
import test_summary  # noqa: E402
import tidy  # noqa: E402

SPDX = "// SPDX-License-Identifier: Apache-2.0\n"


def needs(*tools: str):
    missing = [tool for tool in tools if not shutil.which(tool)]
    return unittest.skipIf(missing, f"{' and '.join(missing)} not installed (./dev install check)")


class CheckTest(unittest.TestCase):
    """A temporary tree to plant violations in."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name).resolve()

    def plant(self, name: str, text: str) -> pathlib.Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def assert_found(self, findings, *expected: tuple[str, int, str]):
        """Exactly these, each as (path, line, a part of what is said)."""
        self.assertEqual([(f.path, f.line) for f in sorted(findings)], [(e[0], e[1]) for e in sorted(expected)], findings)
        for finding, (_, _, part) in zip(sorted(findings), sorted(expected)):
            self.assertIn(part, str(finding))


class CommonTest(CheckTest):
    def test_comments_and_literals_are_blanked_in_place(self):
        text = 'f("a//b", \'"\'); // time(nullptr)\n/* sleep(1)\n */ g(1\'000); R"x(\nsleep(2))x"; h();'
        code = common.cpp_code(text)
        self.assertEqual(len(code), len(text))
        self.assertEqual(code.count("\n"), text.count("\n"))
        for kept in ("f(", "g(1'000)", "h();"):
            self.assertIn(kept, code)
        for gone in ("time", "sleep", "a//b"):
            self.assertNotIn(gone, code)

    def test_build_output_is_not_read(self):
        self.plant("build/x.cc", "")
        self.plant("src/x.cc", "")
        self.assertEqual([common.relative(p, self.root) for p in common.tree_files(self.root)], ["src/x.cc"])


class LayersTest(CheckTest):
    def setUp(self):
        super().setUp()
        self.table = self.plant("table", "low 0\nmid 1\npeer 1 -> mid\nhigh 2 # top\n")
        self.plant("src/low/CMakeLists.txt", "capstan_room(low DEPS absl::status)")
        self.plant("src/mid/CMakeLists.txt", "capstan_room(mid\n  DEPS capstan_low)")
        self.plant("src/peer/CMakeLists.txt", "capstan_room(peer DEPS capstan_mid)")
        self.plant("src/high/CMakeLists.txt", "capstan_room(high DEPS capstan_peer capstan_proto TEST_DEPS capstan_mid)")
        self.plant("src/high/a.cc", '#include <vector>\n#include "high/a.h"\n#include "low/l.h"\n#include "v1/x.pb.h"\n')

    def check(self):
        return layers.check(self.root, self.table)

    def test_clean_tree(self):
        self.assertEqual(self.check(), [])

    def test_include_upwards(self):
        self.plant("src/low/a.h", '#pragma once\n#include "mid/m.h"\n')
        self.assert_found(self.check(), ("src/low/a.h", 2, "low (layer 0) may not use mid (layer 1)"))

    def test_include_sideways_without_an_edge(self):
        self.plant("src/mid/a.cc", '#include "peer/p.h"\n')
        self.assert_found(self.check(), ("src/mid/a.cc", 1, "mid (layer 1) may not use peer"))

    def test_include_of_a_room_that_is_not_linked(self):
        self.plant("src/mid/CMakeLists.txt", "capstan_room(mid)")
        self.plant("src/mid/a.cc", '#include "low/l.h"\n')
        self.assertIn(("src/mid/a.cc", 1), [(f.path, f.line) for f in self.check()])

    def test_test_only_dependencies_serve_tests_only(self):
        self.plant("src/high/CMakeLists.txt", "capstan_room(high DEPS capstan_proto capstan_low TEST_DEPS capstan_mid)")
        self.plant("src/high/b_test.cc", '#include "mid/m.h"\n')
        self.plant("src/high/b.cc", '#include "mid/m.h"\n')
        self.assert_found(self.check(), ("src/high/b.cc", 1, "does not link capstan_mid"))

    def test_private_dependencies_are_not_passed_on(self):
        self.plant("src/peer/CMakeLists.txt", "capstan_room(peer PRIVATE_DEPS capstan_mid)")
        self.plant("src/peer/a.cc", '#include "mid/m.h"\n')
        self.plant("src/high/b.cc", '#include "mid/m.h"\n')
        self.assertEqual({f.path for f in self.check()}, {"src/high/a.cc", "src/high/b.cc"})

    def test_generated_headers_need_their_library(self):
        self.plant("src/mid/a.cc", '#include "v1/x.pb.h"\n#include "v1/x.grpc.pb.h"\n')
        self.assert_found(
            self.check(),
            ("src/mid/a.cc", 1, "does not link capstan_proto"),
            ("src/mid/a.cc", 2, "does not link capstan_grpc"),
        )

    def test_link_upwards(self):
        self.plant("src/low/CMakeLists.txt", "capstan_room(low PRIVATE_DEPS capstan_high)")
        self.assert_found(self.check(), ("src/low/CMakeLists.txt", 1, "may not use high"))

    def test_room_without_a_layer_and_row_without_a_room(self):
        self.plant("src/new/CMakeLists.txt", "capstan_room(new)")
        self.table.write_text(self.table.read_text() + "gone 2\n")
        self.assert_found(
            self.check(),
            ("src/new/CMakeLists.txt", 1, "no layer"),
            ("tools/check/layers.txt", 1, "no room gone"),
        )

    def test_include_without_a_room(self):
        self.plant("src/mid/a.cc", '#include "m.h"\n')
        self.assert_found(self.check(), ("src/mid/a.cc", 1, 'write "mid/m.h"'))


class BansTest(CheckTest):
    """The real table, so that a rule that matches nothing cannot stay. Lines are planted in two halves where
    the rule would find them here."""

    PLANTED = {
        "wall clock": "auto t = absl::Now();",
        "sleep": "absl::SleepFor(x);",
        "thread": "std::thread t;",
        "randomness": "std::random_device d;",
        "environment": 'getenv("HOME");',
        "openssl": "#include <openssl/ssl.h>",
        "grpc": "#include <grpcpp/grpcpp.h>",
        "throw": "throw 1;",
        "unordered": "absl::flat_hash_map<int, int> m;",
        "unfinished": "// TO" + "DO: later",
        "registry host": "// see pypi" + ".org",
        "machine path": 'f("/' + 'home/me/x");',
    }

    def check(self):
        # The temporary tree has none of the files the real table allows.
        return [finding for finding in bans.check(self.root) if finding.path != "tools/check/bans.txt"]

    def test_every_rule_finds_its_planted_line(self):
        self.assertEqual(set(self.PLANTED), {ban.name for ban in bans.read_table(bans.TABLE)})
        for rule, line in self.PLANTED.items():
            with self.subTest(rule):
                self.plant("src/room/a.cc", f"{SPDX}\n{line}\n")
                findings = self.check()
                self.assert_found(findings, ("src/room/a.cc", 3, f"[{rule}]"))
                self.assertTrue(findings[0].instead)

    def test_comments_and_strings_may_name_what_code_may_not_do(self):
        self.plant("src/room/a.cc", '// Never absl::Now() here.\nf("std::thread");\n')
        self.assertEqual(self.check(), [])

    def test_allowed_files_and_other_folders_are_exempt(self):
        self.plant("src/base/clock.cc", "absl::Now();\n")
        self.plant("tests/a.cc", "absl::Now();\n")
        self.assertEqual(self.check(), [])

    def test_an_allowance_needs_a_reason_and_a_file(self):
        rule = "[r]\npattern = x\ninstead = y\nin = **\nallow = "
        with self.assertRaisesRegex(SystemExit, "without a reason"):
            bans.read_table(self.plant("t.ini", rule + "src/gone.cc\n"))
        table = self.plant("t.ini", rule + "src/gone.cc -- why\n")
        self.assertTrue(any("src/gone.cc" in f.what for f in bans.check(self.root, table)))

    def test_globs(self):
        self.assertTrue(bans.glob_matches("src/**", "src/a/b.cc"))
        self.assertTrue(bans.glob_matches("**", "dev"))
        self.assertTrue(bans.glob_matches("src/x509/*", "src/x509/a.h"))
        self.assertFalse(bans.glob_matches("src/x509/*", "src/x509/deep/a.h"))
        self.assertFalse(bans.glob_matches("src/*.cc", "src/a/b.cc"))


class LicenceTest(CheckTest):
    def test_planted(self):
        self.plant("src/good.cc", SPDX)
        self.plant("tool", "#!/bin/sh\n# SPDX-License-Identifier: Apache-2.0\n")
        self.plant("README.md", "no header needed")
        self.plant("src/bad.cc", "int x;\n" * 9 + SPDX)
        self.plant("script", "#!/bin/sh\ntrue\n")
        self.assert_found(
            licence.check(self.root), ("script", 1, "no licence header"), ("src/bad.cc", 1, "no licence header")
        )


class LinksTest(CheckTest):
    def test_planted(self):
        self.plant("docs/other.md", "# A `b`, c\n## Same\n## Same\n```\n# not a heading\n```\n")
        good = "[a](other.md) [b](other.md#a-b-c) [c](#title) [d](https://x.example/y) [e](other.md#same-1) `[f](no.md)`\n"
        self.plant("docs/good.md", "# Title\n" + good + "```\n[g](no.md)\n```\n[r]: other.md\n")
        self.assertEqual(links.check(self.root), [])
        self.plant("docs/bad.md", "[a](no.md)\n[b](other.md#not-a-heading)\n[c](../../x.md)\n[r]: gone.md\n")
        self.assert_found(
            links.check(self.root),
            ("docs/bad.md", 1, "no such file"),
            ("docs/bad.md", 2, "no heading #not-a-heading"),
            ("docs/bad.md", 3, "leaves the tree"),
            ("docs/bad.md", 4, "no such file"),
        )


class ScriptsTest(CheckTest):
    @needs("shellcheck")
    def test_planted_shell(self):
        self.plant("good", "#!/bin/sh\necho \"$1\"\n")
        self.plant("bad", "#!/bin/sh\necho $1\n")
        self.assert_found(scripts.check(self.root), ("bad", 2, "SC2086"))

    def test_planted_python(self):
        self.plant("good.py", "x = 1\n")
        self.plant("bad.py", "x = 1\ndef f(:\n")
        self.assert_found(scripts.check(self.root), ("bad.py", 2, "does not compile"))


class FormatTest(CheckTest):
    @needs("clang-format-14")
    def test_planted(self):
        self.plant(".clang-format", "BasedOnStyle: Google\n")
        self.plant("src/good.cc", "int f() { return 1; }\n")
        self.plant("src/bad.cc", "int x;\nint  f( ) {return 1;}\n")
        self.assert_found(cpp_format.check(self.root), ("src/bad.cc", 2, "run clang-format-14 -i src/bad.cc"))


class TidyTest(CheckTest):
    def setUp(self):
        super().setUp()
        shutil.copy(HERE.parents[1] / ".clang-tidy", self.root)
        self.plant("src/room/a.h", "#pragma once\nstruct Slot { Slot(int value); };\n")
        self.source = self.plant("src/room/a.cc", '#include "room/a.h"\nnamespace n {} using namespace n;\n')
        command = f"/usr/bin/ccache c++ -std=c++20 -I{self.root}/src -o a.o -c {self.source}"
        entry = {"directory": str(self.root), "command": command, "file": str(self.source)}
        self.plant("build/compile_commands.json", json.dumps([entry]))
        tidy.file_hash.cache_clear()

    def check(self):
        tidy.file_hash.cache_clear()
        return tidy.check_sources(self.root, self.root / "build")

    def cached(self):
        return sorted((self.root / "build/check/tidy-cache").glob("*.json"))

    @needs("clang-tidy-14", "clang++-14")
    def test_planted_in_source_and_header_and_then_from_the_cache(self):
        expected = (("src/room/a.cc", 2, "google-build-using-namespace"), ("src/room/a.h", 2, "google-explicit-constructor"))
        self.assert_found(self.check(), *expected)
        self.assertEqual(len(self.cached()), 1)
        self.assert_found(self.check(), *expected)
        self.assertEqual(len(self.cached()), 1)

    @needs("clang-tidy-14", "clang++-14")
    def test_a_changed_header_is_read_again(self):
        self.check()
        self.plant("src/room/a.h", "#pragma once\n")
        self.assert_found(self.check(), ("src/room/a.cc", 2, "google-build-using-namespace"))
        self.assertEqual(len(self.cached()), 2)

    @needs("clang-tidy-14", "clang++-14")
    def test_a_source_no_target_compiles(self):
        self.plant("src/room/orphan.cc", "")
        self.assertIn(("src/room/orphan.cc", 1), [(f.path, f.line) for f in self.check()])


class SummaryTest(unittest.TestCase):
    def summarize(self, *cases: str):
        return test_summary.summarize(ElementTree.fromstring(f"<testsuite>{''.join(cases)}</testsuite>"))

    @staticmethod
    def case(status: str, output: str = "", inner: str = "") -> str:
        return f'<testcase name="t" status="{status}">{inner}<system-out>{output}</system-out></testcase>'

    GTEST = "[ RUN      ] A.Ok\n[       OK ] A.Ok (0 ms)\n[ RUN      ] A.Skip\nf.cc:3: Skipped\nno envoy\n[  SKIPPED ] A.Skip (0 ms)\n"

    def test_cases_of_a_googletest_program(self):
        total = self.summarize(self.case("run", self.GTEST))
        self.assertEqual((total.passed, total.failed, total.skipped), (1, [], [("t: A.Skip", "no envoy")]))

    def test_a_crash_is_a_failure_of_the_case_that_ran(self):
        total = self.summarize(self.case("fail", self.GTEST + "[ RUN      ] A.Crash\n"))
        self.assertEqual([name for name, _ in total.failed], ["t: A.Crash"])

    def test_a_failure_after_all_cases_passed(self):
        total = self.summarize(self.case("fail", self.GTEST, '<failure message="leaked"/>'))
        self.assertEqual(total.failed, [("t", "leaked")])

    def test_a_script_that_skips_says_why(self):
        total = self.summarize(self.case("notrun", "skipped: no Go\n", '<skipped message="SKIP_RETURN_CODE=77"/>'))
        self.assertEqual(total.skipped, [("t", "skipped: no Go")])

    def test_a_program_that_is_missing_has_failed(self):
        total = self.summarize(self.case("notrun", "", '<skipped message="Unable to find executable"/>'))
        self.assertEqual(total.failed, [("t", "Unable to find executable")])

    def test_cases_of_a_unittest_program(self):
        output = (
            "test_a (m.T.test_a) ... ok\ntest_b (m.T.test_b)\nIt does. ... skipped 'no Go'\n"
            "test_c (m.T.test_c) ... FAIL\nRan 3 tests in 0.1s\n"
        )
        total = self.summarize(self.case("fail", output))
        self.assertEqual((total.passed, total.failed, total.skipped), (1, [("t: test_c", "")], [("t: test_b", "no Go")]))

    def test_no_test_at_all_is_a_failure_and_the_counts_come_last(self):
        out = io.StringIO()
        self.assertEqual(test_summary.report(self.summarize(), out), 1)
        self.assertEqual(out.getvalue().splitlines()[-1], "0 passed, 0 failed, 0 skipped")


if __name__ == "__main__":
    unittest.main(verbosity=2)
