#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The shipped alert rules: Prometheus' own promtool takes them, they fire when they should (alerts*_test.yaml), every
metric they name is one that the programs have, and each alert has its line in docs/operations.md."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RULES = ROOT / "deploy/prometheus/capstan-alerts.yaml"
METRIC = re.compile(r"\b(?:capstan|citadel)_[a-z_]+")
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")


def expressions(text: str) -> str:
    """What stands between `expr:` and the next key of its rule."""
    return "\n".join(re.findall(r"expr:(.*?)\n +(?:for|labels):", text, re.DOTALL))


def metrics_of_the_programs() -> set[str]:
    names = set()
    for source in (ROOT / "src").rglob("*.cc"):
        if not source.name.endswith("_test.cc"):
            names.update(re.findall(r'"((?:capstan|citadel)_[a-z_]+)"', source.read_text()))
    return names


def promtool(*arguments: str) -> None:
    done = subprocess.run([PROMTOOL, *arguments], cwd=HERE, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


class AlertsTest(unittest.TestCase):
    def test_every_metric_exists(self) -> None:
        named = set(METRIC.findall(expressions(RULES.read_text())))
        self.assertGreater(len(named), 15)
        self.assertEqual(named - metrics_of_the_programs(), set())

    def test_every_alert_is_documented(self) -> None:
        alerts = re.findall(r"alert: (\w+)", RULES.read_text())
        page = (ROOT / "docs/operations.md").read_text()
        self.assertEqual([alert for alert in alerts if f"`{alert}`" not in page], [])

    @unittest.skipUnless(PROMTOOL, "promtool (Debian package prometheus) is not installed")
    def test_promtool_takes_the_rules(self) -> None:
        promtool("check", "rules", str(RULES))

    @unittest.skipUnless(PROMTOOL, "promtool (Debian package prometheus) is not installed")
    def test_they_fire_when_they_should(self) -> None:
        promtool("test", "rules", *sorted(map(str, HERE.glob("alerts*_test.yaml"))))


if __name__ == "__main__":
    outcome = unittest.main(exit=False).result
    if not outcome.wasSuccessful():
        sys.exit(1)
    if outcome.skipped:
        print("\n".join(f"skipped: {test.id()}: {why}" for test, why in outcome.skipped))
        sys.exit(77)
