#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`capstan verify` agrees with `openssl verify` and with Go's verifier on hard chains.

    verify_test.py CAPSTAN

Each case says what the answer must be, so that three wrong programs cannot agree with each other.
"""

import dataclasses
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest

import go_tools

CAPSTAN = ""  # set by main
GO_VERIFY = None

DAY = 86400
CA = "basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign,cRLSign\n"
IDS = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
LEAF = "basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\n"
SAN = "subjectAltName=DNS:a.example,URI:spiffe://cluster.local/ns/a/sa/a\n"


def openssl(*arguments, **options):
    result = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, check=False, **options)
    if result.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(map(str, arguments))}: {result.stderr.decode()}")
    return result.stdout


class Pki:
    """Keys, and certificates for any pairing of them, made by openssl."""

    def __init__(self, folder):
        self.folder = folder
        self.serial = 1000

    def path(self, name):
        return self.folder / name

    def key(self, name):
        path = self.path(f"{name}.key")
        if not path.exists():
            openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
        return path

    def issue(self, name, subject, key, issuer=None, issuer_key=None, extensions="", days=365, digest="-sha256"):
        """A certificate file `name` for `key`, issued by certificate `issuer`, or by itself."""
        self.serial += 1
        config = self.path(f"{name}.ext")
        config.write_text(extensions)
        request = openssl("req", "-new", "-key", self.key(key), "-subj", subject, "-config", "/dev/null")
        signer = ["-signkey", self.key(key)] if issuer is None else \
            ["-CA", self.path(f"{issuer}.pem"), "-CAkey", self.key(issuer_key or issuer)]
        pem = openssl("x509", "-req", *signer, "-set_serial", self.serial, "-days", days, "-extfile", config, digest,
                      input=request)
        self.path(f"{name}.pem").write_bytes(pem)

    def join(self, name, parts):
        path = self.path(f"{name}.joined.pem")
        path.write_bytes(b"".join(self.path(f"{part}.pem").read_bytes() for part in parts))
        return path

    def make(self):
        for root in "A", "B":
            self.issue(f"root{root}", "/O=Istio/CN=Root CA", f"root{root}", extensions=CA + IDS)
            self.issue(f"bare{root}", "/O=Istio/CN=Bare Root", f"bare{root}", extensions=CA)
        self.issue("other", "/CN=Other Root", "other", extensions=CA + IDS)
        self.issue("expired_root", "/CN=Expired Root", "expired_root", extensions=CA + IDS, days=30)
        for root in "A", "B":
            self.issue(f"int{root}", "/CN=Intermediate", f"int{root}", f"root{root}", extensions=CA + IDS)
            self.issue(f"leaf{root}", "/CN=leaf", "leaf", f"int{root}", extensions=LEAF + SAN + IDS)
            self.issue(f"bare_leaf{root}", "/CN=leaf", "leaf", f"bare{root}", extensions=LEAF + SAN)
        # One intermediate key under both roots, and root B under root A.
        for root in "A", "B":
            self.issue(f"shared_{root}", "/CN=Shared", "shared", f"root{root}", extensions=CA + IDS)
        self.issue("shared_leaf", "/CN=leaf", "leaf", "shared_A", "shared", extensions=LEAF + SAN + IDS)
        self.issue("B_by_A", "/O=Istio/CN=Root CA", "rootB", "rootA", extensions=CA + IDS)
        self.issue("other_by_expired", "/CN=Other Root", "other", "expired_root", extensions=CA + IDS, days=30)
        self.issue("other_leaf", "/CN=leaf", "leaf", "other", extensions=LEAF + SAN + IDS)
        self.issue("leaf_of_expired", "/CN=leaf", "leaf", "expired_root", extensions=LEAF + SAN + IDS)
        self.make_limits()
        self.make_mistakes()

    def make_limits(self):
        zero = CA.replace("CA:true", "CA:true,pathlen:0")
        self.issue("zero", "/CN=Zero", "zero", "rootA", extensions=zero + IDS)
        self.issue("below_zero", "/CN=Below", "below", "zero", extensions=CA + IDS)
        self.issue("zero_leaf", "/CN=leaf", "leaf", "zero", extensions=LEAF + SAN + IDS)
        self.issue("too_deep_leaf", "/CN=leaf", "leaf", "below_zero", "below", extensions=LEAF + SAN + IDS)
        issuer = "rootA"
        for depth in range(5):
            self.issue(f"deep{depth}", f"/CN=Deep {depth}", f"deep{depth}", issuer, extensions=CA + IDS)
            issuer = f"deep{depth}"
        self.issue("deep_leaf", "/CN=leaf", "leaf", issuer, extensions=LEAF + SAN + IDS)
        for name, constraint in (("permit", "permitted;DNS:example"), ("permit_other", "permitted;DNS:other"),
                                 ("exclude", "excluded;DNS:a.example"), ("permit_uri", "permitted;URI:cluster.local"),
                                 ("permit_other_uri", "permitted;URI:other.local")):
            self.issue(name, f"/CN={name}", name, "rootA", extensions=f"{CA}{IDS}nameConstraints=critical,{constraint}\n")
            self.issue(f"{name}_leaf", "/CN=leaf", "leaf", name, extensions=LEAF + SAN + IDS)
        for usage in "serverAuth", "clientAuth":
            self.issue(f"{usage}_leaf", "/CN=leaf", "leaf", "intA", extensions=f"{LEAF}{SAN}{IDS}extendedKeyUsage={usage}\n")
        self.issue("server_only", "/CN=Server CA", "server_only", "rootA", extensions=f"{CA}{IDS}extendedKeyUsage=serverAuth\n")
        self.issue("server_only_leaf", "/CN=leaf", "leaf", "server_only",
                   extensions=f"{LEAF}{SAN}{IDS}extendedKeyUsage=serverAuth,clientAuth\n")
        self.issue("short_leaf", "/CN=leaf", "leaf", "intA", extensions=LEAF + SAN + IDS, days=2)

    def make_mistakes(self):
        self.issue("leaf_of_leaf", "/CN=leaf of leaf", "leaf2", "leafA", "leaf", extensions=LEAF + SAN + IDS)
        self.issue("no_sign", "/CN=No Sign", "no_sign", "rootA",
                   extensions="basicConstraints=critical,CA:true\nkeyUsage=critical,digitalSignature\n" + IDS)
        self.issue("no_sign_leaf", "/CN=leaf", "leaf", "no_sign", extensions=LEAF + SAN + IDS)
        self.issue("version1", "/CN=Version 1", "version1", "rootA")
        self.issue("version1_leaf", "/CN=leaf", "leaf", "version1", extensions=LEAF + SAN)
        self.issue("sha1", "/CN=SHA-1", "sha1", "rootA", extensions=CA + IDS, digest="-sha1")
        self.issue("sha1_leaf", "/CN=leaf", "leaf", "sha1", extensions=LEAF + SAN + IDS)
        self.issue("self_signed", "/CN=self", "self", extensions=LEAF + SAN + IDS)
        self.issue("critical_leaf", "/CN=leaf", "leaf", "intA", extensions=f"{LEAF}{SAN}{IDS}1.2.3.4=critical,ASN1:NULL\n")
        self.issue("renamed", "/CN=Other Name", "intA", "rootA", extensions=CA + IDS)
        der = bytearray(openssl("x509", "-in", self.path("leafA.pem"), "-outform", "DER"))
        der[-1] ^= 1
        self.path("tampered.pem").write_bytes(openssl("x509", "-inform", "DER", input=bytes(der)))


@dataclasses.dataclass
class Case:
    name: str
    chain: list[str]
    roots: list[str]
    trusted: bool
    purpose: str = "any"
    days: float = 1  # from now
    openssl: bool | None = None  # where openssl is known to answer otherwise
    go: bool | None = None       # where Go is


CASES = [
    Case("plain", ["leafA", "intA"], ["rootA"], True),
    Case("missing intermediate", ["leafA"], ["rootA"], False),
    Case("the other root", ["leafA", "intA"], ["other"], False),
    Case("same-name root of another key", ["leafA", "intA"], ["rootB"], False),
    Case("same-name roots, right one first", ["leafA", "intA"], ["rootA", "rootB"], True),
    Case("same-name roots, right one last", ["leafA", "intA"], ["rootB", "rootA"], True),
    Case("same-name roots without key ids, B last", ["bare_leafB"], ["bareA", "bareB"], True),
    Case("same-name roots without key ids, B first", ["bare_leafB"], ["bareB", "bareA"], True),
    Case("A+B+B", ["leafB", "intB"], ["rootA", "rootB", "rootB"], True),
    Case("intermediates shuffled with strangers", ["leafA", "other", "intB", "rootA", "intA"], ["rootA"], True),
    Case("root sent along, but not trusted", ["leafA", "intA", "rootA"], ["other"], False),
    Case("cross-signed intermediate, A trusted", ["shared_leaf", "shared_A", "shared_B"], ["rootA"], True),
    # openssl takes the first intermediate of that name and does not come back for the second.
    Case("cross-signed intermediate, B trusted", ["shared_leaf", "shared_A", "shared_B"], ["rootB"], True, openssl=False),
    Case("cross-signed root, A trusted", ["leafB", "intB", "B_by_A"], ["rootA"], True),
    Case("cross-signed root, B trusted", ["leafB", "intB", "B_by_A"], ["rootB"], True),
    Case("expired cross-certificate beside a trusted root", ["other_leaf", "other_by_expired"], ["other", "expired_root"],
         True, days=40),
    Case("expired cross-certificate alone", ["other_leaf", "other_by_expired"], ["expired_root"], False, days=40),
    Case("expired root", ["leaf_of_expired"], ["expired_root"], False, days=40),
    Case("that root while it lived", ["leaf_of_expired"], ["expired_root"], True, days=20),
    Case("leaf about to expire", ["short_leaf", "intA"], ["rootA"], True, days=1.9),
    Case("leaf expired", ["short_leaf", "intA"], ["rootA"], False, days=2.1),
    Case("not yet valid", ["leafA", "intA"], ["rootA"], False, days=-1),
    Case("path length zero", ["zero_leaf", "zero"], ["rootA"], True),
    Case("path length exceeded", ["too_deep_leaf", "below_zero", "zero"], ["rootA"], False),
    Case("five intermediates", ["deep_leaf", "deep4", "deep3", "deep2", "deep1", "deep0"], ["rootA"], True),
    Case("five intermediates upside down", ["deep_leaf", "deep0", "deep1", "deep2", "deep3", "deep4"], ["rootA"], True),
    Case("five intermediates but one", ["deep_leaf", "deep4", "deep3", "deep1", "deep0"], ["rootA"], False),
    Case("permitted DNS name", ["permit_leaf", "permit"], ["rootA"], True),
    Case("DNS name not permitted", ["permit_other_leaf", "permit_other"], ["rootA"], False),
    Case("excluded DNS name", ["exclude_leaf", "exclude"], ["rootA"], False),
    Case("permitted URI host", ["permit_uri_leaf", "permit_uri"], ["rootA"], True),
    Case("URI host not permitted", ["permit_other_uri_leaf", "permit_other_uri"], ["rootA"], False),
    Case("serverAuth for a server", ["serverAuth_leaf", "intA"], ["rootA"], True, "server"),
    Case("serverAuth for a client", ["serverAuth_leaf", "intA"], ["rootA"], False, "client"),
    Case("clientAuth for a client", ["clientAuth_leaf", "intA"], ["rootA"], True, "client"),
    Case("clientAuth for a server", ["clientAuth_leaf", "intA"], ["rootA"], False, "server"),
    Case("no extended usage at all", ["leafA", "intA"], ["rootA"], True, "client"),
    Case("intermediate for servers only", ["server_only_leaf", "server_only"], ["rootA"], False, "client"),
    Case("the same for a server", ["server_only_leaf", "server_only"], ["rootA"], True, "server"),
    Case("issuer is a leaf", ["leaf_of_leaf", "leafA", "intA"], ["rootA"], False),
    Case("issuer without keyCertSign", ["no_sign_leaf", "no_sign"], ["rootA"], False),
    Case("issuer of version 1", ["version1_leaf", "version1"], ["rootA"], False),
    # openssl verify looks at digests only from -auth_level 1 on.
    Case("intermediate signed with SHA-1", ["sha1_leaf", "sha1"], ["rootA"], False, openssl=True),
    Case("self-signed, unknown", ["self_signed"], ["rootA"], False),
    Case("unknown critical extension", ["critical_leaf", "intA"], ["rootA"], False),
    Case("issuer's key under another name", ["leafA", "renamed"], ["rootA"], False),
    Case("signature changed", ["tampered", "intA"], ["rootA"], False),
]


class Verify(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.pki = Pki(pathlib.Path(cls.temporary.name))
        cls.pki.make()
        cls.now = int(time.time())

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def files(self, case):
        chain = self.pki.join("chain", case.chain)
        roots = self.pki.join("roots", case.roots)
        return chain, roots, self.now + int(case.days * DAY)

    def capstan(self, chain, roots, at, *flags):
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
        return subprocess.run([CAPSTAN, "verify", chain, "--roots", roots, "--at", moment, "-o", "json", *flags],
                              capture_output=True, text=True, timeout=30, check=False)

    def openssl(self, case, chain, roots, at, *flags):
        purpose = {"any": [], "server": ["-purpose", "sslserver"], "client": ["-purpose", "sslclient"]}[case.purpose]
        rest = self.pki.join("untrusted", case.chain[1:])
        untrusted = ["-untrusted", rest] if case.chain[1:] else []
        result = subprocess.run(["openssl", "verify", "-no-CApath", "-no-CAstore", "-CAfile", roots, *untrusted, "-attime",
                                 str(at), *purpose, *flags, self.pki.path(f"{case.chain[0]}.pem")], capture_output=True,
                                text=True, timeout=30, check=False)
        return result.returncode == 0, result.stdout + result.stderr

    def test_capstan(self):
        for case in CASES:
            with self.subTest(case.name):
                result = self.capstan(*self.files(case), "--purpose", case.purpose)
                self.assertEqual(result.returncode, 0 if case.trusted else 1, result.stdout + result.stderr)
                verdict = json.loads(result.stdout)
                self.assertEqual(verdict["trusted"], case.trusted)
                self.assertEqual(bool(verdict["reason"]), not case.trusted)
                self.assertEqual([step["ok"] for step in verdict["steps"]][-1], case.trusted)

    def test_openssl(self):
        for case in CASES:
            with self.subTest(case.name):
                trusted, output = self.openssl(case, *self.files(case))
                self.assertEqual(trusted, case.trusted if case.openssl is None else case.openssl, output)

    def test_go(self):
        for case in CASES:
            with self.subTest(case.name):
                chain, roots, at = self.files(case)
                said = subprocess.run([GO_VERIFY, roots, chain, str(at), case.purpose], capture_output=True, text=True,
                                      timeout=30, check=True).stdout.strip()
                self.assertEqual(said == "trusted", case.trusted if case.go is None else case.go, said)


class Revocation(Verify):
    """With CRLs, against openssl: Go's verifier does not read them."""

    test_capstan = test_openssl = test_go = None

    def crl(self, name, issuer, revoked=()):
        """A CRL of `issuer` over the serial numbers of the certificates named in `revoked`."""
        folder = self.pki.path(f"{name}.ca")
        folder.mkdir(exist_ok=True)
        lines = []
        for certificate in revoked:
            serial = openssl("x509", "-in", self.pki.path(f"{certificate}.pem"), "-noout", "-serial").decode().strip()[7:]
            lines.append(f"R\t350101000000Z\t250101000000Z\t{serial}\tunknown\t/CN=x\n")
        (folder / "index").write_text("".join(lines))
        (folder / "number").write_text("01\n")
        (folder / "conf").write_text(f"[ca]\ndefault_ca=x\n[x]\ndatabase={folder}/index\ncrlnumber={folder}/number\n"
                                     "default_md=sha256\ndefault_crl_days=10\ncrl_extensions=e\n"
                                     "[e]\nauthorityKeyIdentifier=keyid\n")
        path = self.pki.path(f"{name}.crl")
        openssl("ca", "-config", folder / "conf", "-gencrl", "-cert", self.pki.path(f"{issuer}.pem"), "-keyfile",
                self.pki.key(issuer), "-out", path)
        return path

    def test_revocation(self):
        root, root_revokes = self.crl("root", "rootA"), self.crl("root_revokes", "rootA", ["intA"])
        intermediate, leaf_revoked = self.crl("int", "intA"), self.crl("int_revokes", "intA", ["leafA"])
        foreign = self.crl("foreign", "rootB", ["intA"])
        for name, crls, days, trusted in (("nobody revoked", [root, intermediate], 1, True),
                                          ("leaf revoked", [root, leaf_revoked], 1, False),
                                          ("intermediate revoked", [root_revokes, intermediate], 1, False),
                                          ("no CRL of the root", [intermediate], 1, False),
                                          ("no CRL of the intermediate", [root], 1, False),
                                          ("CRL of a same-name root of another key", [foreign, intermediate], 1, False),
                                          ("CRL expired", [root, intermediate], 11, False)):
            with self.subTest(name):
                case = Case(name, ["leafA", "intA"], ["rootA"], trusted, days=days)
                files = self.files(case)
                flags = [word for crl in crls for word in ("--crl", crl)]
                result = self.capstan(*files, *flags)
                self.assertEqual(result.returncode, 0 if trusted else 1, result.stdout + result.stderr)
                flags = [word for crl in crls for word in ("-CRLfile", crl)]
                self.assertEqual(self.openssl(case, *files, "-crl_check_all", *flags)[0], trusted)


def main():
    global CAPSTAN, GO_VERIFY
    if len(sys.argv) < 2:
        sys.exit("usage: verify_test.py CAPSTAN [UNITTEST ARGUMENT...]")
    CAPSTAN = str(pathlib.Path(sys.argv.pop(1)).absolute())
    GO_VERIFY = go_tools.built("go_verify", pathlib.Path(__file__).with_name("go_verify.go"))
    unittest.main()


if __name__ == "__main__":
    main()
