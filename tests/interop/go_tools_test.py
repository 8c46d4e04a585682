#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The cache of Go programs, with a stand-in for the go command: what is built, when, and what is said if not."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(__file__).with_name("go_tools.py")
RUN = TOOL.parents[1] / "kubelite" / "run.py"

FAKE_GO = """#!/bin/sh
case $1 in
  version) echo "go version go${FAKE_VERSION:-1.26.8} linux/amd64" ;;
  mod) [ -z "$FAKE_OFFLINE" ] || { echo 'no route to host' >&2; exit 1; } ;;
  list) echo "$FAKE_SOURCES" ;;
  build)
    while [ "$1" != -o ]; do shift; done
    echo "$3" >>"$FAKE_LOG"
    printf '#!/bin/sh\\necho half' >"$2"
    sleep "${FAKE_SECONDS:-0}"
    [ -z "$FAKE_BROKEN" ] || { echo 'undefined: x' >&2; exit 1; }
    chmod +x "$2"
    ;;
esac
"""


class GoToolsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.cache, self.tools, self.log = (self.folder / name for name in ("cache", "tools", "log"))
        go = self.folder / "go"
        go.write_text(FAKE_GO)
        go.chmod(0o755)
        self.environment = {"PATH": "/usr/bin:/bin", "CAPSTAN_GO": str(go), "CAPSTAN_CACHE_DIR": str(self.cache),
                            "CAPSTAN_TOOLS_DIR": str(self.tools), "FAKE_LOG": str(self.log),
                            "FAKE_SOURCES": str(self.folder)}  # fmt: skip

    def start(self, name: str, **variables: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, str(TOOL), name], env={**self.environment, **variables}, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def make(self, name: str, **variables: str) -> tuple[int, str]:
        process = self.start(name, **variables)
        output = process.communicate(timeout=60)[0]
        return process.returncode, output

    def builds(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def entries(self) -> list[str]:
        return sorted(path.name for path in self.cache.iterdir() if path.is_dir())

    def dependent(self, **variables: str) -> tuple[int, str]:
        done = subprocess.run([sys.executable, str(RUN), "false"], env={**self.environment, **variables}, text=True,
                              capture_output=True, timeout=60, check=False)
        return done.returncode, done.stdout

    def test_one_program_is_built_once(self):
        code, output = self.make("kubelite")
        self.assertEqual((code, self.builds()), (0, 1), output)
        self.assertIn("building kubelite from Go modules", output)
        self.assertTrue(os.access(self.tools / "kubelite", os.X_OK))
        code, output = self.make("kubelite")
        self.assertEqual((code, self.builds()), (0, 1), output)
        self.assertNotIn("building", output)

    def test_several_programs_have_a_folder_and_the_place_of_their_sources(self):
        code, output = self.make("istio")
        self.assertEqual((code, self.builds()), (0, 3), output)
        names = ["istioctl", "module_dir", "pilot-agent", "pilot-discovery"]
        self.assertEqual(sorted(os.listdir(self.tools / "istio")), names)
        self.assertEqual((self.tools / "istio" / "module_dir").read_text().strip(), str(self.folder))

    def test_another_go_builds_anew_and_old_entries_go(self):
        self.make("kubelite")
        old = self.cache / self.entries()[0]
        os.utime(old, (0, 0))
        self.assertEqual(self.make("kubelite", FAKE_VERSION="1.26.9")[0], 0)
        self.assertEqual(self.builds(), 2)
        self.assertEqual(len(self.entries()), 1)
        self.assertFalse(old.exists())

    def test_two_at_once_build_once(self):
        processes = [self.start("kubelite", FAKE_SECONDS="1") for _ in range(2)]
        outputs = [process.communicate(timeout=60)[0] for process in processes]
        self.assertEqual([process.returncode for process in processes], [0, 0], outputs)
        self.assertEqual(self.builds(), 1)

    def test_a_killed_build_leaves_nothing_that_is_taken_for_a_program(self):
        process = self.start("kubelite", FAKE_SECONDS="3")
        while not self.builds():
            self.assertIsNone(process.poll())
        process.kill()
        process.communicate()
        self.assertEqual([name for name in self.entries() if not name.startswith(".")], [])
        self.assertEqual(self.make("kubelite")[0], 0)
        self.assertEqual(self.builds(), 2)
        self.assertEqual(len(self.entries()), 1, self.entries())

    def test_a_source_that_does_not_compile_fails(self):
        code, output = self.make("kubelite", FAKE_BROKEN="1")
        self.assertEqual(code, 1)
        self.assertIn("undefined: x", output)
        self.assertEqual(self.entries(), [])

    def test_what_is_missing_is_a_reason_to_skip_for_dependents_too(self):
        for variables, reason in (({"CAPSTAN_GO": "/nonexistent/go"}, "Go is not installed"),
                                  ({"FAKE_VERSION": "1.19.8"}, "Go 1.19.8 is too old for kubelite"),
                                  ({"FAKE_OFFLINE": "1"}, "not to be had: no route to host")):
            for code, output in (self.make("kubelite", **variables), self.dependent(**variables)):
                self.assertEqual(code, 77, output)
                self.assertIn(reason, output)
        self.assertEqual(self.make("kubelite")[0], 0)
        self.assertEqual(list(self.tools.glob("*.skipped")), [])


if __name__ == "__main__":
    unittest.main()
