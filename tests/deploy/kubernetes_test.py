#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The manifests of deploy/kubernetes before a real API server: taken as they are, and neither more nor less than needed.

    kubernetes_test.py CAPSTAN CAPSTAND
"""

import base64
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

from kube_capstand import (  # noqa: E402
    ACCOUNT,
    API_AUDIENCE,
    MANIFESTS,
    NAMESPACE,
    ROOT,
    Capstand,
    Cluster,
    eventually,
    install,
    kubeconfig,
)

CAPSTAN = CAPSTAND = pathlib.Path()  # set by main
ROLES = sorted(path.stem for path in (MANIFESTS / "rbac").glob("*.yaml"))
CLUSTER_ROLE_BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"

# What capstand asks of the API server, and where: verb, resource[/subresource], name, namespace.
NEEDED = {
    "cacerts": [(verb, "secrets", "cacerts", "istio-system") for verb in ("get", "list", "watch", "patch")],
    "root-config-maps": [("list", "namespaces", "", ""), ("watch", "namespaces", "", ""),
                         ("list", "configmaps", "istio-ca-root-cert", ""), ("watch", "configmaps", "istio-ca-root-cert", ""),
                         ("patch", "configmaps", "istio-ca-root-cert", "app"), ("create", "configmaps", "", "app")],
    "cluster-trust-bundle": [(verb, "clustertrustbundles.certificates.k8s.io", "istio.io:istiod-ca:root-cert", "")
                             for verb in ("list", "watch", "patch")] +
                            [("create", "clustertrustbundles.certificates.k8s.io", "", ""),
                             ("attest", "signers.certificates.k8s.io", "istio.io/istiod-ca", "")],
    "istiod": [("list", "namespaces", "", ""), ("watch", "namespaces", "", ""),
               ("list", "configmaps", "istio-ca-root-cert", ""), ("watch", "configmaps", "istio-ca-root-cert", "")],
    "token-reviews": [("create", "tokenreviews.authentication.k8s.io", "", "")],
    "lease": [("get", "leases.coordination.k8s.io", "capstand", NAMESPACE),
              ("patch", "leases.coordination.k8s.io", "capstand", NAMESPACE),
              ("create", "leases.coordination.k8s.io", "", NAMESPACE)],
    "certificate-signer": [("list", "certificatesigningrequests.certificates.k8s.io", "", ""),
                           ("watch", "certificatesigningrequests.certificates.k8s.io", "", ""),
                           ("patch", "certificatesigningrequests.certificates.k8s.io/status", "x", ""),
                           ("sign", "signers.certificates.k8s.io", "capstan.dev/workload", "")],
    "pods": [("list", "pods", "", ""), ("watch", "pods", "", "")],
}
# What nobody needs, and a little too much would give.
DENIED = [
    ("*", "*", "", ""), ("list", "secrets", "", ""), ("get", "secrets", "cacerts", "app"), ("list", "secrets", "", "istio-system"),
    ("get", "secrets", "istio-ca-secret", "istio-system"), ("get", "secrets", "x", NAMESPACE),
    ("create", "secrets", "", "istio-system"), ("delete", "secrets", "cacerts", "istio-system"),
    ("update", "secrets", "cacerts", "istio-system"), ("get", "configmaps", "kube-root-ca.crt", "kube-system"),
    ("list", "configmaps", "", ""), ("patch", "configmaps", "x", "app"), ("delete", "configmaps", "istio-ca-root-cert", "app"),
    ("update", "configmaps", "istio-ca-root-cert", "app"), ("create", "namespaces", "", ""), ("patch", "namespaces", "app", ""),
    ("create", "pods", "", "app"), ("delete", "pods", "x", "app"), ("create", "pods/exec", "x", "app"),
    ("get", "tokenreviews.authentication.k8s.io", "", ""), ("list", "nodes", "", ""), ("get", "nodes", "x", ""),
    ("create", "serviceaccounts/token", "x", "app"), ("impersonate", "users", "", ""),
    ("delete", "leases.coordination.k8s.io", "capstand", NAMESPACE), ("patch", "leases.coordination.k8s.io", "x", NAMESPACE),
    ("get", "leases.coordination.k8s.io", "kube-scheduler", "kube-system"),
    ("create", "leases.coordination.k8s.io", "", "kube-system"),
    ("create", "certificatesigningrequests.certificates.k8s.io", "", ""),
    ("delete", "certificatesigningrequests.certificates.k8s.io", "x", ""),
    ("patch", "certificatesigningrequests.certificates.k8s.io/approval", "x", ""),
    ("approve", "signers.certificates.k8s.io", "capstan.dev/workload", ""),
    ("sign", "signers.certificates.k8s.io", "kubernetes.io/kube-apiserver-client", ""),
    ("sign", "signers.certificates.k8s.io", "capstan.dev/other", ""),
    ("patch", "clustertrustbundles.certificates.k8s.io", "x", ""),
    ("delete", "clustertrustbundles.certificates.k8s.io", "istio.io:istiod-ca:root-cert", ""),
    ("attest", "signers.certificates.k8s.io", "capstan.dev/workload", ""),
    ("sign", "signers.certificates.k8s.io", "istio.io/istiod-ca", ""),
    ("bind", "clusterroles.rbac.authorization.k8s.io", "", ""), ("escalate", "clusterroles.rbac.authorization.k8s.io", "", ""),
]


class KubernetesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="deploy-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.cluster = Cluster.from_environment()
        for namespace in ("istio-system", "app"):
            cls.cluster.create_namespace(namespace)

    def documents(self, path: pathlib.Path) -> list[dict]:
        told = self.cluster.kubectl("create", "--dry-run=client", "-o", "json", "-f", path).strip()
        found, end = [], 0
        while end < len(told):
            document, end = json.JSONDecoder().raw_decode(told, end)
            found.append(document)
            end += len(told[end:]) - len(told[end:].lstrip())
        return found

    def may(self, verb: str, resource: str, name: str, namespace: str) -> bool:
        """The API server's own answer about the service account."""
        resource, _, subresource = resource.partition("/")
        kind, _, group = resource.partition(".")
        attributes = {"verb": verb, "resource": kind, "group": "*" if kind == "*" else group, "subresource": subresource,
                      "name": name, "namespace": namespace}
        return self.cluster.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {
            "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
            "spec": {"user": ACCOUNT, "groups": ["system:serviceaccounts", f"system:serviceaccounts:{NAMESPACE}",
                                                 "system:authenticated"], "resourceAttributes": attributes}})[1]["status"]["allowed"]

    def test_all_are_taken(self):
        """By a server that has no more than the namespaces; the Pods, too, by what `restricted` says."""
        self.cluster.kubectl("apply", "-f", MANIFESTS / "namespace.yaml")
        files = [path for path in sorted(MANIFESTS.rglob("*.yaml")) if path.name != "kustomization.yaml"]
        self.assertGreater(len(files), 14)
        for path in files:
            with self.subTest(str(path.relative_to(MANIFESTS))):
                others = [d for d in self.documents(path) if d["kind"] == "Namespace" and d["metadata"]["name"] != NAMESPACE]
                for namespace in others:  # a dry run would not make it for what follows in the file
                    self.cluster.kubectl("apply", "-f", "-", stdin=json.dumps(namespace))
                told = self.cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", path)
                self.assertEqual(len(told.splitlines()), len(self.documents(path)))
        for template in self.pod_templates():
            status, pod = self.cluster.request("POST", f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All", {
                "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "p-"},
                "spec": template["spec"] | {"serviceAccountName": "default"}})
            self.assertEqual(status, 201, pod)

    def pod_templates(self):
        for file in ("deployment.yaml", "examples/sidecar.yaml"):
            for document in self.documents(MANIFESTS / file):
                if "template" in document.get("spec", {}):
                    template = document["spec"]["template"]
                    template["spec"]["volumes"] += [
                        {"name": claim["metadata"]["name"], "emptyDir": {}}
                        for claim in document["spec"].get("volumeClaimTemplates", [])]
                    yield template

    def test_kustomization_names_them(self):
        text = (MANIFESTS / "kustomization.yaml").read_text()
        offered = set(re.findall(r"^  (?:# )?- (\S+\.yaml)$", text, re.MULTILINE))
        there = {str(path.relative_to(MANIFESTS)) for path in MANIFESTS.rglob("*.yaml")}
        self.assertEqual(offered, {path for path in there if not path.startswith("examples/")} - {"kustomization.yaml"})
        told = self.cluster.kubectl("kustomize", MANIFESTS)
        self.assertEqual(len(re.findall("^kind:", told, re.MULTILINE)), 10)

    def test_configuration_is_read(self):
        """Each setting of the ConfigMap, those that are commented out among them."""
        text = self.documents(MANIFESTS / "config.yaml")[0]["data"]["capstand.yaml"]
        commented = re.findall(r"^\s*# ([a-z-]+: .*)$", text, re.MULTILINE)
        self.assertEqual(len(commented), 6)
        config = self.folder / "capstand.yaml"
        config.write_text(text + "\n".join(commented) + "\n")
        done = subprocess.run([CAPSTAND, f"--config={config}", "--print-config"], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        for line in commented:
            self.assertIn(f"\n{line}", done.stdout)

    def test_roles_are_what_is_needed(self):
        self.assertEqual(set(ROLES), set(NEEDED))
        install(self.cluster, *ROLES)
        for role, needs in NEEDED.items():
            for need in needs:
                with self.subTest(role=role, need=need):
                    eventually("it may", lambda: self.may(*need), 10)
            rules = [rule for document in self.documents(MANIFESTS / "rbac" / f"{role}.yaml") for rule in document.get("rules", [])]
            granted = {(verb, f"{resource}.{group}".rstrip(".")) for rule in rules for verb in rule["verbs"]
                       for group in rule["apiGroups"] for resource in rule["resources"]}
            used = {(verb, self.rule_name(resource)) for verb, resource, _, _ in needs}
            self.assertEqual(granted, used, f"{role}: what is granted is what is used")
        for denied in DENIED:
            with self.subTest(denied=denied):
                self.assertFalse(self.may(*denied))

    @staticmethod
    def rule_name(resource: str) -> str:
        """"a.group/sub" as a rule says it: "a/sub.group"."""
        resource, slash, subresource = resource.partition("/")
        kind, dot, group = resource.partition(".")
        return kind + slash + subresource + dot + group

    def test_roles_are_enough(self):
        """Every setting at once, with nothing but those roles: it does all that it is told to."""
        install(self.cluster, *ROLES)
        ca = self.folder / "cacerts"
        self.make_ca(ca)
        self.cluster.kubectl("-n", "istio-system", "create", "secret", "generic", "cacerts", f"--from-file={ca}")
        config = self.folder / "all.yaml"
        text = self.documents(MANIFESTS / "config.yaml")[0]["data"]["capstand.yaml"]
        kept = [line for line in text.splitlines() if not re.match(r"(state-dir|listen|advertise|http|socket):", line)]
        config.write_text("\n".join(re.sub(r"^# ([a-z-]+: )", r"\1", line) for line in kept) + "\n")
        capstand = Capstand(CAPSTAND, kubeconfig(self.cluster), self.folder / "state", self.folder / "capstand.log",
                            f"--config={config}", "--log-format=text")
        self.addCleanup(capstand.stop)
        capstand.wait_until_ready()

        lease = self.cluster.request("GET", f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/capstand")[1]
        self.assertRegex(lease["spec"]["holderIdentity"], ".+_[0-9a-f]{16}")
        root = (ca / "root-cert.pem").read_text().strip()
        eventually("the ConfigMap is written", lambda: root in self.cluster.request(
            "GET", "/api/v1/namespaces/app/configmaps/istio-ca-root-cert")[1].get("data", {}).get("root-cert.pem", ""))
        eventually("the ClusterTrustBundle is written", lambda: root in self.cluster.request(
            "GET", "/apis/certificates.k8s.io/v1beta1/clustertrustbundles/istio.io:istiod-ca:root-cert")[1].get(
                "spec", {}).get("trustBundle", ""))
        self.assertTrue(self.signed(self.request()))
        status, review = self.cluster.request(
            "POST", "/apis/authentication.k8s.io/v1/tokenreviews",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
             "spec": {"token": self.cluster.token("app", "default"), "audiences": ["istio-ca"]}},
            token=self.cluster.token(NAMESPACE, "capstand", API_AUDIENCE))
        self.assertEqual((status, review["status"]["authenticated"]), (201, True))
        started = subprocess.run([CAPSTAN, "rotate", "start", "--generate", "--yes", "--socket",
                                  self.folder / "state" / "capstand.sock"], capture_output=True, text=True, check=False)
        eventually(f"the Secret has the new CA: {started}", lambda: self.secret("ca-cert.pem").strip() != root, 20)
        for wrong in ("is forbidden", "trying again"):
            self.assertFalse(capstand.said(wrong), capstand.log.read_text())

    def secret(self, key: str) -> str:
        data = self.cluster.request("GET", "/api/v1/namespaces/istio-system/secrets/cacerts")[1]["data"]
        return base64.b64decode(data[key]).decode()

    def make_ca(self, folder: pathlib.Path):
        folder.mkdir()
        openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1000",
                   "-subj", "/O=test", "-keyout", folder / "ca-key.pem", "-out", folder / "ca-cert.pem",
                   "-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        subprocess.run(openssl, check=True, capture_output=True)
        for copy in ("root-cert.pem", "cert-chain.pem"):
            (folder / copy).write_bytes((folder / "ca-cert.pem").read_bytes())

    def request(self) -> str:
        csr = subprocess.run(["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                              "/dev/null", "-subj", "/", "-addext", "subjectAltName=URI:spiffe://cluster.local/ns/app/sa/w"],
                             capture_output=True, check=True).stdout
        made = self.cluster.request("POST", "/apis/certificates.k8s.io/v1/certificatesigningrequests", {
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"generateName": "w-"},
            "spec": {"request": base64.b64encode(csr).decode(), "signerName": "capstan.dev/workload",
                     "usages": ["client auth"]}})[1]
        self.cluster.kubectl("certificate", "approve", made["metadata"]["name"])
        return made["metadata"]["name"]

    def signed(self, name: str) -> str:
        path = f"/apis/certificates.k8s.io/v1/certificatesigningrequests/{name}"
        return eventually("it is signed", lambda: self.cluster.request("GET", path)[1]["status"].get("certificate"), 20)

    def test_page_names_the_files(self):
        page = (ROOT / "docs" / "install-on-kubernetes.md").read_text() + (ROOT / "docs" / "kubernetes.md").read_text()
        for path in MANIFESTS.rglob("*.yaml"):
            self.assertIn(str(path.relative_to(MANIFESTS)), page)


if __name__ == "__main__":
    CAPSTAN, CAPSTAND = (pathlib.Path(sys.argv.pop(1)) for _ in range(2))
    unittest.main(verbosity=2)
