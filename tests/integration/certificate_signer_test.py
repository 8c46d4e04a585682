#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Approved CertificateSigningRequests of a real API server, answered by a real capstand with its role.

    certificate_signer_test.py CAPSTAND
"""

import base64
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from kube_capstand import Capstand, Cluster, eventually, install, kubeconfig

CAPSTAND = pathlib.Path()  # set by main
SIGNER = "capstan.dev/workload"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
USAGES = ["digital signature", "key encipherment", "server auth", "client auth"]
ID = "spiffe://cluster.local/ns/app/sa/w"


def openssl(*arguments, stdin: str = "", codes=(0,)) -> str:
    done = subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=60,
                          check=False)
    if done.returncode not in codes:
        raise RuntimeError(f"openssl {' '.join(map(str, arguments))}: {done.stderr}")
    return done.stdout + done.stderr


class CertificateSignerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="signer-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.cluster = Cluster.from_environment()
        install(cls.cluster, "certificate-signer")
        cls.config = kubeconfig(cls.cluster)
        cls.key = cls.folder / "key.pem"
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", cls.key)
        cls.start()

    @classmethod
    def start(cls):
        cls.capstand = Capstand(CAPSTAND, cls.config, cls.folder / "state", cls.folder / "capstand.log",
                                f"--certificate-signer={SIGNER}", "--max-ttl=48h")
        cls.addClassCleanup(cls.capstand.stop)
        cls.capstand.wait_until_ready()

    def csr(self, san: str = f"URI:{ID}", *, subject: str = "/", key=None, **more: str) -> str:
        extensions = ([f"subjectAltName=critical,{san}"] if san else []) + [f"{name}={value}" for name, value in more.items()]
        config = self.folder / "request.cnf"
        config.write_text("[req]\nprompt=no\ndistinguished_name=dn\nreq_extensions=x\n[dn]\n[x]\n" + "\n".join(extensions) + "\n")
        return openssl("req", "-new", "-key", key or self.key, "-config", config, "-subj", subject)

    def create(self, csr: str, *, approve: bool = True, usages=None, seconds: int | None = None,
               signer: str = SIGNER) -> str:
        spec = {"request": base64.b64encode(csr.encode()).decode(), "signerName": signer, "usages": usages or USAGES}
        if seconds is not None:
            spec["expirationSeconds"] = seconds
        status, made = self.cluster.request("POST", REQUESTS, {
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": {"generateName": "workload-"}, "spec": spec})
        self.assertEqual(status, 201, made)
        name = made["metadata"]["name"]
        if approve:
            self.cluster.kubectl("certificate", "approve", name)
        return name

    def status(self, name: str) -> dict:
        return self.cluster.request("GET", f"{REQUESTS}/{name}")[1]["status"]

    def conditions(self, name: str) -> dict[str, dict]:
        return {condition["type"]: condition for condition in self.status(name).get("conditions", [])}

    def certificate(self, name: str) -> str:
        return base64.b64decode(eventually(f"{name} is signed", lambda: self.status(name).get("certificate"), 20)).decode()

    def failure(self, csr: str, **request) -> str:
        """Reason and message of the condition Failed."""
        name = self.create(csr, **request)
        failed = eventually(f"{name} has failed", lambda: self.conditions(name).get("Failed"), 20)
        self.assertNotIn("certificate", self.status(name))
        self.assertIn("Approved", self.conditions(name))
        return f"{failed['reason']}: {failed['message']}"

    def life(self, pem: str) -> float:
        dates = dict(line.split("=", 1) for line in openssl("x509", "-noout", "-dates", stdin=pem).splitlines())
        end = time.strptime(dates["notAfter"], "%b %d %H:%M:%S %Y %Z")
        return time.mktime(end) - time.timezone - time.time()

    def test_approved(self):
        pem = self.certificate(self.create(self.csr(), seconds=3600))
        self.assertAlmostEqual(self.life(pem), 3600, delta=30)
        text = openssl("x509", "-noout", "-text", stdin=pem)
        self.assertIn(f"X509v3 Subject Alternative Name: critical\n                URI:{ID}\n", text)
        self.assertIn("TLS Web Server Authentication, TLS Web Client Authentication", text)
        self.assertIn("CA:FALSE", text)
        self.assertEqual(openssl("x509", "-noout", "-pubkey", stdin=pem), openssl("pkey", "-in", self.key, "-pubout"))
        self.assertEqual(pem.count("BEGIN CERTIFICATE"), 1, "the built-in CA signs itself: no intermediate, and no root")
        metrics = self.capstand.get("/metrics")[1]
        self.assertIn('capstan_signing_requests_total{result="issued"}', metrics)
        eventually("to the gates it is a workload of which nothing is known but this leaf",
                   lambda: re.search(r"(?m)^capstan_population_workloads [1-9]", self.capstand.get("/metrics")[1]))

    def test_lives(self):
        self.assertAlmostEqual(self.life(self.certificate(self.create(self.csr()))), 24 * 3600, delta=30)
        long = self.certificate(self.create(self.csr(), seconds=30 * 24 * 3600))
        self.assertAlmostEqual(self.life(long), 48 * 3600, delta=30, msg="cut down to max-ttl")

    def test_not_approved_and_denied_and_others(self):
        waiting = self.create(self.csr(), approve=False)
        denied = self.create(self.csr(), approve=False)
        self.cluster.kubectl("certificate", "deny", denied)
        others = self.create(self.csr(), signer="example.com/other")
        self.certificate(self.create(self.csr()))  # and so it has looked at those
        time.sleep(1)
        self.assertEqual(self.status(waiting), {})
        self.assertEqual(list(self.conditions(denied)), ["Denied"])
        self.assertEqual(list(self.conditions(others)), ["Approved"])
        for name in (denied, others):
            self.assertNotIn("certificate", self.status(name))
        self.cluster.kubectl("certificate", "approve", waiting)
        self.certificate(waiting)

    def test_failures(self):
        weak = self.folder / "weak.pem"
        openssl("genrsa", "-out", weak, "1024")
        self.assertIn("NameNotAllowed: the CSR asks for spiffe://other/ns/app/sa/w: the trust domain here is cluster.local",
                      self.failure(self.csr("URI:spiffe://other/ns/app/sa/w")))
        self.assertIn("NameNotAllowed: the CSR asks for a name that is no SPIFFE ID: evil.example",
                      self.failure(self.csr(f"URI:{ID},DNS:evil.example")))
        self.assertIn("ExtensionNotAllowed: the CSR asks for a CA certificate",
                      self.failure(self.csr(basicConstraints="critical,CA:TRUE")))
        self.assertIn("InvalidRequest: the request: ", self.failure(self.csr(key=weak)))
        self.assertIn("UsageNotAllowed: the usage \"code signing\"", self.failure(self.csr(), usages=[*USAGES, "code signing"]))
        self.assertIn("SubjectNotAllowed: ", self.failure(self.csr(subject="/CN=admin")))
        self.assertIn("NameNotAllowed: the CSR asks for spiffe://cluster.local/capstan/control-plane",
                      self.failure(self.csr("URI:spiffe://cluster.local/capstan/control-plane")))
        self.assertTrue(self.capstand.said("a CertificateSigningRequest failed"))

    def test_restart(self):
        """What was answered stays as it is; what came while it was away, or was under way, is answered once."""
        done = self.create(self.csr())
        before = self.certificate(done)
        names = [self.create(self.csr()) for _ in range(5)]
        self.capstand.process.signal(signal.SIGKILL)
        self.capstand.ended()
        names += [self.create(self.csr()) for _ in range(5)]
        versions = {}
        self.start()
        for name in names:
            self.certificate(name)
            versions[name] = self.cluster.request("GET", f"{REQUESTS}/{name}")[1]["metadata"]["resourceVersion"]
        time.sleep(1)
        self.assertEqual(self.certificate(done), before)
        for name, version in versions.items():
            self.assertEqual(self.cluster.request("GET", f"{REQUESTS}/{name}")[1]["metadata"]["resourceVersion"], version)

    def test_without_the_right_to_sign(self):
        """Nothing is signed and thrown away in a loop, the log says what is missing, and it goes on by itself."""
        self.cluster.kubectl("delete", "clusterrolebinding", "capstand-certificate-signer")
        time.sleep(1)
        name = self.create(self.csr())
        try:
            eventually("the log says so", lambda: self.capstand.said("a CertificateSigningRequest cannot be answered"), 20)
        finally:
            install(self.cluster, "certificate-signer")
        self.certificate(name)
        self.assertTrue(self.capstand.said("CertificateSigningRequests are answered again"))


if __name__ == "__main__":
    CAPSTAND = pathlib.Path(sys.argv.pop(1))
    unittest.main(verbosity=2)
