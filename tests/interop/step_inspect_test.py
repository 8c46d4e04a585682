#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`capstan inspect --short` prints what `step certificate inspect --short` v0.30.6 prints.

    step_inspect_test.py CAPSTAN

Makes certificates, requests and broken files with openssl and compares standard output, standard error
and exit code of the two programs, byte for byte, for each as a file and on standard input.
"""

import base64
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import go_tools

STEP_PACKAGE = "github.com/smallstep/cli/cmd/step@v0.30.6"

CAPSTAN = STEP = ""  # set by main
PROVISIONER_OID = "1.3.6.1.4.1.37476.9000.64.1"

EC = ("ec", "-pkeyopt", "ec_paramgen_curve:P-256")
KEYS = {
    "rsa2048": ("rsa:2048",),
    "rsa2049": ("rsa:2049",),
    "rsa1024": ("rsa:1024",),
    "rsa1016": ("rsa:1016",),
    "rsa512": ("rsa:512",),
    "rsa_pss": ("rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"),
    "rsa4096": ("rsa:4096",),
    "p224": ("ec", "-pkeyopt", "ec_paramgen_curve:P-224"),
    "p256": EC,
    "p384": ("ec", "-pkeyopt", "ec_paramgen_curve:P-384"),
    "p521": ("ec", "-pkeyopt", "ec_paramgen_curve:P-521"),
    "secp256k1": ("ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"),
    "brainpool": ("ec", "-pkeyopt", "ec_paramgen_curve:brainpoolP256r1"),
    "ed25519": ("ed25519",),
    "ed448": ("ed448",),
}

SPIFFE = "URI:spiffe://cluster.local/ns/httpbin/sa/httpbin"
SANS = {
    "spiffe": SPIFFE,
    "dns": "DNS:a.example,DNS:*.b.example",
    "ipv4": "IP:127.0.0.1,IP:255.255.255.255,IP:0.0.0.0",
    "ipv6": "IP:::1,IP:::,IP:2001:db8::1,IP:2001:db8:0:0:1:0:0:1,IP:::ffff:10.0.0.1,IP:fe80:0:0:1::,"
            "IP:1:2:3:4:5:6:7:8,IP:1:0:3:4:5:6:7:8,IP:0:0:1::",
    "email": "email:someone@example.com",
    "all_kinds_shuffled": f"email:z@example.com,{SPIFFE},IP:10.1.2.3,DNS:z.example,DNS:a.example,URI:https://x/",
    "uris": "URI:spiffe://td/a%2Fb,URI:HTTPS://Example.COM/Path?q=1#f,URI:urn:Example:a,URI:http://h/#,"
            "URI:http://h/a!b'(c)*[d],URI:http://h?,URI:http://h/a|b^c,URI:http://h/x#a^b,URI:http://h,"
            "URI:/relative/path,URI:http:///p,URI:file:/p",
    "other_name": "otherName:1.2.3.4;UTF8:hidden,DNS:shown.example",
    "same_as_cn": "DNS:the.name,DNS:other.name",
    "twice": "DNS:twice.example,DNS:twice.example",
}

SUBJECTS = {
    "cn": "/O=Istio/CN=Root CA",
    "no_cn": "/O=Istio/OU=Mesh",
    "empty": "/",
    "two_cns": "/CN=first/O=Istio/CN=last",
    "utf8": "/CN=Zertifikat für Köln ✓",
    "email_in_dn": "/CN=x/emailAddress=a@b.example",
    "slash": "/CN=with, comma + plus = \"quotes\" \\\\ backslash",
    "long": "/CN=" + "x" * 64,
}


def openssl(*arguments, **options):
    result = subprocess.run(["openssl", *arguments], capture_output=True, check=False, **options)
    if result.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(map(str, arguments))}: {result.stderr.decode()}")
    return result.stdout


def provisioner(name, credential):
    """The extension in which step-ca names its provisioner: SEQUENCE {1, OCTET STRING, OCTET STRING}."""
    fields = b"\x02\x01\x01"
    for value in name.encode(), credential.encode():
        fields += b"\x04" + bytes([len(value)]) + value
    der = b"\x30" + bytes([len(fields)]) + fields
    return f"{PROVISIONER_OID}=DER:{der.hex()}\n"


class Inputs:
    """The files to compare, by name."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.files: list[pathlib.Path] = []

    def write(self, name: str, data: bytes) -> bytes:
        path = self.folder / name
        path.write_bytes(data)
        self.files.append(path)
        return data

    def self_signed(self, name, key=EC, subject="/CN=x", extensions=(), arguments=()) -> bytes:
        extra = [word for extension in extensions for word in ("-addext", extension)]
        pem = openssl("req", "-x509", "-newkey", *key, "-nodes", "-keyout", self.folder / f"{name}.key", "-utf8",
                      "-days", "365", "-subj", subject, *extra, *arguments)
        return self.write(name, pem)

    def request(self, name, key=EC, subject="/CN=x", extensions=()) -> bytes:
        extra = [word for extension in extensions for word in ("-addext", extension)]
        pem = openssl("req", "-new", "-newkey", *key, "-nodes", "-keyout", self.folder / f"{name}.key", "-utf8",
                      "-subj", subject, *extra)
        return self.write(name, pem)

    def signed(self, name, issuer, subject="/CN=leaf", extensions="basicConstraints=CA:false\n", arguments=()):
        self.request(f"{name}.csr", subject=subject)
        (self.folder / f"{name}.csr.key").rename(self.folder / f"{name}.key")
        extension_file = self.folder / f"{name}.ext"
        extension_file.write_text(extensions)
        pem = openssl("x509", "-req", "-in", self.folder / f"{name}.csr", "-CA", self.folder / issuer, "-CAkey",
                      self.folder / f"{issuer}.key", "-days", "30", "-extfile", extension_file, *arguments)
        return self.write(name, pem)

    def make(self):
        self.make_certificates()
        self.make_requests()
        self.make_files()
        self.make_broken()
        self.add_golden_files()

    def make_certificates(self):
        for name, key in KEYS.items():
            self.self_signed(f"root_{name}", key=key)
        for name, subject in SUBJECTS.items():
            self.self_signed(f"subject_{name}", subject=subject)
        for name, sans in SANS.items():
            self.self_signed(f"san_{name}", subject="/CN=the.name" if name == "same_as_cn" else "/",
                             extensions=[f"subjectAltName={sans}", "basicConstraints=CA:false"])
        for serial in "0", "1", "99999999", "100000000", "999999999", "0x7fffffffffffffffffffffffffffffffffffffff":
            self.self_signed(f"serial_{serial}", arguments=("-set_serial", serial))
        self.self_signed("root_sha1", arguments=("-sha1",))
        self.self_signed("root_sha512", key=KEYS["rsa2048"], arguments=("-sha512",))
        self.self_signed("root_pss", key=KEYS["rsa2048"],
                         arguments=("-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:-1"))
        self.self_signed("root_without_cert_sign", extensions=["keyUsage=digitalSignature"])
        self.self_signed("root_with_cert_sign", extensions=["keyUsage=critical,keyCertSign,cRLSign"])
        self.self_signed("self_signed_leaf", extensions=["basicConstraints=CA:false"])
        self.signed("intermediate", "subject_cn", "/O=Istio/CN=Intermediate CA",
                    "basicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,keyCertSign\n")
        self.signed("leaf", "intermediate", "/", f"subjectAltName=critical,{SPIFFE}\n")
        self.signed("issuer_without_cn", "subject_no_cn")
        self.signed("issuer_with_two_cns", "subject_two_cns")
        self.signed("version_1", "subject_cn", extensions="")
        self.signed("past", "subject_cn", arguments=("-days", "-1"))
        self.signed("far_future", "subject_cn", arguments=("-days", "40000"))
        self.signed("provisioner", "subject_cn", extensions=provisioner("admin@example.com", "4UELJx8e0aS9m0CH3fZ0EB7D5aUPICb759zALHFejvc"))
        self.signed("provisioner_no_id", "subject_cn", extensions=provisioner("admin", ""))
        self.signed("provisioner_short_id", "subject_cn", extensions=provisioner("a", "12345678"))
        self.signed("provisioner_broken", "subject_cn", extensions=f"{PROVISIONER_OID}=DER:0102\n")
        self.make_dsa()

    def make_dsa(self):
        parameters = self.folder / "dsa.params"
        openssl("dsaparam", "-out", parameters, "1024")
        openssl("gendsa", "-out", self.folder / "dsa.key", parameters)
        self.write("root_dsa", openssl("req", "-x509", "-key", self.folder / "dsa.key", "-subj", "/CN=dsa"))

    def make_requests(self):
        for name, key in KEYS.items():
            self.request(f"csr_{name}", key=key)
        for name, subject in SUBJECTS.items():
            self.request(f"csr_subject_{name}", subject=subject)
        for name, sans in SANS.items():
            self.request(f"csr_san_{name}", subject="/", extensions=[f"subjectAltName={sans}"])
        pem = (self.folder / "csr_p256").read_bytes()
        self.write("csr_der", openssl("req", "-outform", "DER", input=pem))
        self.write("csr_new_label", pem.replace(b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST"))
        der = bytearray(openssl("req", "-outform", "DER", input=pem))
        der[-1] ^= 1
        self.write("csr_bad_signature", bytes(der))

    def make_files(self):
        leaf, intermediate, root = [(self.folder / name).read_bytes() for name in ("leaf", "intermediate", "subject_cn")]
        key = (self.folder / "leaf.key").read_bytes()
        request = (self.folder / "csr_p256").read_bytes()
        one_line = leaf.replace(b"-----BEGIN CERTIFICATE-----\n", b"").replace(b"-----END CERTIFICATE-----\n", b"")
        trusted = openssl("x509", "-trustout", "-addtrust", "serverAuth", input=leaf)
        text = openssl("x509", "-text", input=leaf)
        self.write("chain", leaf + intermediate + root)
        self.write("bundle_with_duplicates", root + intermediate + root + root)
        self.write("der", openssl("x509", "-outform", "DER", input=leaf))
        self.write("der_with_tail", openssl("x509", "-outform", "DER", input=leaf) + b"x")
        self.write("byte_order_mark", b"\xef\xbb\xbf" + leaf)
        self.write("crlf", (leaf + root).replace(b"\n", b"\r\n"))
        self.write("no_last_newline", leaf.rstrip())
        self.write("trailing_blanks", leaf.replace(b"-----\n", b"----- \t\n"))
        self.write("key_first", key + leaf)
        self.write("key_last", leaf + key)
        self.write("key_alone", key)
        self.write("trusted", trusted)
        self.write("trusted_then_plain", trusted + root)
        self.write("text_around", b"subject: someone\n" + text + b"\nthe end\n")
        self.write("certificate_and_request", request + leaf)
        self.write("one_long_line", b"-----BEGIN CERTIFICATE-----\n" + one_line.replace(b"\n", b"") +
                   b"\n-----END CERTIFICATE-----\n")
        self.write("indented_base64", leaf.replace(b"\n", b"\n  ").replace(b"\n  -----", b"\n-----"))
        self.write("headers_in_block", leaf.replace(b"CERTIFICATE-----\n", b"CERTIFICATE-----\nA: b\n\n", 1) + root)
        self.write("headers_alone", leaf.replace(b"CERTIFICATE-----\n", b"CERTIFICATE-----\nA: b\n\n", 1))
        self.write("empty_block", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n" + root)

    def add_golden_files(self):
        """The inspector's own test data, from its Go module: ML-DSA and requests of other tools among it."""
        module = go_tools.module_folder("github.com/smallstep/certinfo@v1.16.0")
        for path in sorted((module / "test_certs").glob("*")):
            if path.suffix in (".crt", ".csr", ".pem"):
                self.files.append(path)

    def make_broken(self):
        leaf, root = (self.folder / "leaf").read_bytes(), (self.folder / "subject_cn").read_bytes()
        garbage = b"-----BEGIN CERTIFICATE-----\n" + base64.b64encode(b"not DER") + b"\n-----END CERTIFICATE-----\n"
        self.write("empty", b"")
        self.write("newline", b"\n")
        self.write("garbage_text", b"this is no certificate\n")
        self.write("garbage_bytes", bytes(range(256)))
        self.write("garbage_in_block", garbage)
        self.write("good_then_garbage", leaf + garbage)
        self.write("garbage_then_good", garbage + leaf)
        self.write("not_base64_then_good", leaf.replace(b"M", b"*", 1) + root)
        self.write("not_base64", leaf.replace(b"M", b"*"))
        self.write("torn", leaf[:len(leaf) // 2])
        self.write("torn_then_good", leaf[:len(leaf) // 2] + b"\n" + root)
        self.write("torn_end", leaf.replace(b"-----END", b"----END") + root)
        self.write("other_end", leaf.replace(b"END CERTIFICATE", b"END PRIVATE KEY") + root)
        self.write("begin_in_mid_line", b"x" + leaf + root)
        self.write("begin_alone", b"-----BEGIN")
        self.write("begin_twice", b"-----BEGIN CERTIFICATE-----\n" + leaf)
        self.write("bad_request", b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n")
        self.write("crl_block", b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
        self.write("asn1_null", b"\x05\x00")


def run(program, *arguments, stdin=b""):
    result = subprocess.run([program, *arguments], input=stdin, capture_output=True, timeout=60, check=False,
                            env={**os.environ, "STEPPATH": tempfile.gettempdir()})
    return result.returncode, result.stdout, result.stderr


def step(*arguments, stdin=b""):
    return run(STEP, "certificate", "inspect", "--short", *arguments, stdin=stdin)


def capstan(*arguments, stdin=b""):
    return run(CAPSTAN, "inspect", "--short", *arguments, stdin=stdin)


class StepInspect(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        cls.inputs = Inputs(pathlib.Path(cls.temporary.name))
        cls.inputs.make()

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def assert_same(self, *arguments, stdin=b""):
        self.assertEqual(capstan(*arguments, stdin=stdin), step(*arguments, stdin=stdin))

    def test_version(self):
        module = subprocess.run([go_tools.find_go(), "version", "-m", STEP], capture_output=True, text=True, check=True)
        self.assertRegex(module.stdout, r"github.com/smallstep/cli\s+v0\.30\.6")

    def test_files(self):
        for path in self.inputs.files:
            for flags in ([], ["--bundle"]):
                with self.subTest(file=path.name, flags=flags):
                    self.assert_same(*flags, str(path))

    def test_most_inputs_show_something(self):
        shown = [path.name for path in self.inputs.files if capstan(str(path))[1].startswith(b"X.509v3 ")]
        self.assertGreater(len(shown), 90)
        self.assertGreater(len(self.inputs.files), len(shown) + 15)

    def test_standard_input(self):
        for name in "leaf", "chain", "der", "crlf", "csr_p256", "empty", "garbage_bytes", "good_then_garbage":
            data = (self.inputs.folder / name).read_bytes()
            for arguments in ([], ["-"], ["--bundle", "-"]):
                with self.subTest(file=name, arguments=arguments):
                    self.assert_same(*arguments, stdin=data)

    def test_flags_after_the_file(self):
        path = str(self.inputs.folder / "chain")
        self.assertEqual(run(CAPSTAN, "inspect", path, "--short", "--bundle"),
                         run(STEP, "certificate", "inspect", path, "--short", "--bundle"))

    def test_files_that_cannot_be_read(self):
        self.assert_same(str(self.inputs.folder / "missing"))
        self.assert_same(str(self.inputs.folder / "missing" / "folder"))
        self.assert_same(str(self.inputs.folder))


def main():
    global CAPSTAN, STEP
    if len(sys.argv) < 2:
        sys.exit("usage: step_inspect_test.py CAPSTAN [UNITTEST ARGUMENT...]")
    CAPSTAN = str(pathlib.Path(sys.argv.pop(1)).absolute())
    STEP = str(go_tools.installed("step", STEP_PACKAGE))
    unittest.main()


if __name__ == "__main__":
    main()
