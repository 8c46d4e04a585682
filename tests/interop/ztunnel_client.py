# SPDX-License-Identifier: Apache-2.0
"""A client of Istio's certificate service that keeps to ztunnel's rules: its requests, what it takes of an
answer, when it renews, and what it does when that fails.

Its TLS and HTTP/2 are curl's and its keys and certificates openssl's. Time is an argument: a test need not wait.
"""

import dataclasses
import datetime
import pathlib
import random
import re
import shutil
import struct
import subprocess
import urllib.parse

PATH = "/istio.v1.auth.IstioCertificateService/CreateCertificate"
SUITES = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256"  # and TLS 1.3 alone
SECRET_TTL = 86400
BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n?", re.DOTALL)


def why_not() -> str:
    """Why it cannot run here; "": it can."""
    for program in "curl", "openssl":
        if not shutil.which(program):
            return f"{program} is not installed"
    features = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout
    return "" if "HTTP2" in features else "this curl speaks no HTTP/2"


class CaError(Exception):
    """No certificate came of it; `code` is gRPC's, where the server said one."""

    def __init__(self, message: str, code: int | None = None):
        super().__init__(message)
        self.code = code


def openssl(*arguments, stdin: str = "") -> str:
    done = subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CaError(f"openssl {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


# --- the messages, as protobuf writes them ---


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def field(number: int, value: str | bytes) -> bytes:
    octets = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(octets)) + octets


def request(csr: str, seconds: int, identity: str) -> bytes:
    entry = field(1, "ImpersonatedIdentity") + field(2, field(3, identity))
    return field(1, csr) + varint(3 << 3) + varint(seconds) + field(4, field(1, entry))


def cert_chain(message: bytes) -> list[str]:
    elements, at = [], 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            octet = message[at]
            at, value, shift = at + 1, value | (octet & 0x7F) << shift, shift + 7
            if octet < 0x80:
                return value

    while at < len(message):
        if number() != 1 << 3 | 2:
            raise CaError("the answer has another field than cert_chain")
        length = number()
        elements.append(message[at:at + length].decode())
        at += length
    return elements


# --- a certificate ---


def moment(text: str) -> float:
    return datetime.datetime.strptime(text.strip(), "%b %d %H:%M:%S %Y GMT").replace(
        tzinfo=datetime.timezone.utc).timestamp()


@dataclasses.dataclass
class Certificate:
    leaf: str
    chain: list[str]
    roots: list[str]
    key: str
    serial: str
    not_before: float
    not_after: float

    @property
    def renew_at(self) -> float:
        return self.not_before + (self.not_after - self.not_before) / 2


def take(elements: list[str], identity: str, key: str) -> Certificate:
    """Element 0 is the leaf, the last one all roots; of each between them the first block counts."""
    if not elements:
        raise CaError("EmptyResponse")
    if len(elements) < 2:
        raise CaError("no root certificate present")
    first = [(BLOCK.search(element) or [""])[0] for element in elements[:-1]]
    roots = BLOCK.findall(elements[-1])
    if not all(first) or not roots:
        raise CaError("an element holds no certificate")
    text = openssl("x509", "-noout", "-serial", "-startdate", "-enddate", "-ext", "subjectAltName", stdin=first[0])
    names = re.findall(r"URI:([^,\s]+)", text)
    if names[:1] != [identity]:
        raise CaError(f"SanError: asked for {identity}, got {names}")
    if openssl("x509", "-noout", "-pubkey", stdin=first[0]) != openssl("pkey", "-pubout", stdin=key):
        raise CaError("the leaf is of another key")
    dates = dict(re.findall(r"(notBefore|notAfter)=(.*)", text))
    return Certificate(first[0], first[1:], roots, key, re.findall("serial=(.*)", text)[0],
                       moment(dates["notBefore"]), moment(dates["notAfter"]))


@dataclasses.dataclass
class Held:
    certificate: Certificate | None = None
    failures: int = 0
    next_at: float = 0  # when it is asked for (again)
    error: str = ""


class Ztunnel:
    """One of a node, in shared mode: certificates for the identities of the pods there."""

    def __init__(self, folder: pathlib.Path, address: str, token: pathlib.Path, roots: pathlib.Path, ttl: int = SECRET_TTL):
        folder.mkdir(parents=True)
        self.folder, self.address, self.token, self.roots, self.ttl = folder, address, token, roots, ttl
        self.held: dict[str, Held] = {}
        self.jitter = random.Random(1)

    def want(self, identity: str):
        self.held.setdefault(identity, Held())

    def tick(self, now: float):
        """Asks for whatever is due at `now`. A certificate that is valid stays until there is a newer one."""
        for identity, held in self.held.items():
            if now < held.next_at:
                continue
            try:
                held.certificate = self.fetch(identity)
                held.failures, held.error, held.next_at = 0, "", held.certificate.renew_at
            except CaError as error:
                held.failures, held.error = held.failures + 1, str(error)
                held.next_at = now + min(2 ** (held.failures - 1), 150) * self.jitter.uniform(0.8, 1.2)

    def fetch(self, identity: str) -> Certificate:
        token = self.token.read_bytes()  # read anew, and not trimmed
        if any(octet < 0x20 or octet == 0x7F for octet in token):
            raise CaError("failed to parse header value")
        key = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        (self.folder / "key.pem").write_text(key)
        csr = openssl("req", "-new", "-key", self.folder / "key.pem", "-sha256", "-subj", "/",
                      "-addext", f"subjectAltName=critical,URI:{identity}")
        message = self.call(request(csr, self.ttl, identity), token.decode())
        return take(cert_chain(message), identity, key)

    def call(self, message: bytes, token: str) -> bytes:
        files = {name: self.folder / name for name in ("request", "headers", "body", "config")}
        for name in "headers", "body":
            files[name].unlink(missing_ok=True)
        files["request"].write_bytes(b"\0" + struct.pack(">I", len(message)) + message)
        files["config"].write_text(f'header = "authorization: Bearer {token}"\n')  # not for the list of processes
        done = subprocess.run(
            ["curl", "--silent", "--show-error", "--config", files["config"], "--http2", "--tlsv1.3",
             "--tls13-ciphers", SUITES, "--cacert", self.roots, "--connect-timeout", "5", "--max-time", "30",
             "--noproxy", "*", "--header", "content-type: application/grpc", "--header", "te: trailers",
             "--header", "clusterid: Kubernetes", "--data-binary", f"@{files['request']}", "--dump-header",
             files["headers"], "--output", files["body"], "--write-out", "%{http_version}",
             f"https://{self.address}{PATH}"], capture_output=True, text=True, check=False)  # fmt: skip
        if done.returncode != 0:
            raise CaError(done.stderr.strip())
        said = dict(line.split(": ", 1) for line in files["headers"].read_text().splitlines() if ": " in line)
        if done.stdout != "2":
            raise CaError(f"HTTP/{done.stdout} is not h2")
        if said.get("grpc-status") != "0":
            message = urllib.parse.unquote(said.get("grpc-message", "no grpc-status"))
            raise CaError(message, int(said.get("grpc-status", 2)))
        body = files["body"].read_bytes()
        compressed, length = struct.unpack(">BI", body[:5])
        if compressed or len(body) != 5 + length:
            raise CaError("the answer is not one message")
        return body[5:]
