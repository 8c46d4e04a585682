#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A live mesh under a real istiod is taken over by capstand, gets another root, and is handed back.

    takeover_test.py CAPSTAN CAPSTAND ENVOY

All the while istiod stays the agents' discoveryAddress: it gets its roots from the Secret that capstand keeps.
"""

import base64
import json
import pathlib
import signal

import stock_istio
import stock_mesh
from processes import eventually
from stock_mesh import ACCOUNTS, Capstand, Pod, Repeated

SECRET = "/api/v1/namespaces/istio-system/secrets/cacerts"


class TakeoverTest(stock_mesh.StockMesh):
    def set_up_namespaces(self):
        stock_istio.install(self.cluster)
        self.create_accounts()

    def setUp(self):
        super().setUp()
        files = [f"--from-file={self.folder}/A/ca/{name}" for name in stock_istio.CACERTS]
        self.cluster.kubectl("create", "secret", "generic", "cacerts", "-n", "istio-system", *files)
        self.mounted = self.secret()
        self.istiod = self.add(stock_istio.Istiod(self.folder / "istiod", self.cluster, self.mounted))
        self.repeat(self.mount_secret, 0.3)
        self.start_pods(lambda folder, account: Pod(folder, self.istiod, account))

    def secret(self) -> dict[str, bytes]:
        return {name: base64.b64decode(value) for name, value in self.cluster.request("GET", SECRET)[1]["data"].items()}

    def mount_secret(self):
        held = self.secret()
        if held != self.mounted:
            self.mounted = held
            self.istiod.mount_cacerts(held)

    def replace_pods(self, suffix: str, ca=None):
        """As a Deployment does, one after the other: the new pod answers before the old one goes."""
        for account in ACCOUNTS:
            old = self.pods[account]
            new = self.add(Pod(self.folder / f"{account}-{suffix}", self.istiod, account, ca))
            new.call_at(next(pod.inbound for pod in self.pods.values() if pod is not old))
            new.process.wait_for(f"the new {account} answers", new.answers)
            self.pods = {**self.pods, account: new}
            self.connect()
            eventually("nobody calls the old one", lambda old=old: old.idle(), 30, 0.5)
            old.stop()

    def test_taken_over_rotated_and_handed_back(self):
        root = {name: pathlib.Path(self.folder, name, "ca", "root-cert.pem") for name in "AB"}
        with Repeated(self.call, 0.05):
            reloads = self.istiod.log.read_text().count("Update Istiod cacerts")
            capstand = self.add(Capstand(self.folder / "c", self.cluster, "secret:istio-system/cacerts",
                                         f"--istiod=127.0.0.1:{self.istiod.port}"))  # fmt: skip
            eventually("the Secret is in its hands", lambda: "shows what is in force" in capstand.log.read_text())
            self.assertEqual(self.secret(), self.mounted)
            status = json.loads(capstand.capstan("status", "-o", "json"))
            self.assertEqual(status["istiod"], {"address": f"127.0.0.1:{self.istiod.port}", "error": ""})
            self.assertIn("its Secret shows what is in force", capstand.capstan("status"))
            self.replace_pods("ours", capstand)
            eventually("both are told", lambda: capstand.fleet("told") == 2)
            self.assertEqual(self.istiod.log.read_text().count("Update Istiod cacerts"), reloads, "nothing changed")
            self.check_leaves(root["A"])

            signed = capstand.signed()
            stopped = self.pods["sleep"]
            stopped.process.signal(signal.SIGSTOP)
            capstand.capstan("rotate", "start", "--to", self.folder / "B" / "ca", "--yes")
            eventually("istiod brings both roots", lambda: self.pods["httpbin"].roots() == 2)
            eventually("the gate names who sleeps", lambda: any("/sa/sleep#" in name for name in capstand.holders()))
            self.assertEqual(capstand.rotation()["phase"], "both-trusted")
            stopped.process.signal(signal.SIGCONT)
            eventually("the rotation is done", lambda: "finished" in capstand.rotation(), 180, 0.5)
            self.check_leaves(root["B"])
            self.assertLessEqual(capstand.signed() - signed, 3 * len(self.pods))
            self.assertFalse(capstand.rotation().get("exempt"), "nobody was passed over")
            self.assertEqual(self.secret()["ca-cert.pem"], pathlib.Path(self.folder, "B", "ca", "ca-cert.pem").read_bytes())

            self.replace_pods("back")
            capstand.stop()
            self.check_leaves(root["B"])
            asked = self.asked
            eventually("requests go on without capstand", lambda: self.asked > asked + 40)
        self.assertGreater(self.asked, 200)
        self.assertEqual(self.failed, 0, f"of {self.asked}")


if __name__ == "__main__":
    stock_mesh.main()
