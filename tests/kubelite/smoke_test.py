#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What Capstan asks of an API server, asked of kubelite's: `run.py smoke_test.py -v`."""

import base64
import os
import pathlib
import subprocess
import tempfile
import unittest

import kube
from processes import eventually

SECRETS = "/api/v1/namespaces/smoke/secrets"
MAPS = "/api/v1/namespaces/smoke/configmaps"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class SmokeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = kube.Cluster.from_environment()
        cls.cluster.create_namespace("smoke")
        cls.cluster.create_account("smoke", "httpbin")

    def test_the_environment_names_what_is_there(self):
        for name in "KUBECONFIG", "KUBELITE", "KUBELITE_DIR", "KUBELITE_CA", "KUBELITE_CERT", "KUBELITE_KEY":
            self.assertTrue(pathlib.Path(os.environ[name]).exists(), name)
        self.assertRegex(os.environ["KUBELITE_URL"], r"^https://127\.0\.0\.1:\d+$")
        self.assertIn("v1.36.3", self.cluster.kubectl("version"))

    def test_who_has_no_credential_sees_no_secret(self):
        status, answer = self.cluster.request("GET", SECRETS, token="none")
        self.assertEqual((status, answer["reason"]), (401, "Unauthorized"))

    def review(self, token: str, audience: str) -> dict:
        status, answer = self.cluster.request("POST", REVIEWS, {"spec": {"token": token, "audiences": [audience]}})
        self.assertEqual(status, 201)
        return answer["status"]

    def test_a_requested_token_is_reviewed(self):
        token = self.cluster.token("smoke", "httpbin")
        status = self.review(token, "istio-ca")
        self.assertTrue(status["authenticated"])
        self.assertEqual(status["user"]["username"], "system:serviceaccount:smoke:httpbin")
        self.assertEqual(status["audiences"], ["istio-ca"])
        self.assertFalse(self.review(token, "another").get("authenticated", False))
        self.assertFalse(self.review(token + "x", "istio-ca").get("authenticated", False))

    def test_a_watch_sees_a_secret_change(self):
        events = self.cluster.watch(f"{SECRETS}?fieldSelector=metadata.name%3Dcacerts")
        self.cluster.request("POST", SECRETS, {"metadata": {"name": "cacerts"}, "stringData": {"root-cert.pem": "A"}})
        self.cluster.request("PATCH", f"{SECRETS}/cacerts", {"stringData": {"root-cert.pem": "B"}}, kube.MERGE_PATCH)
        self.cluster.request("DELETE", f"{SECRETS}/cacerts")
        seen = [next(events) for _ in range(3)]
        events.close()
        self.assertEqual([event["type"] for event in seen], ["ADDED", "MODIFIED", "DELETED"])
        self.assertEqual(base64.b64decode(seen[1]["object"]["data"]["root-cert.pem"]), b"B")

    def test_two_appliers_of_one_field_conflict(self):
        def apply(manager: str, value: str) -> int:
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"key": value}}
            return self.cluster.request("PATCH", f"{MAPS}/applied?fieldManager={manager}", body, kube.APPLY_PATCH)[0]

        self.assertEqual([apply("a", "1"), apply("a", "2"), apply("b", "3")], [201, 200, 409])

    def test_a_stale_update_conflicts(self):
        _, made = self.cluster.request("POST", MAPS, {"metadata": {"name": "updated"}})
        self.assertEqual(self.cluster.request("PUT", f"{MAPS}/updated", made | {"data": {"a": "1"}})[0], 200)
        status, answer = self.cluster.request("PUT", f"{MAPS}/updated", made | {"data": {"a": "2"}})
        self.assertEqual((status, answer["reason"]), (409, "Conflict"))

    def test_an_approved_request_is_signed(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                    "/O=devs/CN=jane", "-keyout", folder / "key", "-out", folder / "csr")
            status, _ = self.cluster.request("POST", REQUESTS, {"metadata": {"name": "jane"}, "spec": {
                "request": base64.b64encode((folder / "csr").read_bytes()).decode(), "usages": ["client auth"],
                "signerName": "kubernetes.io/kube-apiserver-client"}})
            self.assertEqual(status, 201)
            self.cluster.kubectl("certificate", "approve", "jane")
            signed = eventually("the request is signed", lambda: self.cluster.request(
                "GET", f"{REQUESTS}/jane")[1]["status"].get("certificate"))
            (folder / "pem").write_bytes(base64.b64decode(signed))
            openssl("verify", "-CAfile", self.cluster.ca, folder / "pem")

    def test_the_controllers_fill_a_new_namespace_and_empty_an_old_one(self):
        self.cluster.create_namespace("passing")
        path = "/api/v1/namespaces/passing"
        for found in "serviceaccounts/default", "configmaps/kube-root-ca.crt":
            eventually(found, lambda name=found: self.cluster.request("GET", f"{path}/{name}")[0] == 200)
        self.cluster.kubectl("delete", "namespace", "passing", "--timeout=60s")
        self.assertEqual(self.cluster.request("GET", path)[0], 404)


if __name__ == "__main__":
    unittest.main()
