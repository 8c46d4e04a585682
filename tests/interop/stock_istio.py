# SPDX-License-Identifier: Apache-2.0
"""Stock Istio on one machine: a real istiod and real pilot-agents against a kubelite API server.

What a node would do is done here: istiod's `cacerts` volume and a pod's files are written by this module.
"""

import http.client
import json
import os
import pathlib
import shutil
import sys

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / "kubelite"))

import go_tools  # noqa: E402
import kube  # noqa: E402
from processes import Part, Process, free_port  # noqa: E402

TRUST_DOMAIN = "cluster.local"
CACERTS = ("ca-cert.pem", "ca-key.pem", "cert-chain.pem", "root-cert.pem")


def require():
    """Skips the test where Istio or the API server cannot be had."""
    for name in "kubelite", "istio":
        if reason := go_tools.why_not(name):
            go_tools.skip(reason)


def program(name: str) -> pathlib.Path:
    return go_tools.TOOLS / "istio" / name


def module_file(path: str) -> pathlib.Path:
    """A file of Istio's own sources: the CRDs, the bootstrap template, the makefile of certificates."""
    return pathlib.Path((go_tools.TOOLS / "istio" / "module_dir").read_text().strip(), path)


def environment(folder: pathlib.Path, **variables: str) -> dict[str, str]:
    """Nothing of the machine's own but PATH: Istio's programs read a hundred variables."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), **variables}


def install(cluster: kube.Cluster):
    """What `istioctl install` puts into a cluster before istiod: the CRDs and the namespace."""
    cluster.kubectl("create", "-f", module_file("manifests/charts/base/files/crd-all.gen.yaml"))
    cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    cluster.create_namespace("istio-system")


class Istiod(Part):
    """A real istiod in a folder of its own, with a plug-in CA."""

    def __init__(self, folder: pathlib.Path, cluster: kube.Cluster, cacerts: dict[str, bytes], **variables: str):
        self.folder, self.cluster = folder, cluster
        self.variables = {"POD_NAME": "istiod-1", "POD_NAMESPACE": "istio-system", "CLUSTER_ID": "Kubernetes",
                          "ISTIO_MULTIROOT_MESH": "true", "INJECTION_WEBHOOK_CONFIG_NAME": "",
                          "VALIDATION_WEBHOOK_CONFIG_NAME": "", **variables}  # fmt: skip
        self.port, self.plain_port, self.http_port = free_port(), free_port(), free_port()
        self.log = folder / "istiod.log"
        self.mounted = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.mount_cacerts(cacerts)
        mesh = {"trustDomain": TRUST_DOMAIN, "defaultConfig": {"discoveryAddress": f"localhost:{self.port}"}}
        (folder / "mesh").write_text(json.dumps(mesh))
        self.start()

    def mount_cacerts(self, files: dict[str, bytes]):
        """Writes etc/cacerts as a kubelet does: a new folder, then `..data` leads there at once."""
        volume = self.folder / "etc" / "cacerts"
        self.mounted += 1
        data = volume / f"..{self.mounted}"
        data.mkdir(parents=True)
        for name, content in files.items():
            (data / name).write_bytes(content)
            if not (volume / name).is_symlink():
                (volume / name).symlink_to(pathlib.Path("..data", name))
        before = (volume / "..data").resolve()
        go_tools.replace_link(volume / "..data", pathlib.Path(data.name))
        for link in volume.iterdir():
            if link.is_symlink() and not link.exists():
                link.unlink()
        if self.mounted > 1:
            shutil.rmtree(before)

    def start(self):
        """Returns once it is ready."""
        command = [program("pilot-discovery"), "discovery", f"--kubeconfig={self.cluster.kubeconfig}",
                   "--meshConfig=./mesh", f"--grpcAddr=127.0.0.1:{self.plain_port}",
                   f"--secureGRPCAddr=127.0.0.1:{self.port}", f"--httpAddr=127.0.0.1:{self.http_port}",
                   f"--httpsAddr=127.0.0.1:{free_port()}", f"--monitoringAddr=127.0.0.1:{free_port()}"]
        self.process = Process(command, self.log, cwd=self.folder, env=environment(self.folder, **self.variables))
        self.process.wait_for("istiod is ready", self.ready)

    def ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=5)
        try:
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()


class PilotAgent(Part):
    """A pod of a service account: a real pilot-agent, with a token the API server made.

    With `pod`, the token is bound to the Pod of that name. Without `envoy` the agent starts none and writes its certificate to `certificates` (key.pem,
    cert-chain.pem, root-cert.pem). With it, `envoy` is what the agent starts in Envoy's place, and
    gets certificates from the agent's SDS socket.
    """

    def __init__(self, folder: pathlib.Path, istiod: Istiod, namespace: str, account: str, root: bytes,
                 envoy: pathlib.Path | None = None, pod: str = "", **variables: str):
        self.folder, self.istiod = folder, istiod
        self.namespace, self.account, self.pod = namespace, account, pod
        self.certificates = folder / "certificates"
        self.log = folder / "pilot-agent.log"
        self.write("var/run/secrets/istio/root-cert.pem", root)
        self.renew_token()
        template = module_file("tools/packaging/common/envoy_bootstrap.json")
        self.write("var/lib/istio/envoy/envoy_bootstrap_tmpl.json", template.read_bytes())
        self.write("etc/istio/pod/labels", b"")
        for made in self.certificates, folder / "etc/istio/proxy":
            made.mkdir(parents=True)
        address = f"localhost:{istiod.port}"
        proxy = {"discoveryAddress": address, "configPath": "./etc/istio/proxy", "statusPort": free_port(),
                 "proxyAdminPort": free_port()}
        self.variables = {
            "POD_NAME": f"{account}-1", "POD_NAMESPACE": namespace, "SERVICE_ACCOUNT": account,
            "INSTANCE_IP": "127.0.0.1", "TRUST_DOMAIN": TRUST_DOMAIN, "ISTIO_META_CLUSTER_ID": "Kubernetes",
            "CA_ADDR": address, "PROXY_CONFIG_XDS_AGENT": "true"}  # fmt: skip
        if envoy is None:
            self.variables |= {"DISABLE_ENVOY": "true", "OUTPUT_CERTS": str(self.certificates)}
        else:
            proxy["binaryPath"] = str(envoy)
        self.variables |= {"PROXY_CONFIG": json.dumps(proxy), **variables}
        self.start()

    @property
    def spiffe_id(self) -> str:
        return f"spiffe://{TRUST_DOMAIN}/ns/{self.namespace}/sa/{self.account}"

    def write(self, path: str, content: bytes):
        """Replaces a file of the pod at once."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}.new")
        new.write_bytes(content)
        new.replace(file)

    def renew_token(self):
        token = self.istiod.cluster.token(self.namespace, self.account, pod=self.pod)
        self.write("var/run/secrets/tokens/istio-token", token.encode())

    def start(self):
        command = [program("pilot-agent"), "proxy", "sidecar",
                   "--log_output_level=default:info,cache:debug,citadelclient:debug"]
        self.process = Process(command, self.log, cwd=self.folder, env=environment(self.folder, **self.variables))

    def wait_for_certificate(self, seconds: float = 60) -> pathlib.Path:
        """The chain, once the agent has written one."""
        names = ("key.pem", "cert-chain.pem", "root-cert.pem")
        self.process.wait_for(f"{self.spiffe_id} has a certificate", lambda: all(
            (self.certificates / name).exists() for name in names), seconds)
        return self.certificates / "cert-chain.pem"
