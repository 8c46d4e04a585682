#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong around an API server, and with its clock or capstand's, while two pods call each other: nothing is lost.

    kube_trouble_test.py CAPSTAN CAPSTAND ENVOY CAPSTAN_AGENT SHIFT_CLOCK
"""

import json
import pathlib
import sys
import time

import stock_mesh

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

import kube_capstand  # noqa: E402
from processes import eventually  # noqa: E402
from stock_mesh import Capstand, OurPod, Pod, Repeated  # noqa: E402

AGENT = SHIFT_CLOCK = pathlib.Path()  # set by main
ROLES = ("cacerts", "root-config-maps", "token-reviews")


class KubeTroubleTest(stock_mesh.StockMesh):
    def setUp(self):
        super().setUp()
        self.make_secret("A", self.folder / "A" / "ca" / "root-cert.pem")
        kube_capstand.install(self.cluster, *ROLES)

    def start(self, *settings: str, **options):
        self.capstand = self.add(Capstand(
            self.folder / "c", self.cluster, "secret:istio-system/cacerts", "--root-config-maps", "--log-level=debug",
            f"--kubeconfig={kube_capstand.kubeconfig(self.cluster)}", *settings, **options))  # fmt: skip

    def error(self) -> str:
        """What the status says of the source."""
        return json.loads(self.capstand.capstan("status", "-o", "json")).get("source", {}).get("error", "")

    def signs_on(self):
        """Leaves of 20 s are renewed all the while."""
        before = len(self.capstand.issued("sleep"))
        eventually("another leaf is signed", lambda: len(self.capstand.issued("sleep")) > before, 30)

    def log(self, text: str) -> int:
        return self.capstand.log.read_text().count(text)

    def test_nothing_is_lost(self):
        """Leaves are short, one agent is ours."""
        self.start("--default-ttl=20s")
        self.start_pods(lambda folder, account: (
            OurPod(folder, self.capstand, AGENT, account) if account == "sleep" else
            Pod(folder, self.capstand, account, SECRET_TTL="90s")))  # fmt: skip
        a, b = (self.folder / name / "ca" for name in "AB")
        with Repeated(self.call, 0.1):
            self.cluster.kubectl("delete", "secret", "cacerts", "-n", "istio-system")
            self.assertIn("no CA files", eventually("the status says that the Secret is gone", self.error))
            self.signs_on()
            self.make_secret("A", a / "root-cert.pem", key=b / "ca-key.pem")
            self.assertIn("ca-key.pem", eventually("the status names the file", lambda: (
                "ca-key.pem" in self.error() and self.error())))  # fmt: skip
            self.signs_on()
            self.make_secret("A", a / "root-cert.pem")
            eventually("the status is fine again", lambda: not self.error())

            kube_capstand.uninstall(self.cluster, *ROLES)
            # What is open goes on; what is asked anew is refused.
            self.cluster.stop()
            self.cluster.start()
            eventually("it is said that nothing is followed", lambda: self.log("cannot be followed"))
            self.signs_on()
            kube_capstand.install(self.cluster, *ROLES)
            eventually("it is followed again", lambda: self.log("are followed again") > 1 and not self.error(), 120)

            self.cluster.process.process.kill()
            time.sleep(5)
            self.signs_on()
            self.cluster.start()
            combined = self.folder / "combined-root.pem"
            combined.write_text((a / "root-cert.pem").read_text() + (b / "root-cert.pem").read_text())
            self.make_secret("A", combined)
            for pod in self.pods.values():
                eventually(f"{pod.account} has both roots", lambda pod=pod: pod.roots() == 2)
            eventually("every ConfigMap has both roots", lambda: all(
                item["data"]["root-cert.pem"].count("BEGIN") == 2 for item in self.maps()))  # fmt: skip
        self.check_requests()

    def check_requests(self):
        self.assertGreater(self.asked, 100)
        self.assertEqual(self.failed, 0, f"of {self.asked}")

    def clock(self) -> str:
        """What the gate says of the clocks."""
        holders = self.capstand.rotation().get("gate", {}).get("holders", [])
        return next((holder["why"] for holder in holders if holder["name"] == "clock"), "")

    def test_a_wrong_clock_puts_nobody_at_risk(self):
        """The agents are stock ones, which tell no time: the API server's clock is what shows it."""
        shift = self.folder / "shift"
        shift.write_text("90")
        self.start(variables={"LD_PRELOAD": str(SHIFT_CLOCK), "CAPSTAN_CLOCK_SHIFT": str(shift)})
        self.start_pods(lambda folder, account: Pod(folder, self.capstand, account))
        root = {name: self.folder / name / "ca" / "root-cert.pem" for name in "AB"}
        with Repeated(self.call, 0.05):
            self.check_leaves(root["A"])  # signed by that clock, good by everybody's
            self.capstand.capstan("rotate", "start", "--to", self.folder / "B" / "ca", "--yes")
            said = eventually("the gate says that the clocks disagree", self.clock)
            self.assertRegex(said, r"clock is 1m(29|30|31)s ahead of the API server's clock: mend the clock that is wrong")
            for pod in self.pods.values():
                eventually(f"{pod.account} has both roots", lambda pod=pod: pod.roots() == 2)
            time.sleep(5)  # for longer than a gate soaks
            shift.write_text("-90")
            said = eventually("the gate says that they disagree the other way", lambda: "behind" in self.clock() and self.clock())
            self.assertRegex(said, r"clock is 1m(29|30|31)s behind the API server's clock: mend the clock that is wrong")
            time.sleep(5)
            self.assertEqual(self.capstand.rotation()["phase"], "both-trusted")
            shift.unlink()
            eventually("it goes on by itself", lambda: "finished" in self.capstand.rotation(), 60)
            self.check_leaves(root["B"])
        self.check_requests()

    def maps(self) -> list[dict]:
        return self.cluster.request("GET", "/api/v1/configmaps?fieldSelector=metadata.name%3Distio-ca-root-cert")[1]["items"]


if __name__ == "__main__":
    AGENT, SHIFT_CLOCK = (pathlib.Path(sys.argv.pop(4)).resolve() for _ in range(2))
    stock_mesh.main()
