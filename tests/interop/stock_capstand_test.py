#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stock pilot-agents with capstand in istiod's place: certificates, roots over ADS, rotations by hand and gated.

    stock_capstand_test.py CAPSTAN CAPSTAND ENVOY CAPSTAN_AGENT
"""

import os
import pathlib
import signal
import sys
import time

import stock_mesh
from processes import eventually
from stock_mesh import Capstand, OurPod, Pod, Repeated, run

AGENT = pathlib.Path()  # set by main
MORE = ("details", "productpage", "ratings", "reviews")  # stock pods beside the two
BUDGET = 2  # certificates a second
BURST = 2  # of them at once


class StockCapstandTest(stock_mesh.StockMesh):
    def start(self, cacerts, make=None, *settings, more=()):
        self.capstand = self.add(Capstand(self.folder / "c", self.cluster, cacerts, "--root-config-maps",
                                          "--log-level=debug", *settings))  # fmt: skip
        self.start_pods(make or (lambda folder, account: Pod(folder, self.capstand, account)), more)

    def rotate(self, *flags: str):
        self.capstand.capstan("rotate", "start", "--to", self.folder / "B" / "ca", "--yes", *flags)

    def wait_for_the_end(self):
        eventually("the rotation is done", lambda: "finished" in self.capstand.rotation(), 120, 0.5)
        self.check_leaves(self.folder / "B" / "ca" / "root-cert.pem")

    def check_requests(self):
        self.assertGreater(self.asked, 100)
        self.assertEqual(self.failed, 0, f"of {self.asked}")

    def test_a_rotation_waits_for_a_stopped_agent_and_nothing_fails(self):
        self.start(self.folder / "A" / "ca")
        for pod in self.pods.values():
            self.assertEqual(pod.roots(), 1)
        eventually("both are acknowledged", lambda: self.capstand.fleet("agent-acknowledged") == 2)
        self.assertIn("agent-acknowledged", self.capstand.capstan("fleet", "list"))
        signed = self.capstand.signed()
        with Repeated(self.call, 0.05):
            stopped = self.pods["sleep"]
            stopped.process.signal(signal.SIGSTOP)
            self.rotate()
            eventually("the one that runs has both roots", lambda: self.pods["httpbin"].roots() == 2)
            holders = eventually("the gate names who sleeps", lambda: [
                name for name in self.capstand.holders() if "/sa/sleep#" in name])  # fmt: skip
            self.assertEqual(self.capstand.rotation()["phase"], "both-trusted", holders)
            stopped.process.signal(signal.SIGCONT)
            self.wait_for_the_end()
        # By its nature such an agent asks anew whenever the bytes of its roots change: three times.
        self.assertLessEqual(self.capstand.signed() - signed, 3 * len(self.pods))
        self.check_requests()

    def test_an_envoy_that_is_read_holds_what_its_agent_would_let_pass(self):
        self.start(self.folder / "A" / "ca", lambda folder, account: Pod(folder, self.capstand, account, read=True),
                   "--read-stock-envoys")  # fmt: skip
        eventually("both are acknowledged by what their Envoys hold", lambda: self.capstand.fleet("acknowledged") == 2)
        envoy = self.pods["httpbin"].envoy_pid()
        os.kill(envoy, signal.SIGSTOP)
        self.rotate()
        eventually("the gate waits for that Envoy alone", lambda: (
            "Envoy app/httpbin-1 has not acknowledged the bundle" in self.capstand.capstan("rotate", "explain", codes=range(100))
            and all("/sa/httpbin#" in name for name in self.capstand.holders())))  # fmt: skip
        self.assertEqual(self.capstand.rotation()["phase"], "both-trusted")
        self.assertIn("cannot be read", self.capstand.log.read_text())
        os.kill(envoy, signal.SIGCONT)
        eventually("it answers again", self.pods["httpbin"].answers)
        with Repeated(self.call, 0.05):
            self.wait_for_the_end()
        self.assertRegex(self.capstand.log.read_text(), r'\tprobed\t.*verdict=ACCEPTED')
        self.check_requests()

    def test_slowly(self):
        """Roots come with the answers: nothing but the new issuer makes an agent ask."""
        self.start(self.folder / "A" / "ca", lambda folder, account: (
            Pod(folder, self.capstand, account, SECRET_TTL="60s")), "--stock-agents=slow")
        eventually("both are told", lambda: self.capstand.fleet("told") == 2)
        with Repeated(self.call, 0.05):
            self.rotate()
            self.wait_for_the_end()
        self.check_requests()

    def signed_by(self, pod, root: pathlib.Path) -> bool:
        chain = self.folder / "held.pem"
        chain.write_text(pod.held()["default"])
        return "not trusted" not in run(stock_mesh.CAPSTAN, "verify", chain, "--roots", root, codes=range(100))

    def test_the_four_phases_by_hand(self):
        root = {ca: self.folder / ca / "ca" / "root-cert.pem" for ca in "AB"}
        texts = {ca: path.read_text() for ca, path in root.items()}
        combined, twice = self.folder / "combined-root.pem", self.folder / "combined-root2.pem"
        combined.write_text(texts["A"] + texts["B"])
        twice.write_text(texts["A"] + texts["B"] + texts["B"])
        self.make_secret("A", root["A"])
        self.start("secret:istio-system/cacerts")
        began = {pod.account: (pod.process.pid, pod.envoy_pid()) for pod in self.pods.values()}
        with Repeated(self.call, 0.05):
            for ca, bundle, roots in ("A", combined, 2), ("B", twice, 2), ("B", root["B"], 1):
                self.make_secret(ca, bundle)
                for pod in self.pods.values():
                    eventually(f"{pod.account} has {roots} roots and a leaf of {ca}", lambda pod=pod, ca=ca, roots=roots: (
                        pod.roots() == roots and self.signed_by(pod, root[ca])))  # fmt: skip
            self.check_leaves(root["B"])
        self.assertEqual(began, {pod.account: (pod.process.pid, pod.envoy_pid()) for pod in self.pods.values()})
        self.check_requests()

    def test_a_mesh_of_both_kinds(self):
        """One Envoy behind a capstan-agent, five behind pilot-agents, rotated together at a small budget."""
        self.start(self.folder / "A" / "ca", lambda folder, account: (
            OurPod(folder, self.capstand, AGENT, account) if account == "sleep" else Pod(folder, self.capstand, account)),
            f"--issue-per-second={BUDGET}", more=MORE)  # fmt: skip
        stock = [account for account in self.pods if account != "sleep"]
        eventually("the stock ones are acknowledged", lambda: self.capstand.fleet("agent-acknowledged") == len(stock))
        eventually("ours is acknowledged", lambda: self.capstand.fleet("acknowledged") == 1)
        self.wait_until_nobody_asks()
        before = {account: len(self.capstand.issued(account)) for account in self.pods}
        with Repeated(self.call, 0.05):
            # Who was put off tells its Envoy so, which comes back some seconds later.
            self.rotate("--soak", "5s")
            self.wait_for_the_end()
        after = {account: self.capstand.issued(account)[count:] for account, count in before.items()}
        self.draw(after)
        self.assertEqual(len(after["sleep"]), 1, "ours ask once")
        for account in stock:
            self.assertIn(len(after[account]), (1, 2, 3), f"{account} asks when the bytes of the roots change")
        for wave in range(3):
            times = [after[account][wave] for account in stock if len(after[account]) > wave]
            if times:
                allowed = BURST + BUDGET * (max(times) - min(times))
                self.assertLessEqual(len(times), allowed + 0.1, f"within the budget: {sorted(times)}")
        self.check_requests()

    def wait_until_nobody_asks(self):
        """An agent that starts asks for each of its Envoy's streams, and again when it was put off."""
        signed, until = -1, 0.0
        while time.monotonic() < until or signed != self.capstand.signed():
            if signed != self.capstand.signed():
                signed, until = self.capstand.signed(), time.monotonic() + 3
            time.sleep(0.2)

    @staticmethod
    def draw(issued: dict[str, list[float]]):
        """Who got a certificate in which second."""
        start = min(min(times) for times in issued.values())
        seconds: dict[int, list[str]] = {}
        for account, times in issued.items():
            print(f"{account}: certificates after", *(f"{at - start:.1f} s" for at in times))
            for at in times:
                seconds.setdefault(int(at - start), []).append(account)
        for second in range(max(seconds) + 1):
            print(f"{second:4} s |", *seconds.get(second, []))


if __name__ == "__main__":
    AGENT = pathlib.Path(sys.argv.pop(4)).resolve()
    stock_mesh.main()
