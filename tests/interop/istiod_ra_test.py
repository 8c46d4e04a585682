#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real istiod in RA mode: it has workloads' certificates signed by capstand, by CertificateSigningRequests.

    istiod_ra_test.py CAPSTAN CAPSTAND ENVOY
"""

import json
import pathlib
import sys

import stock_istio
import stock_mesh
from processes import eventually
from stock_mesh import run

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

import kube_capstand  # noqa: E402

SIGNER = "capstan.dev/workload"


class IstiodRaTest(stock_mesh.StockMesh):
    def set_up_namespaces(self):
        stock_istio.install(self.cluster)
        self.create_accounts()

    def test_its_workloads_have_certificates_of_capstand(self):
        kube_capstand.install(self.cluster, "certificate-signer")
        capstand = self.add(kube_capstand.Capstand(
            stock_mesh.CAPSTAND, kube_capstand.kubeconfig(self.cluster), self.folder / "state", self.folder / "capstand.log",
            f"--cacerts={self.folder}/A/ca", f"--certificate-signer={SIGNER}"))  # fmt: skip
        capstand.wait_until_ready()
        # For its own certificate istiod keeps a CA, of another root; agents are to trust both.
        own = self.folder / "B" / "ca"
        roots = b"".join((self.folder / name / "ca" / "root-cert.pem").read_bytes() for name in "AB")
        folder = self.folder / "mesh"
        external = folder / "etc" / "external-ca-cert" / "root-cert.pem"
        external.parent.mkdir(parents=True)
        external.write_bytes(roots)
        istiod = self.add(stock_istio.Istiod(
            folder, self.cluster, {name: (own / name).read_bytes() for name in stock_istio.CACERTS},
            EXTERNAL_CA="ISTIOD_RA_KUBERNETES_API", K8S_SIGNER=SIGNER))  # fmt: skip
        agent = self.add(stock_istio.PilotAgent(self.folder / "httpbin-1", istiod, "app", "httpbin", roots))

        chain = agent.wait_for_certificate()
        self.assertIn(f"URI:{agent.spiffe_id}", run("openssl", "x509", "-in", chain, "-noout", "-ext", "subjectAltName"))
        run("openssl", "verify", "-CAfile", self.folder / "A" / "ca" / "root-cert.pem", "-untrusted", chain, chain)
        self.assertTrue(capstand.said("a CertificateSigningRequest has its certificate"))
        fleet = json.loads(run(stock_mesh.CAPSTAN, "fleet", "list", "-o", "json", "--socket", self.folder / "state" / "capstand.sock"))
        [workload] = fleet["workloads"]
        self.assertEqual(workload["spiffe_id"], agent.spiffe_id)
        self.assertRegex(workload["instance"], "^csr:csr-workload-")
        eventually("istiod took its request away", lambda: not self.cluster.request(
            "GET", "/apis/certificates.k8s.io/v1/certificatesigningrequests")[1]["items"])  # fmt: skip


if __name__ == "__main__":
    stock_mesh.main()
