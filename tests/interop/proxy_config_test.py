#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The jq lines that Istio's users know, on `capstan proxy-config secret -o json` of a real Envoy's dump.

    proxy_config_test.py CAPSTAN
"""

import base64
import http.server
import json
import pathlib
import shutil
import subprocess
import sys
import threading
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "src" / "envoy" / "testdata"
CAPSTAN = ""  # set by main

LEAF = ".dynamicActiveSecrets[0].secret.tlsCertificate.certificateChain.inlineBytes"
ROOTS = ".dynamicActiveSecrets[1].secret.validationContext.trustedCa.inlineBytes"
ROOTS_OPTIONAL = ".dynamicActiveSecrets[1]?.secret.validationContext?.trustedCa?.inlineBytes"


def capstan(*arguments, stdin=b""):
    return subprocess.run([CAPSTAN, *arguments], input=stdin, capture_output=True, timeout=30, check=False)


def shell(line):
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30, check=True,
                          env={"PATH": f"{pathlib.Path(CAPSTAN).parent}:/usr/bin:/bin"}).stdout


class Admin(http.server.BaseHTTPRequestHandler):
    """Answers as the admin interface of the Envoy whose answers were saved."""

    asked: list[str] = []

    def do_GET(self):
        self.asked.append(self.path)
        path, _, query = self.path.partition("?")
        name = {"/config_dump": "config_dump.json", "/stats/prometheus": "stats.prometheus",
                "/stats": "stats.json" if "format=json" in query else "stats.txt"}.get(path)
        if name is None:
            self.send_error(404)
            return
        body = (DATA / name).read_bytes()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class ProxyConfig(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Admin)
        threading.Thread(target=cls.server.serve_forever, daemon=True).start()
        cls.admin = f"127.0.0.1:{cls.server.server_port}"

    @classmethod
    def tearDownClass(cls):
        cls.server.shutdown()
        cls.server.server_close()

    def setUp(self):
        Admin.asked.clear()

    def test_jq_lines(self):
        secrets = json.loads((DATA / "config_dump.json").read_text())["configs"][0]["dynamic_active_secrets"]
        held = {secret["name"]: secret["secret"] for secret in secrets}
        leaf = base64.b64decode(held["default"]["tls_certificate"]["certificate_chain"]["inline_bytes"]).decode()
        roots = base64.b64decode(held["ROOTCA"]["validation_context"]["trusted_ca"]["inline_bytes"]).decode()
        for file in "config_dump.json", "config_dump_full.json":
            command = f"capstan proxy-config secret -f {DATA / file} -o json | jq -r '%s' | base64 --decode"
            self.assertEqual(shell(command % LEAF), leaf)
            self.assertEqual(shell(command % ROOTS), roots)
            self.assertEqual(shell(command % ROOTS_OPTIONAL), roots)

    def test_jq_lines_end_in_the_inspector(self):
        line = f"capstan pc secret --admin {self.admin} -ojson | jq -r '{LEAF}' | base64 -d | capstan inspect - --short"
        self.assertRegex(shell(line), r"^X.509v3 TLS Certificate \(ECDSA P-256\) \[Serial: \d{4}\.\.\.\d{4}\]\n"
                                      r"  Subject:     spiffe://cluster.local/ns/httpbin/sa/httpbin\n"
                                      r"  Issuer:      Intermediate CA\n")

    def test_table_shows_every_certificate(self):
        text = capstan("proxy-config", "secret", "--admin", self.admin).stdout.decode()
        self.assertRegex(text, r"^NAME +TYPE +STATUS +VALID +SERIAL +NOT AFTER +NOT BEFORE")
        names = [line.split()[0] for line in text.splitlines()[1:]]
        self.assertEqual(names, ["default", "default", "ROOTCA", "ROOTCA", "federated", "federated",
                                 "never-arrives", "fixed-root"])

    def test_no_private_key_in_any_output(self):
        dump = (DATA / "config_dump.json").read_text().replace("W3JlZGFjdGVkXQ==", base64.b64encode(b"THE KEY").decode())
        for output in "table", "json":
            result = capstan("proxy-config", "secret", "-f", "-", "-o", output, stdin=dump.encode())
            self.assertEqual(result.returncode, 0)
            self.assertNotIn(base64.b64encode(b"THE KEY"), result.stdout)

    def test_errors(self):
        for arguments, code, words in (
                (["-f", "/nonexistent"], 2, b"/nonexistent"),
                (["-f", "-"], 2, b"empty"),
                (["--admin", "127.0.0.1:1"], 3, b"is an Envoy running"),
                (["--admin", "nonsense"], 2, b"HOST:PORT"),
                (["-f", "-", "--admin", self.admin], 2, b"--admin"),
                (["-o", "xml"], 2, b"xml")):
            with self.subTest(arguments=arguments):
                result = capstan("proxy-config", "secret", *arguments)
                self.assertEqual((result.returncode, result.stdout), (code, b""))
                self.assertIn(words, result.stderr)

    def test_envoy_stats(self):
        lines = shell(f"capstan envoy-stats --admin {self.admin} --output prometheus | grep istio_requests_total")
        for label in ('source_principal="spiffe://cluster.local/ns/sleep/sa/sleep"', 'response_code="200"',
                      'destination_principal="spiffe://cluster.local/ns/httpbin/sa/httpbin"',
                      'connection_security_policy="mutual_tls"'):
            self.assertIn(label, lines)
        self.assertIn("istio_requests_total.reporter.destination", capstan("envoy-stats", "--admin", self.admin).stdout.decode())
        self.assertIn("stats", json.loads(capstan("envoy-stats", "--admin", self.admin, "-o", "json").stdout))

    def test_filter_reaches_envoy_whole(self):
        capstan("envoy-stats", "--admin", self.admin, "-o", "json", "--filter", r"ssl\.(a|b)+&x")
        self.assertEqual(Admin.asked, ["/stats?format=json&filter=ssl%5c.%28a%7cb%29%2b%26x"])


def main():
    global CAPSTAN
    if len(sys.argv) < 2:
        sys.exit("usage: proxy_config_test.py CAPSTAN [UNITTEST ARGUMENT...]")
    CAPSTAN = str(pathlib.Path(sys.argv.pop(1)).absolute())
    if not shutil.which("jq"):
        print("skipped: jq is not installed")
        sys.exit(77)
    unittest.main()


if __name__ == "__main__":
    main()
