# SPDX-License-Identifier: Apache-2.0
"""A kubelite API server for tests in Python: started here, or by `kubelite up -- PROGRAM`."""

import contextlib
import http.client
import json
import os
import pathlib
import ssl
import subprocess
import sys
import urllib.parse

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / "interop"))

import go_tools  # noqa: E402
import processes  # noqa: E402

JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


class Cluster:
    """An API server that runs, and its administrator."""

    def __init__(self, kubelite: pathlib.Path, folder: pathlib.Path, url: str):
        self.kubelite, self.folder, self.url = kubelite, folder, url

    @classmethod
    def from_environment(cls) -> "Cluster":
        """The one that `kubelite up -- PROGRAM` gave this program."""
        return cls(pathlib.Path(os.environ["KUBELITE"]), pathlib.Path(os.environ["KUBELITE_DIR"]),
                   os.environ["KUBELITE_URL"])  # fmt: skip

    @property
    def kubeconfig(self) -> pathlib.Path:
        return self.folder / "admin.kubeconfig"

    @property
    def ca(self) -> pathlib.Path:
        return self.folder / "pki" / "ca.crt"

    def kubectl(self, *arguments, stdin: str | None = None) -> str:
        """What kubectl prints; RuntimeError with its own message where it fails."""
        command = [str(self.kubelite), "kubectl", f"--kubeconfig={self.kubeconfig}", *map(str, arguments)]
        given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **given)
        if done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(command[3:])}: {done.stderr.strip()}")
        return done.stdout

    def create_namespace(self, name: str):
        self.kubectl("create", "namespace", name)

    def create_account(self, namespace: str, name: str):
        self.kubectl("-n", namespace, "create", "serviceaccount", name)

    def token(self, namespace: str, account: str, audience: str = "istio-ca", duration: str = "1h", pod: str = "") -> str:
        """A token of a service account, by TokenRequest, as a kubelet would mount it into a pod."""
        bound = ["--bound-object-kind=Pod", f"--bound-object-name={pod}"] if pod else []
        return self.kubectl("-n", namespace, "create", "token", account, f"--audience={audience}",
                            f"--duration={duration}", *bound).strip()

    def create_pod(self, namespace: str, name: str, account: str, address: str, **metadata):
        """One that no kubelet runs; `metadata` are its labels and annotations."""
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace, **metadata},
               "spec": {"serviceAccountName": account, "containers": [{"name": "c", "image": "none"}]}}
        self.kubectl("create", "-f", "-", stdin=json.dumps(pod))
        status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}}
        self.kubectl("-n", namespace, "patch", "pod", name, "--subresource=status", "--type=merge", "-p", json.dumps(status))

    def kubeconfig_of(self, namespace: str, account: str) -> pathlib.Path:
        """For a program that is to be this service account and nobody else, by a token of four hours."""
        token = self.kubectl("-n", namespace, "create", "token", account, "--duration=4h").strip()
        path = self.folder / f"{namespace}-{account}.kubeconfig"
        path.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": self.url, "certificate-authority": str(self.ca)}}],
            "users": [{"name": "c", "user": {"token": token}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}]}))  # fmt: skip
        return path

    def connect(self, token: str | None = None, timeout: float = 30) -> http.client.HTTPSConnection:
        """A connection of the administrator, or without a client certificate for who has a token."""
        context = ssl.create_default_context(cafile=str(self.ca))
        if token is None:
            context.load_cert_chain(self.folder / "pki" / "admin.crt", self.folder / "pki" / "admin.key")
        address = urllib.parse.urlsplit(self.url)
        return http.client.HTTPSConnection(address.hostname, address.port, timeout=timeout, context=context)

    def request(self, method: str, path: str, body=None, kind: str = JSON, token: str | None = None) -> tuple[int, dict]:
        """Status and object of one answer."""
        headers = {"Content-Type": kind} | ({"Authorization": f"Bearer {token}"} if token else {})
        connection = self.connect(token)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(text) if text.startswith(b"{") else {"text": text.decode(errors="replace")}

    def watch(self, path: str, seconds: int = 30):
        """The events of a list from now on, until the server ends the watch after `seconds`."""
        _, found = self.request("GET", path)
        query = f"watch=1&timeoutSeconds={seconds}&resourceVersion={found['metadata']['resourceVersion']}"
        connection = self.connect(timeout=seconds + 10)
        connection.request("GET", f"{path}{'&' if '?' in path else '?'}{query}")
        answer = connection.getresponse()

        def events():
            with contextlib.closing(connection), answer:
                for line in answer:
                    yield json.loads(line)

        if answer.status != 200:
            raise RuntimeError(f"watching {path}: {answer.status} {answer.read()!r}")
        return events()


class Kubelite(Cluster):
    """An API server of the test's own, which may be stopped and started again on its folder and port."""

    def __init__(self, folder: pathlib.Path, *flags: str):
        if reason := go_tools.why_not("kubelite"):
            go_tools.skip(reason)
        super().__init__(go_tools.TOOLS / "kubelite", folder, "")
        self.flags = flags
        self.folder.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self):
        """Returns once it is ready."""
        log = self.folder / "up.log"
        log.unlink(missing_ok=True)
        port = [f"-port={urllib.parse.urlsplit(self.url).port}"] if self.url else []
        command = [self.kubelite, "up", "-dir", self.folder, "-die-with-parent", *port, *self.flags]
        self.process = processes.Process(command, log)
        ready = self.process.wait_for("kubelite is ready", lambda: [
            line for line in log.read_text().splitlines(keepends=True) if line.startswith("READY ") and line[-1] == "\n"])
        self.url = ready[0].split()[1]

    def stop(self):
        self.process.stop()

    def logs(self) -> str:
        return processes.tail(self.folder / "kubelite.log") + processes.tail(self.folder / "up.log")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
