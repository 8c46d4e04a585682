#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real istiod takes what `capstan pki` makes, and a real pilot-agent gets a certificate from it.

    istio_smoke_test.py CAPSTAN
"""

import contextlib
import pathlib
import subprocess
import sys
import tempfile
import unittest

import stock_istio
from kube import Kubelite
from processes import eventually

CAPSTAN = ""  # set by main
NAMESPACES = ("app", "other")


def run(*command) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout


class IstioSmokeTest(unittest.TestCase):
    """One mesh for all cases; its parts stop in the order opposite to that of their start."""

    @classmethod
    def setUpClass(cls):
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        cls.folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="istio-")))
        cls.parts = []
        try:
            cls.start_mesh(stack)
        except Exception:
            cls.print_logs()
            raise

    @classmethod
    def start_mesh(cls, stack):
        cls.cluster = cls.add(stack, Kubelite(cls.folder / "kubelite"))
        stock_istio.install(cls.cluster)
        for namespace in NAMESPACES:
            cls.cluster.create_namespace(namespace)
            cls.cluster.create_account(namespace, "httpbin")
        run(CAPSTAN, "pki", "root-ca", "--dir", cls.folder / "pki")
        run(CAPSTAN, "pki", "intermediate-cacerts", "istiod", "--dir", cls.folder / "pki")
        made = cls.folder / "pki" / "istiod"
        cls.cacerts = {name: (made / name).read_bytes() for name in stock_istio.CACERTS}
        cls.istiod = cls.add(stack, stock_istio.Istiod(cls.folder / "istiod", cls.cluster, cls.cacerts))
        cls.agent = cls.add(stack, stock_istio.PilotAgent(cls.folder / "httpbin-1", cls.istiod, "app", "httpbin",
                                                          cls.cacerts["root-cert.pem"]))

    @classmethod
    def add(cls, stack, part):
        cls.parts.append(part)
        return stack.enter_context(part)

    @classmethod
    def print_logs(cls):
        for part in cls.parts:
            print(part.logs(), file=sys.stderr)

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            self.print_logs()
        return result

    def test_the_root_is_in_every_namespace(self):
        root = self.cacerts["root-cert.pem"].decode()
        for namespace in NAMESPACES:
            path = f"/api/v1/namespaces/{namespace}/configmaps/istio-ca-root-cert"
            found = eventually(path, lambda path=path: self.cluster.request("GET", path)[1].get("data"))
            self.assertEqual(found["root-cert.pem"].strip(), root.strip())

    def test_an_agent_has_a_certificate(self):
        chain = self.agent.wait_for_certificate()
        text = run("openssl", "x509", "-in", chain, "-noout", "-ext", "subjectAltName")
        self.assertIn(f"URI:{self.agent.spiffe_id}", text)
        root = self.folder / "pki" / "istiod" / "root-cert.pem"
        run("openssl", "verify", "-CAfile", root, "-untrusted", chain, chain)
        self.assertEqual((self.agent.certificates / "root-cert.pem").read_bytes().strip(),
                         self.cacerts["root-cert.pem"].strip())

    def test_its_chain_is_one_for_capstan(self):
        chain = self.agent.wait_for_certificate()
        root = self.folder / "pki" / "istiod" / "root-cert.pem"
        run(CAPSTAN, "verify", chain, "--roots", root)

    def test_istioctl_runs(self):
        self.assertTrue(run(stock_istio.program("istioctl"), "version", "--remote=false").strip())


if __name__ == "__main__":
    stock_istio.require()
    CAPSTAN = str(pathlib.Path(sys.argv.pop(1)).resolve())
    unittest.main(verbosity=2)
