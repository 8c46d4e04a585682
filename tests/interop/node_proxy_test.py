#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A client with ztunnel's rules, a real capstand and a real API server, with no more rights than the documentation gives.

    run.py node_proxy_test.py CAPSTAN CAPSTAND      (tests/kubelite/run.py; capstan_kube_test does that)
"""

import contextlib
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / "kubelite"))

import go_tools  # noqa: E402
import ztunnel_client  # noqa: E402
from kube import Cluster  # noqa: E402
from processes import Part, Process, eventually, free_port  # noqa: E402
from ztunnel_client import CaError, Ztunnel  # noqa: E402

CAPSTAN = CAPSTAND = pathlib.Path()  # set by main
DAY = 86400
UNAUTHENTICATED, INVALID_ARGUMENT = 16, 3
ROLE = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: capstand}
rules:
  - {apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}
  - {apiGroups: [""], resources: [pods], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: capstand}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: capstand}
subjects: [{kind: ServiceAccount, name: capstand, namespace: istio-system}]
"""


def run(*command) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout


def identity(account: str, namespace: str = "app", domain: str = "cluster.local") -> str:
    return f"spiffe://{domain}/ns/{namespace}/sa/{account}"


class Capstand(Part):
    def __init__(self, folder: pathlib.Path, cacerts: pathlib.Path, kubeconfig: pathlib.Path):
        self.port, self.log = free_port(), folder / "capstand.log"
        self.command = [CAPSTAND, f"--state-dir={folder}/state", f"--cacerts={cacerts}", "--reload=immediate",
                        f"--kubeconfig={kubeconfig}", "--service-accounts", "--trusted-node-accounts=istio-system/ztunnel",
                        f"--listen=127.0.0.1:{self.port}", f"--http=127.0.0.1:{free_port()}", "--serving-names=localhost"]
        self.start()

    def start(self):
        said = self.log.read_text().count("Capstand CA has started") if self.log.exists() else 0
        self.process = Process(self.command, self.log)
        self.process.wait_for("capstand serves", lambda: self.log.read_text().count("Capstand CA has started") > said)


class NodeProxyTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster.from_environment()
        cls.pki = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="ztunnel-pki-")))
        for name in "A", "B":
            options = ("--dir", cls.pki / name, "--key-type", "ecdsa-p256")
            run(CAPSTAN, "pki", "root-ca", *options)
            run(CAPSTAN, "pki", "intermediate-cacerts", "ca", *options)
        for namespace, accounts in {"istio-system": ("ztunnel", "capstand"), "app": ("httpbin", "sleep", "away", "late")}.items():
            cls.cluster.create_namespace(namespace)
            for account in accounts:
                cls.cluster.create_account(namespace, account)
        cls.cluster.kubectl("apply", "-f", "-", stdin=ROLE)
        cls.pod("istio-system", "ztunnel", "n1")
        for account, node in ("httpbin", "n1"), ("sleep", "n1"), ("away", "n2"):
            cls.pod("app", account, node)

    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ztunnel-")))
        self.cacerts = self.folder / "cacerts"
        shutil.copytree(self.pki / "A" / "ca", self.cacerts)
        self.capstand = stack.enter_context(Capstand(
            self.folder, self.cacerts, self.cluster.kubeconfig_of("istio-system", "capstand")))
        self.token = self.folder / "token"
        self.token.write_text(self.token_of_pod("istio-system", "ztunnel"))
        self.ztunnel = self.new_ztunnel("z")

    def tearDown(self):
        if self._outcome.result.failures or self._outcome.result.errors:
            print(self.capstand.logs(), file=sys.stderr)

    def new_ztunnel(self, name: str, **options) -> Ztunnel:
        return Ztunnel(self.folder / name, f"localhost:{self.capstand.port}", self.token,
                       self.pki / "A" / "ca" / "root-cert.pem", **options)

    @classmethod
    def post(cls, path: str, body: dict) -> dict:
        status, answer = cls.cluster.request("POST", path, body)
        if status != 201:
            raise RuntimeError(f"{path}: {status} {answer}")
        return answer

    @classmethod
    def pod(cls, namespace: str, account: str, node: str):
        """There is no scheduler: it says itself where it runs."""
        cls.post(f"/api/v1/namespaces/{namespace}/pods", {
            "metadata": {"name": f"{account}-1"},
            "spec": {"serviceAccountName": account, "nodeName": node, "containers": [{"name": "c", "image": "none"}]}})

    def token_of_pod(self, namespace: str, account: str) -> str:
        path = f"/api/v1/namespaces/{namespace}"
        _, pod = self.cluster.request("GET", f"{path}/pods/{account}-1")
        bound = {"apiVersion": "v1", "kind": "Pod", "name": f"{account}-1", "uid": pod["metadata"]["uid"]}
        return self.post(f"{path}/serviceaccounts/{account}/token", {
            "spec": {"audiences": ["istio-ca"], "expirationSeconds": 3600, "boundObjectRef": bound}})["status"]["token"]

    def verify(self, certificate: ztunnel_client.Certificate):
        chain, roots = self.folder / "chain.pem", self.folder / "roots.pem"
        chain.write_text("".join([certificate.leaf, *certificate.chain]))
        roots.write_text("".join(certificate.roots))
        ztunnel_client.openssl("verify", "-CAfile", roots, "-untrusted", chain, chain)

    def refused(self, wanted: str, code: int, ztunnel: Ztunnel | None = None) -> str:
        with self.assertRaises(CaError) as raised:
            (ztunnel or self.ztunnel).fetch(wanted)
        self.assertEqual(raised.exception.code, code, raised.exception)
        return str(raised.exception)

    def test_its_pods_have_certificates_and_renew_them(self):
        mine = [identity("httpbin"), identity("sleep")]
        for wanted in mine:
            self.ztunnel.want(wanted)
        now = time.time()
        self.ztunnel.tick(now)
        first = {wanted: held.certificate for wanted, held in self.ztunnel.held.items()}
        for wanted, certificate in first.items():
            self.assertIsNotNone(certificate, self.ztunnel.held[wanted].error)
            self.assertEqual(len(certificate.roots), 1)
            self.verify(certificate)
            # Half of the life that the certificate says: NotBefore lies two minutes back.
            self.assertAlmostEqual(certificate.renew_at - now, DAY / 2 - 60, delta=20)
        self.ztunnel.tick(first[mine[0]].renew_at - 30)
        self.assertEqual(first, {wanted: held.certificate for wanted, held in self.ztunnel.held.items()})

        # Roots come with the next leaf, and all of them in the last element.
        roots = (self.pki / "A" / "root-cert.pem").read_text() + (self.pki / "B" / "root-cert.pem").read_text()
        (self.cacerts / "root-cert.pem").write_text(roots)
        eventually("capstand has both roots", lambda: "roots=2" in self.capstand.log.read_text())
        self.ztunnel.tick(first[mine[0]].renew_at + 30)
        for wanted, held in self.ztunnel.held.items():
            self.assertNotEqual(held.certificate.serial, first[wanted].serial, held.error)
            self.assertEqual(len(held.certificate.roots), 2)
            self.verify(held.certificate)

        # While capstand is away the valid one stays.
        self.capstand.stop()
        held = self.ztunnel.held[mine[0]]
        kept, due = held.certificate, held.next_at
        for failures, wait in (1, 1), (2, 2), (3, 4):
            due = held.next_at
            self.ztunnel.tick(due)
            self.assertEqual(held.failures, failures)
            self.assertIs(held.certificate, kept)
            self.assertAlmostEqual(held.next_at - due, wait, delta=0.2 * wait + 0.001)
        self.capstand.start()
        self.ztunnel.tick(held.next_at)
        self.assertEqual(held.failures, 0, held.error)
        self.assertNotEqual(held.certificate.serial, kept.serial)

    def test_nothing_else_is_for_it(self):
        self.assertTrue(self.ztunnel.fetch(identity("httpbin")))
        for wanted, why in {
            identity("away"): "no pod of app/away runs on its node, n1",
            identity("nobody"): "no pod of app/nobody",
            identity("httpbin", namespace="default"): "no pod of default/httpbin",
            identity("httpbin", domain="other.td"): "the trust domain here is cluster.local",
            "spiffe://cluster.local/capstan/control-plane": "",
        }.items():
            said = self.refused(wanted, UNAUTHENTICATED)
            self.assertIn("request impersonation authentication failure", said)
            self.assertIn(why, said)
        self.assertIn("asks for \\\"spiffe://other.td/ns/app/sa/httpbin\\\"", self.capstand.log.read_text())
        # A pod of the same node that is no node proxy.
        self.token.write_text(self.token_of_pod("app", "sleep"))
        self.assertIn("trusted-node-accounts", self.refused(identity("httpbin"), UNAUTHENTICATED))
        # What the server never sees.
        self.token.write_text(self.token.read_text() + "\n")
        with self.assertRaisesRegex(CaError, "failed to parse header value"):
            self.ztunnel.fetch(identity("httpbin"))

    def test_a_leaf_that_it_would_renew_for_ever_is_not_made(self):
        said = self.refused(identity("httpbin"), INVALID_ARGUMENT, self.new_ztunnel("short", ttl=120))
        self.assertIn("SECRET_TTL", said)
        certificate = self.new_ztunnel("least", ttl=300).fetch(identity("httpbin"))
        self.assertGreater(certificate.renew_at - time.time(), 60)

    def test_a_pod_that_has_just_come_is_served_and_one_that_is_gone_is_not(self):
        self.pod("app", "late", "n1")
        self.assertTrue(self.ztunnel.fetch(identity("late")))
        self.cluster.kubectl("-n", "app", "delete", "pod", "late-1", "--force", "--grace-period=0")
        eventually("it is refused", lambda: not self.served(identity("late")), 30)

    def served(self, wanted: str) -> bool:
        try:
            return bool(self.ztunnel.fetch(wanted))
        except CaError as error:
            self.assertEqual(error.code, UNAUTHENTICATED, error)
            return False


if __name__ == "__main__":
    if reason := ztunnel_client.why_not():
        go_tools.skip(reason)
    CAPSTAN, CAPSTAND = (pathlib.Path(word).resolve() for word in sys.argv[1:3])
    del sys.argv[1:3]
    unittest.main(verbosity=2)
