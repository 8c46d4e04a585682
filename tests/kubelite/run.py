#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a test against an API server of its own, which lives as long as the test.

    run.py PROGRAM [ARGUMENT...]

The program's environment has what README.md says; its exit code is this one's. Without build/tools/kubelite
this prints why, and ends with 77.
"""

import pathlib
import signal
import subprocess
import sys
import tempfile

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / "interop"))

import go_tools  # noqa: E402
import processes  # noqa: E402

# Off by default, in 1.36 too.
CLUSTER_TRUST_BUNDLES = ("--feature-gates=ClusterTrustBundle=true",
                         "--runtime-config=certificates.k8s.io/v1beta1/clustertrustbundles=true")


def main() -> int:
    if len(sys.argv) < 2:
        print(f"usage: {sys.argv[0]} PROGRAM [ARGUMENT...]", file=sys.stderr)
        return 2
    if reason := go_tools.why_not("kubelite"):
        go_tools.skip(reason)
    with tempfile.TemporaryDirectory(prefix="kubelite-") as folder:
        process = subprocess.Popen([str(go_tools.TOOLS / "kubelite"), "up", "-dir", folder, "-die-with-parent",
                                    *(f"-apiserver-flag={flag}" for flag in CLUSTER_TRUST_BUNDLES), "--", *sys.argv[1:]])
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: process.send_signal(received))
        code = process.wait()
        if code not in (0, go_tools.SKIPPED):
            print(processes.tail(pathlib.Path(folder, "kubelite.log"), 30, "kubelite: stopping"), file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
