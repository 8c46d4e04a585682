#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the admin answers of a real Envoy that this folder holds.

    build/tools/venv/bin/python src/envoy/testdata/capture.py build/tools/envoy

Starts Envoy with certificates made by openssl, secrets over SDS from files, one secret that never
arrives, the SPIFFE validator, and a stats access logger that counts istio_requests_total; sends some
requests over mutual TLS (accepted and refused ones) and saves config dump and stats as they are.
Nothing in them is secret: Envoy redacts private keys, and the keys are gone with the temporary folder.
"""

import base64
import json
import pathlib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."


def run(*command, **options):
    subprocess.run(command, check=True, capture_output=True, **options)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_certificates(work):
    for name in "A", "B":
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-days", "3650", "-subj", "/O=Istio/CN=Root CA", "-keyout", f"root{name}.key", "-out",
            f"root{name}.pem", "-addext", "keyUsage=critical,keyCertSign", cwd=work)
    run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
        "/O=Istio/CN=Intermediate CA", "-keyout", "int.key", "-out", "int.csr", cwd=work)
    (work / "int.ext").write_text("basicConstraints=critical,CA:true,pathlen:0\nkeyUsage=critical,keyCertSign\n"
                                  "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n")
    run("openssl", "x509", "-req", "-in", "int.csr", "-CA", "rootA.pem", "-CAkey", "rootA.key", "-days", "1825",
        "-extfile", "int.ext", "-out", "int.pem", cwd=work)
    for name in "httpbin", "sleep":
        run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/",
            "-keyout", f"{name}.key", "-out", f"{name}.csr", cwd=work)
        (work / f"{name}.ext").write_text(
            f"subjectAltName=critical,URI:spiffe://cluster.local/ns/{name}/sa/{name}\n"
            "basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\n"
            "extendedKeyUsage=serverAuth,clientAuth\nauthorityKeyIdentifier=keyid\n")
        run("openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", "int.pem", "-CAkey", "int.key", "-days", "365",
            "-extfile", f"{name}.ext", "-out", f"{name}.leaf.pem", cwd=work)
        chain = (work / f"{name}.leaf.pem").read_text() + (work / "int.pem").read_text()
        (work / f"{name}.pem").write_text(chain)


def inline(path):
    return {"inline_bytes": base64.b64encode(path.read_bytes()).decode()}


def write_secret(work, name, body):
    document = {"resources": [{"@type": SECRET, "name": name, **body}], "version_info": "1"}
    (work / f"{name}.sds.json").write_text(json.dumps(document))


def write_secrets(work):
    roots = base64.b64encode((work / "rootA.pem").read_bytes() + (work / "rootB.pem").read_bytes()).decode()
    write_secret(work, "default", {"tls_certificate": {
        "certificate_chain": inline(work / "httpbin.pem"), "private_key": inline(work / "httpbin.key")}})
    write_secret(work, "ROOTCA", {"validation_context": {"trusted_ca": {"inline_bytes": roots}}})
    write_secret(work, "federated", {"validation_context": {"custom_validator_config": {
        "name": "envoy.tls.cert_validator.spiffe",
        "typed_config": {"@type": TLS + "SPIFFECertValidatorConfig", "trust_domains": [
            {"name": "cluster.local", "trust_bundle": inline(work / "rootA.pem")},
            {"name": "partner.example", "trust_bundle": inline(work / "rootB.pem")}]}}}})


def sds(work, name):
    return {"name": name, "sds_config": {"path_config_source": {"path": str(work / f"{name}.sds.json")},
                                         "resource_api_version": "V3", "initial_fetch_timeout": "0s"}}


def listener(work, name, port, validation, certificate="default"):
    log_tags = {"reporter": "destination", "source_principal": "%DOWNSTREAM_PEER_URI_SAN%",
                "destination_principal": "%DOWNSTREAM_LOCAL_URI_SAN%", "response_code": "%RESPONSE_CODE%",
                "connection_security_policy": "mutual_tls"}
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}],
        "access_log": [{"name": "envoy.access_loggers.stats", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config",
            "stat_prefix": "istiocustom",
            "counters": [{"stat": {"name": "istio_requests_total", "tags": [
                {"name": key, "value_format": value} for key, value in log_tags.items()]},
                "value_fixed": 1}]}}]}
    context = {"@type": TLS + "DownstreamTlsContext", "require_client_certificate": True, "common_tls_context": {
        "tls_certificate_sds_secret_configs": [certificate if isinstance(certificate, dict) else sds(work, certificate)],
        "validation_context_sds_secret_config": validation}}
    return {"name": name, "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
                               "filters": [{"name": "envoy.filters.network.http_connection_manager",
                                            "typed_config": manager}]}]}


def bootstrap(work, admin, port):
    # A finite timeout, or Envoy would open no port at all while this secret is missing.
    never = {"name": "never-arrives", "sds_config": {
        "resource_api_version": "V3", "initial_fetch_timeout": "1s",
        "api_config_source": {"api_type": "GRPC", "transport_api_version": "V3",
                              "grpc_services": [{"envoy_grpc": {"cluster_name": "sds"}}]}}}
    return {
        "node": {"id": "sidecar~127.0.0.1~httpbin.httpbin~cluster.local", "cluster": "httpbin"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
        "static_resources": {
            "listeners": [listener(work, "inbound", port, sds(work, "ROOTCA")),
                          listener(work, "federated", free_port(), sds(work, "federated")),
                          listener(work, "waiting", free_port(), sds(work, "ROOTCA"), never)],
            "secrets": [{"name": "fixed-root", "validation_context": {"trusted_ca": inline(work / "rootB.pem")}}],
            "clusters": [{"name": "sds", "type": "STATIC", "connect_timeout": "1s",
                          "typed_extension_protocol_options": {
                              "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                                  "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                                  "explicit_http_config": {"http2_protocol_options": {}}}},
                          "load_assignment": {"cluster_name": "sds", "endpoints": [{"lb_endpoints": [{"endpoint": {
                              "address": {"pipe": {"path": str(work / "nobody.sock")}}}}]}]}}]}}


def get(admin, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}{path}", timeout=5) as answer:
        return answer.read().decode()


def full_dump(admin, folder):
    """All of the dump but the list of Envoy's own extensions, which is long and says nothing here."""
    dump = json.loads(get(admin, "/config_dump").replace(folder, "/etc/envoy"))
    dump["configs"][0]["bootstrap"]["node"].pop("extensions")
    return json.dumps(dump, indent=1) + "\n"


def wait_until_serving(port):
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("Envoy opened no port within 10 seconds")


def request(work, port, with_certificate):
    context = ssl.create_default_context(cafile=work / "rootA.pem")
    context.check_hostname = False
    if with_certificate:
        context.load_cert_chain(work / "sleep.pem", work / "sleep.key")
    try:
        with context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=5)) as stream:
            stream.sendall(b"GET / HTTP/1.1\r\nHost: httpbin\r\nConnection: close\r\n\r\n")
            return stream.recv(4096).split(b"\r\n")[0].decode()
    except ssl.SSLError as refused:
        return str(refused)


def main():
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        make_certificates(work)
        write_secrets(work)
        admin, port = free_port(), free_port()
        (work / "envoy.json").write_text(json.dumps(bootstrap(work, admin, port)))
        with open(work / "envoy.log", "w", encoding="utf-8") as log:
            envoy = subprocess.Popen([sys.argv[1], "-c", work / "envoy.json", "--concurrency", "1", "--use-dynamic-base-id"],
                                     stderr=log)
        try:
            wait_until_serving(port)
            answers = [request(work, port, True) for _ in range(7)] + [request(work, port, False) for _ in range(2)]
            print(answers)
            time.sleep(0.5)
            masked = "/config_dump?mask=static_secrets,dynamic_active_secrets,dynamic_warming_secrets"
            (HERE / "config_dump.json").write_text(get(admin, masked))
            (HERE / "config_dump_full.json").write_text(full_dump(admin, folder))
            only = "filter=" + urllib.parse.quote(r"(ssl\.|istio_requests_total|server\.live|version_text)")
            (HERE / "stats.json").write_text(get(admin, "/stats?format=json&" + only))
            (HERE / "stats.prometheus").write_text(get(admin, "/stats/prometheus?" + only))
            (HERE / "stats.txt").write_text(get(admin, "/stats?" + only))
        except BaseException:
            print((work / "envoy.log").read_text()[-3000:], file=sys.stderr)
            raise
        finally:
            envoy.terminate()
            envoy.wait(10)


if __name__ == "__main__":
    main()
