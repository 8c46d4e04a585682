#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two real capstands on one state directory, of which a Lease of a real API server lets one serve.

    lease_test.py CAPSTAND
"""

import base64
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from kube_capstand import MANIFESTS, NAMESPACE, Capstand, eventually, install, kubeconfig
from kube import Kubelite

CAPSTAND = pathlib.Path()  # set by main
DURATION = 6  # seconds; it is given up after two thirds
LOST = 3  # the exit code
LEASE = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/capstand"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


class LeaseTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="lease-")
        cls.addClassCleanup(folder.cleanup)
        cls.top = pathlib.Path(folder.name)
        cls.cluster = Kubelite(cls.top / "k")
        cls.addClassCleanup(cls.cluster.stop)
        install(cls.cluster, "lease", "certificate-signer")
        cls.config = kubeconfig(cls.cluster)

    def setUp(self):
        self.folder = self.top / self.id().rsplit(".", 1)[1]
        self.folder.mkdir()
        self.first = self.start("first").wait_until_ready()
        self.second = self.start("second")
        self.second.process.wait_for("the second stands by", lambda: self.second.get("/readyz")[0] == 503 and
                                     "has the lease" in self.second.get("/readyz")[1])

    def start(self, name: str) -> Capstand:
        capstand = Capstand(CAPSTAND, self.config, self.folder / "state", self.folder / f"{name}.log",
                            f"--lease={NAMESPACE}/capstand", f"--lease-duration={DURATION}s",
                            "--certificate-signer=capstan.dev/workload")
        self.addCleanup(capstand.stop)
        return capstand

    def lease(self) -> dict:
        return self.cluster.request("GET", LEASE)[1]["spec"]

    def request(self) -> str:
        """An approved CertificateSigningRequest."""
        csr = subprocess.run(
            ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null",
             "-subj", "/", "-addext", "subjectAltName=URI:spiffe://cluster.local/ns/app/sa/w"],
            capture_output=True, check=True).stdout
        made = self.cluster.request("POST", REQUESTS, {
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": {"generateName": "w-"},
            "spec": {"request": base64.b64encode(csr).decode(), "signerName": "capstan.dev/workload",
                     "usages": ["client auth"]}})[1]
        self.cluster.kubectl("certificate", "approve", made["metadata"]["name"])
        return made["metadata"]["name"]

    def signed(self, name: str):
        eventually(f"{name} is signed",
                   lambda: "certificate" in self.cluster.request("GET", f"{REQUESTS}/{name}")[1]["status"], 20)

    def test_kill(self):
        self.assertEqual(self.second.get("/healthz")[0], 200)
        status, text = self.second.get("/readyz")
        self.assertEqual((status, text), (503, f"standby: {self.lease()['holderIdentity']} has the lease\n"))
        self.assertTrue(self.second.said("standby"))
        transitions = self.lease()["leaseTransitions"]
        self.signed(self.request())
        self.first.process.signal(signal.SIGKILL)
        began = time.monotonic()
        waiting = self.request()
        self.second.wait_until_ready(4 * DURATION)
        took = time.monotonic() - began
        self.assertGreater(took, DURATION * 2 / 3, "before that the first one could still have led")
        self.assertEqual(self.lease()["leaseTransitions"], transitions + 1)
        self.signed(waiting)
        print(f"followed {took:.1f} s after a kill", file=sys.stderr)

    def test_terminate(self):
        self.first.process.signal(signal.SIGTERM)
        began = time.monotonic()
        self.assertEqual(self.first.ended(), 0)
        self.second.wait_until_ready()
        took = time.monotonic() - began
        self.assertTrue(self.first.said("the lease is given back"))
        print(f"followed {took:.1f} s after SIGTERM", file=sys.stderr)
        self.second.process.signal(signal.SIGTERM)
        self.assertEqual(self.second.ended(), 0)
        self.assertEqual(self.lease()["holderIdentity"], "")

    def test_standby_terminates(self):
        self.second.process.signal(signal.SIGTERM)
        self.assertEqual(self.second.ended(), 0)
        self.assertTrue(self.first.ready())

    def test_halt(self):
        """It keeps the lock of the state while it is halted, and does nothing when it goes on."""
        self.first.process.signal(signal.SIGSTOP)
        self.second.process.wait_for("the second has the lease", lambda: "waits for the state" in self.second.get("/readyz")[1],
                                     4 * DURATION)
        waiting = self.request()
        time.sleep(1)
        log = self.first.log.read_text()
        self.first.process.signal(signal.SIGCONT)
        self.assertEqual(self.first.ended(), LOST)
        said = self.first.log.read_text()[len(log):].splitlines()
        self.assertIn("this capstand leads no longer", said[-1])
        for line in said[:-1]:  # what ran before that was noticed
            self.assertIn("this capstand does not hold the Lease", line)
        self.second.wait_until_ready()
        self.signed(waiting)
        self.assertTrue(self.second.said(waiting))

    def test_rights_taken_away(self):
        self.cluster.kubectl("-n", NAMESPACE, "delete", "rolebinding", "capstand-lease")
        try:
            self.assertEqual(self.first.ended(), LOST)
            self.assertTrue(self.first.said("is forbidden"), self.first.log.read_text())
            self.second.process.wait_for("the second says why it waits", lambda: "is forbidden" in self.second.get("/readyz")[1])
        finally:
            self.cluster.kubectl("apply", "-f", MANIFESTS / "rbac" / "lease.yaml")
        self.second.wait_until_ready()

    def test_server_away(self):
        transitions = self.lease()["leaseTransitions"]
        self.cluster.process.signal(signal.SIGSTOP)
        time.sleep(DURATION / 3)
        self.cluster.process.signal(signal.SIGCONT)
        self.signed(self.request())
        self.assertTrue(self.first.ready(), "it was away for less than the deadline")
        self.assertEqual(self.lease()["leaseTransitions"], transitions)
        self.cluster.process.signal(signal.SIGSTOP)
        try:
            self.assertEqual(self.first.ended(), LOST)
        finally:
            self.cluster.process.signal(signal.SIGCONT)
        self.second.wait_until_ready()
        self.assertEqual(self.lease()["leaseTransitions"], transitions + 1)

    def test_deleted(self):
        self.cluster.kubectl("-n", NAMESPACE, "delete", "lease", "capstand")
        self.assertEqual(self.first.ended(), LOST)
        self.assertTrue(self.first.said("the Lease was deleted") or self.first.said("has the lease"))
        self.second.wait_until_ready()

    def tearDown(self):
        for capstand in (self.first, self.second):
            capstand.stop()


if __name__ == "__main__":
    CAPSTAND = pathlib.Path(sys.argv.pop(1))
    unittest.main(verbosity=2)
