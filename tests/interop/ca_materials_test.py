#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A CA that Easy-RSA, OpenSSL, CFSSL or step made signs a mesh: each tool's own, as `cacerts`.

    ca_materials_test.py CAPSTAN CAPSTAND CAPSTAN_AGENT
"""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import go_tools
from processes import Process, free_port
from step_inspect_test import STEP_PACKAGE

CAPSTAN = CAPSTAND = AGENT = pathlib.Path()  # set by main
EASYRSA = pathlib.Path("/usr/share/easy-rsa/easyrsa")


def run(*command, cwd: pathlib.Path, stdin: str | None = None, **environment: str) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, input=stdin, capture_output=True, text=True,
                          timeout=300, check=False, env={**os.environ, **environment})
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
    return done.stdout


def needs(program: str, package: str):
    return unittest.skipUnless(shutil.which(program) or pathlib.Path(program).exists(),
                               f"{package} is not installed; ./dev install test brings it")  # fmt: skip


class CaMaterialsTest(unittest.TestCase):
    def setUp(self):
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.stack = stack
        self.folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ca-")))
        self.cacerts = self.folder / "cacerts"
        self.cacerts.mkdir()

    def lay_out(self, certificate: pathlib.Path, key: pathlib.Path, root: pathlib.Path):
        """As Istio's users put a CA into `cacerts`."""
        shutil.copy(certificate, self.cacerts / "ca-cert.pem")
        shutil.copy(key, self.cacerts / "ca-key.pem")
        shutil.copy(root, self.cacerts / "root-cert.pem")
        (self.cacerts / "cert-chain.pem").write_text(certificate.read_text() + root.read_text())

    def signs_a_mesh(self):
        """Two agents get certificates under it, and each believes the other."""
        port, state = free_port(), self.folder / "state"
        log = self.folder / "capstand.log"
        capstand = self.stack.enter_context(Process(
            [CAPSTAND, f"--state-dir={state}", f"--cacerts={self.cacerts}", f"--listen=127.0.0.1:{port}",
             f"--http=127.0.0.1:{free_port()}"],
            log))  # fmt: skip
        capstand.wait_for("capstand serves", lambda: "Capstand CA has started" in log.read_text())
        held = {name: self.join(name, state / "capstand.sock") for name in ("httpbin", "sleep")}
        server = free_port()
        listens = self.folder / "server.log"
        process = self.stack.enter_context(Process(
            ["openssl", "s_server", "-accept", f"127.0.0.1:{server}", "-Verify", "5", "-verify_return_error", "-www",
             *self.tls(held["httpbin"])], listens))  # fmt: skip
        process.wait_for("openssl listens", lambda: "ACCEPT" in listens.read_text())
        said = run("openssl", "s_client", "-connect", f"127.0.0.1:{server}", "-verify", "5", "-verify_return_error", "-ign_eof",
                   *self.tls(held["sleep"]), cwd=self.folder, stdin="GET / HTTP/1.0\r\n\r\n")
        self.assertIn("Verify return code: 0 (ok)", said)
        self.assertIn("200 ok", said, "the server accepted the client's certificate")

    @staticmethod
    def tls(held: pathlib.Path) -> list:
        chain = held / "cert-chain.pem"
        return ["-cert", chain, "-cert_chain", chain, "-key", held / "key.pem", "-CAfile", held / "root-cert.pem"]

    def join(self, name: str, socket: pathlib.Path) -> pathlib.Path:
        folder = self.folder / name
        folder.mkdir(mode=0o700)
        run(CAPSTAN, "token", "create", "--socket", socket, "--ttl", "10m", "--out", folder / "join",
            "--spiffe-id", f"spiffe://cluster.local/ns/{name}/sa/{name}", cwd=self.folder)
        agent = self.stack.enter_context(Process(
            [AGENT, f"--join-file={folder}/join", f"--state-dir={folder}/state", f"--socket={folder}/sds.sock",
             f"--output-dir={folder}/held"], folder / "agent.log"))  # fmt: skip
        held = folder / "held"
        agent.wait_for("it holds a certificate", lambda: (held / "root-cert.pem").exists() and (
            held / "cert-chain.pem").exists())  # fmt: skip
        run(CAPSTAN, "verify", held / "cert-chain.pem", "--roots", self.cacerts / "root-cert.pem", cwd=folder)
        return held

    def test_openssl(self):
        at = self.folder
        (at / "ca.ext").write_text("basicConstraints=critical,CA:TRUE,pathlen:0\nkeyUsage=critical,keyCertSign,cRLSign\n"
                                   "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")  # fmt: skip
        run("openssl", "req", "-x509", "-newkey", "rsa:4096", "-nodes", "-keyout", "root.key", "-out", "root.pem",
            "-days", "3650", "-subj", "/O=Example/CN=Root", "-addext", "keyUsage=critical,keyCertSign,cRLSign", cwd=at)
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key",
            "-out", "ca.csr", "-subj", "/O=Example/CN=Mesh CA", cwd=at)
        run("openssl", "x509", "-req", "-in", "ca.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial",
            "-days", "365", "-extfile", "ca.ext", "-out", "ca.pem", cwd=at)
        self.lay_out(at / "ca.pem", at / "ca.key", at / "root.pem")
        self.signs_a_mesh()

    @needs(str(EASYRSA), "easy-rsa")
    def test_easy_rsa(self):
        for name in "root", "mesh":
            (self.folder / name).mkdir()
        root, mesh = self.folder / "root" / "pki", self.folder / "mesh" / "pki"
        batch = {"EASYRSA_BATCH": "1", "EASYRSA_ALGO": "ec", "EASYRSA_CURVE": "prime256v1"}
        for pki, name, *more in (root, "Root"), (mesh, "Mesh CA", "subca"):
            run(EASYRSA, "init-pki", cwd=pki.parent, **batch)
            run(EASYRSA, "build-ca", "nopass", *more, cwd=pki.parent, **batch, EASYRSA_REQ_CN=name)
        run(EASYRSA, "import-req", mesh / "reqs" / "ca.req", "mesh", cwd=root.parent, **batch)
        run(EASYRSA, "sign-req", "ca", "mesh", cwd=root.parent, **batch)
        # What Easy-RSA issues begins with text, which is left where it is.
        self.lay_out(root / "issued" / "mesh.crt", mesh / "private" / "ca.key", root / "ca.crt")
        self.signs_a_mesh()

    @needs("cfssl", "golang-cfssl")
    def test_cfssl(self):
        at = self.folder
        for name, wanted in ("root", "Root"), ("ca", "Mesh CA"):
            request = {"CN": wanted, "key": {"algo": "ecdsa", "size": 256}, "names": [{"O": "Example"}], "ca": {"expiry": "87600h"}}
            (at / f"{name}.json").write_text(json.dumps(request))
            made = run("cfssl", "gencert", "-initca", f"{name}.json", cwd=at)
            run("cfssljson", "-bare", name, cwd=at, stdin=made)
        (at / "config.json").write_text(json.dumps({"signing": {"default": {
            "expiry": "8760h", "usages": ["cert sign", "crl sign"], "ca_constraint": {"is_ca": True, "max_path_len_zero": True},
            "is_ca": True}}}))  # fmt: skip
        made = run("cfssl", "sign", "-ca", "root.pem", "-ca-key", "root-key.pem", "-config", "config.json", "ca.csr", cwd=at)
        run("cfssljson", "-bare", "ca", cwd=at, stdin=made)
        self.lay_out(at / "ca.pem", at / "ca-key.pem", at / "root.pem")
        self.signs_a_mesh()

    def test_step(self):
        try:
            step = go_tools.installed("step", STEP_PACKAGE)
        except go_tools.Skipped as skipped:
            self.skipTest(skipped.reason)
        at = self.folder
        plain = ("--no-password", "--insecure")
        run(step, "certificate", "create", "Root", "root.crt", "root.key", "--profile", "root-ca", *plain, cwd=at)
        run(step, "certificate", "create", "Mesh CA", "ca.crt", "ca.key", "--profile", "intermediate-ca",
            "--ca", "root.crt", "--ca-key", "root.key", *plain, cwd=at)
        self.lay_out(at / "ca.crt", at / "ca.key", at / "root.crt")
        self.signs_a_mesh()


if __name__ == "__main__":
    CAPSTAN, CAPSTAND, AGENT = (pathlib.Path(word).resolve() for word in sys.argv[1:4])
    del sys.argv[1:4]
    unittest.main(verbosity=2)
