#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stock pilot-agents with capstand in istiod's place: certificates, roots over ADS, and a gated rotation.

    stock_capstand_test.py CAPSTAN CAPSTAND ENVOY

Each pod is a real pilot-agent and a real Envoy. What a kubelet does, this does: it mounts the token and
the ConfigMap istio-ca-root-cert.
"""

import base64
import contextlib
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
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
    """A real capstand: a CA of its own files, callers by their tokens, a ConfigMap in each namespace."""

    def __init__(self, folder: pathlib.Path, cluster: Kubelite, cacerts: pathlib.Path):
        self.folder, self.cluster, self.port, self.http = folder, cluster, free_port(), free_port()
        self.log = folder / "capstand.log"
        folder.mkdir(parents=True)
        command = [CAPSTAND, f"--state-dir={folder}/state", f"--cacerts={cacerts}", "--service-accounts",
                   "--root-config-maps", "--config-map-propagation=2s", f"--kubeconfig={cluster.kubeconfig}",
                   f"--listen=127.0.0.1:{self.port}", f"--http=127.0.0.1:{self.http}",
                   "--serving-names=istiod.istio-system.svc",
                   "--rotation-soak=2s", "--foreign-leaf-ttl=0s", "--issue-per-second=20"]
        self.process = Process(command, self.log)
        self.process.wait_for("capstand serves", lambda: "Capstand CA has started" in self.log.read_text())

    def capstan(self, *arguments, codes=(0,)) -> str:
        return run(CAPSTAN, *arguments, "--socket", self.folder / "state" / "capstand.sock", codes=codes)

    def signed(self) -> int:
        """Certificates that were let through so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return int(sum(float(line.split()[-1]) for line in lines if line.startswith("capstan_issue_admitted_total{")))

    def rotation(self) -> dict:
        """Its exit code says whether it waits; here that is read."""
        return json.loads(self.capstan("rotate", "status", "-o", "json", codes=range(0, 100)))


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


class Pod(Part):
    """A pilot-agent and its Envoy. Requests to `door` go to `peer` over mutual TLS, each on a new connection."""

    def __init__(self, folder: pathlib.Path, capstand: Capstand, account: str, inbound: int, peer: int):
        self.account, self.folder, self.capstand = account, folder, capstand
        self.admin, self.door = free_port(), free_port()
        folder.mkdir(parents=True)
        (folder / "envoy.json").write_text(json.dumps(self.bootstrap(inbound, peer)))
        script = folder / "envoy.sh"
        script.write_text(f"#!/bin/sh\nexec {ENVOY} -c {folder}/envoy.json --disable-hot-restart --log-level warning\n")
        script.chmod(0o755)
        self.agent = stock_istio.PilotAgent(folder / "pod", capstand, NAMESPACE, account, self.config_map(), script)
        self.process, self.log = self.agent.process, self.agent.log

    def config_map(self) -> bytes:
        path = f"/api/v1/namespaces/{NAMESPACE}/configmaps/istio-ca-root-cert"
        return eventually(path, lambda: self.capstand.cluster.request("GET", path)[1].get("data"))["root-cert.pem"].encode()

    def mount(self):
        self.agent.write("var/run/secrets/istio/root-cert.pem", self.config_map())

    def bootstrap(self, inbound: int, peer: int) -> dict:
        pod = self.folder / "pod"
        upstream = {"name": "peer", "connect_timeout": "2s", "load_assignment": {"cluster_name": "peer", "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": peer}}}}]}]},
            "max_requests_per_connection": 1, "transport_socket": {"name": "tls", "typed_config": {
                "@type": f"{SOCKET}.UpstreamTlsContext", "max_session_keys": 0, "common_tls_context": TLS}}}
        ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "1s"}
        return {"node": {"id": f"sidecar~127.0.0.1~{self.account}-1.{NAMESPACE}~{NAMESPACE}.svc.cluster.local",
                         "cluster": self.account},
                "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.admin}}},
                "dynamic_resources": {"ads_config": grpc("xds-grpc", "DELTA_GRPC"), "lds_config": ads, "cds_config": ads},
                "static_resources": {
                    "clusters": [pipe("xds-grpc", pod / "etc/istio/proxy/XDS"),
                                 pipe("sds-grpc", pod / "var/run/secrets/workload-spiffe-uds/socket"), upstream],
                    "listeners": [listener("inbound", inbound, {"direct_response": {"status": 200}}, TLS),
                                  listener("outbound", self.door, {"route": {"cluster": "peer"}}, None)]}}

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

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.door}/", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False


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


class StockCapstandTest(unittest.TestCase):
    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stock-")))
        self.parts = []
        cluster = self.add(stack, Kubelite(self.folder / "k"))
        cluster.create_namespace("istio-system")
        cluster.create_namespace(NAMESPACE)
        for account in ACCOUNTS:
            cluster.create_account(NAMESPACE, account)
        for name in "A", "B":
            run(CAPSTAN, "pki", "root-ca", "--dir", self.folder / name)
            run(CAPSTAN, "pki", "intermediate-cacerts", "ca", "--dir", self.folder / name)
        self.capstand = self.add(stack, Capstand(self.folder / "c", cluster, self.folder / "A" / "ca"))
        inbound = {account: free_port() for account in ACCOUNTS}
        self.pods = {account: self.add(stack, Pod(self.folder / account, self.capstand, account, inbound[account],
                                                  inbound[next(a for a in ACCOUNTS if a != account)]))
                     for account in ACCOUNTS}  # fmt: skip
        stack.enter_context(Repeated(lambda: [pod.mount() for pod in self.pods.values()], 1))

    def add(self, stack, part):
        self.parts.append(part)
        return stack.enter_context(part)

    def tearDown(self):
        if self._outcome.result.failures or self._outcome.result.errors:
            for part in self.parts:
                print(part.logs(), file=sys.stderr)

    def call(self):
        for pod in self.pods.values():
            self.asked += 1
            self.failed += not pod.answers()

    def test_a_rotation_waits_for_a_stopped_agent_and_nothing_fails(self):
        for pod in self.pods.values():
            pod.agent.process.wait_for(f"{pod.account} answers", pod.answers)
            self.assertEqual(pod.roots(), 1)
        fleet = eventually("both are acknowledged", lambda: self.fleet("agent-acknowledged") == 2 and self.fleet_text())
        self.assertIn("agent-acknowledged", fleet)
        self.asked = self.failed = 0
        signed = self.capstand.signed()
        with Repeated(self.call, 0.05):
            stopped = self.pods["sleep"]
            stopped.agent.process.signal(signal.SIGSTOP)
            self.capstand.capstan("rotate", "start", "--to", self.folder / "B" / "ca", "--yes")
            eventually("the one that runs has both roots", lambda: self.pods["httpbin"].roots() == 2)
            holders = eventually("the gate names who sleeps", lambda: [
                holder["name"] for holder in self.capstand.rotation()["gate"].get("holders", [])
                if "/sa/sleep#" in holder["name"]])  # fmt: skip
            self.assertEqual(self.capstand.rotation()["phase"], "both-trusted", holders)
            stopped.agent.process.signal(signal.SIGCONT)
            eventually("the rotation is done", lambda: "finished" in self.capstand.rotation(), 120, 0.5)
            for pod in self.pods.values():
                eventually(f"{pod.account} trusts B alone", lambda pod=pod: pod.roots() == 1, 60)
        for pod in self.pods.values():
            chain = self.folder / f"{pod.account}.pem"
            chain.write_text(pod.held()["default"])
            run(CAPSTAN, "verify", chain, "--roots", self.folder / "B" / "ca" / "root-cert.pem")
        # By its nature such an agent asks anew whenever the bytes of its roots change: three times.
        self.assertLessEqual(self.capstand.signed() - signed, 3 * len(self.pods))
        self.assertGreater(self.asked, 100)
        self.assertEqual(self.failed, 0, f"of {self.asked}")

    def fleet_text(self) -> str:
        return self.capstand.capstan("fleet", "list")

    def fleet(self, state: str) -> int:
        fleet = json.loads(self.capstand.capstan("fleet", "list", "-o", "json"))
        return sum(workload["state"] == state for workload in fleet.get("workloads", []))


if __name__ == "__main__":
    stock_istio.require()
    CAPSTAN, CAPSTAND, ENVOY = (pathlib.Path(word).resolve() for word in sys.argv[1:4])
    if not ENVOY.exists():
        print(f"skipped: {ENVOY} is not here; ./dev install test brings Envoy")
        sys.exit(77)
    del sys.argv[1:4]
    unittest.main(verbosity=2)
