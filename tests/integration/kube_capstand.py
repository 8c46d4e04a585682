# SPDX-License-Identifier: Apache-2.0
"""A real capstand before the API server of a test, with the rights that deploy/kubernetes gives it."""

import http.client
import pathlib
import sys
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(1, str(ROOT / "tests" / "kubelite"))

from kube import Cluster  # noqa: E402
from processes import Part, Process, eventually, free_port  # noqa: E402

MANIFESTS = ROOT / "deploy" / "kubernetes"
NAMESPACE = "capstan-system"
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:capstand"
API_AUDIENCE = "https://kubernetes.default.svc.cluster.local"


def install(cluster: Cluster, *roles: str):
    """The service account, and those roles of it."""
    for file in ("namespace", "service-account", *(f"rbac/{role}" for role in roles)):
        cluster.kubectl("apply", "-f", MANIFESTS / f"{file}.yaml")


def uninstall(cluster: Cluster, *roles: str):
    """Takes those roles from it again."""
    for role in roles:
        cluster.kubectl("delete", "-f", MANIFESTS / "rbac" / f"{role}.yaml")


def kubeconfig(cluster: Cluster) -> pathlib.Path:
    """The service account's own."""
    return cluster.kubeconfig_of(NAMESPACE, "capstand")


class Capstand(Part):
    """capstand on a state directory. Several may be given the same one."""

    def __init__(self, program: pathlib.Path, config: pathlib.Path, state: pathlib.Path, log: pathlib.Path, *settings):
        self.log, self.state, self.http, self.port = log, state, free_port(), free_port()
        self.process = Process([program, f"--state-dir={state}", f"--kubeconfig={config}",
                                f"--listen=127.0.0.1:{self.port}", f"--http=127.0.0.1:{self.http}", *settings], log)

    def get(self, path: str) -> tuple[int, str]:
        """(0, "") while it cannot be asked."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", timeout=2) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def wait_until_ready(self, seconds: float = 60):
        self.process.wait_for("capstand is ready", self.ready, seconds)
        return self

    def ended(self, seconds: float = 30) -> int:
        """The exit code of one that ends by itself."""
        return self.process.process.wait(seconds)

    def said(self, text: str) -> bool:
        return text in self.log.read_text()


__all__ = ["ACCOUNT", "MANIFESTS", "NAMESPACE", "Capstand", "Cluster", "Process", "eventually", "free_port", "install",
           "kubeconfig", "uninstall"]
