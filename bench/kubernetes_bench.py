#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a large cluster costs capstand: a real API server with many namespaces and pods.

    kubernetes_bench.py CAPSTAN CAPSTAND

CAPSTAN_KUBE_NAMESPACES (5000) and CAPSTAN_KUBE_PODS (10000) say how many. Prints one JSON object.
"""

import concurrent.futures
import http.client
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "integration"))

from kube_capstand import Process, free_port, install, kubeconfig  # noqa: E402
import kube  # noqa: E402
from kube import Kubelite  # noqa: E402

NAMESPACES = int(os.environ.get("CAPSTAN_KUBE_NAMESPACES", "5000"))
PODS = int(os.environ.get("CAPSTAN_KUBE_PODS", "10000"))
NODES = 100
IDLE_SECONDS = 60
ROLES = ("root-config-maps", "token-reviews", "pods")


def fill(cluster: Kubelite):
    """Many at once, each thread on a connection of its own."""
    mine = threading.local()

    def create(path: str, body: dict):
        if not hasattr(mine, "connection"):
            mine.connection = cluster.connect()
        for _ in range(5):
            try:
                mine.connection.request("POST", path, json.dumps(body), {"Content-Type": kube.JSON})
                answer = mine.connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                mine.connection = cluster.connect()
                continue
            # A namespace's account may not be there yet.
            if answer.status in (201, 409):
                return
            time.sleep(0.5)
        raise RuntimeError(f"{path}: {answer.status}")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: create("/api/v1/namespaces", {"metadata": {"name": f"ns-{i:05}"}}), range(NAMESPACES)))
        list(pool.map(lambda i: create(f"/api/v1/namespaces/ns-{i % NAMESPACES:05}/pods", {
            "metadata": {"name": f"pod-{i}"}, "spec": {
                "nodeName": f"node-{i % NODES}", "automountServiceAccountToken": False,
                "containers": [{"name": "main", "image": "none"}]}}), range(PODS)))  # fmt: skip


def requests_of_accounts(cluster: Kubelite) -> int:
    """What service accounts asked so far, by the API server's own count: capstand is the only one."""
    text = cluster.request("GET", "/metrics")[1]["text"]
    counts = re.findall(r'^apiserver_flowcontrol_dispatched_requests_total\{.*flow_schema="service-accounts".*\} (\S+)$',
                        text, re.MULTILINE)
    return int(sum(map(float, counts)))


def megabytes(process: Process) -> float:
    """Resident."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return round(int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024, 1)


def main():
    capstan, capstand = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
    with tempfile.TemporaryDirectory(prefix="kubernetes-bench-") as name:
        folder = pathlib.Path(name)
        cluster = Kubelite(folder / "k")
        try:
            measure(cluster, folder, capstan, capstand)
        finally:
            cluster.stop()


def measure(cluster: Kubelite, folder: pathlib.Path, capstan: pathlib.Path, capstand: pathlib.Path):
    install(cluster, *ROLES)
    access = kubeconfig(cluster)
    began = time.monotonic()
    fill(cluster)
    print(f"{NAMESPACES} namespaces and {PODS} pods in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    log = folder / "capstand.log"
    command = [capstand, f"--state-dir={folder}/state", f"--kubeconfig={access}", "--root-config-maps", "--service-accounts",
               "--trusted-node-accounts=istio-system/ztunnel", "--config-map-propagation=0s", "--rotation-soak=0s",
               f"--listen=127.0.0.1:{free_port()}", f"--http=127.0.0.1:{free_port()}"]

    def written(bundle: int) -> re.Match | None:
        return re.search(rf"(\d+) ConfigMaps istio-ca-root-cert hold bundle {bundle}\b", log.read_text())

    with Process(command, log) as process:
        began = time.monotonic()
        found = process.wait_for("every ConfigMap is there", lambda: written(1), 900)
        first = time.monotonic() - began
        asked = requests_of_accounts(cluster)
        before = time.monotonic()
        time.sleep(IDLE_SECONDS)
        idle = (requests_of_accounts(cluster) - asked) * 60 / (time.monotonic() - before)
        quiet = megabytes(process)
        began = time.monotonic()
        subprocess.run([capstan, "rotate", "start", "--generate", "--yes", "--socket", folder / "state" / "capstand.sock"],
                       check=True, stdout=subprocess.DEVNULL)  # fmt: skip
        process.wait_for("every ConfigMap has the new bundle", lambda: written(2), 900)
        print(json.dumps({
            "namespaces": NAMESPACES, "pods": PODS, "config_maps": int(found.group(1)),
            "first_written_s": round(first, 1), "rewritten_s": round(time.monotonic() - began, 1),
            "idle_requests_per_minute": round(idle, 1), "resident_mb": quiet,
            "resident_mb_after_rewrite": megabytes(process)}, indent=2), flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
