// SPDX-License-Identifier: Apache-2.0
// For tests of rotations through the whole control plane, but for the network: gates that follow
// what is reported.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "authn/caller.h"
#include "base/strings.h"
#include "cluster/bootstrap_places.h"
#include "server/control_plane.h"
#include "server/plane_fixture.h"
#include "x509/csr.h"

namespace capstan::server::testing {

// A workload as its agent tells of it; told to the plane as the trust stream would.
struct Agent {
  std::string id;
  std::string instance;
  authn::Caller caller;
  int64_t generation = 0;
  fleet::v1::Leaf leaf;
  fleet::v1::Leaf credential;
  fleet::v1::BundleVersion bundle;
  absl::Duration clock_ahead = absl::ZeroDuration();
  std::string nack;
  std::string leaf_nack;
  std::optional<int64_t> failed = std::nullopt;
  std::vector<fleet::v1::ProbeResult> probes = {};
};

// Tells what the test says, of the bundles that it was asked for.
class FakePlaces final : public cluster::BootstrapPlaces {
 public:
  std::vector<rotation::Holder> Lacking(const rotation::Gate& gate, absl::Duration) override {
    if (!gate.AsksForFirstTrust()) return {};
    asked_sequence = gate.bundle.sequence;
    return lacks_now() ? lacking : std::vector<rotation::Holder>();
  }
  void Lacks(const std::string& ns) {
    lacking.push_back(
        {rotation::Holder::Kind::kBootstrap, absl::StrCat("config-map:", ns), "it lacks it"});
  }
  std::vector<rotation::Holder> lacking;
  std::function<bool()> lacks_now = [] { return true; };
  int64_t asked_sequence = 0;
};

class RotationTest : public PlaneTest {
 protected:
  RotationTest() { Restart(); }

  void Restart() {
    Crash();
    TrustKeeperOptions keeper{.serving_names = Names(),
                              .rotation = {.soak = absl::Seconds(10)},
                              .foreign_leaf_ttl = foreign_leaf_ttl_,
                              .foreign_signers = foreign_signers_};
    plane_ =
        PlaneOn(store_, {Domain(), keeper, "127.0.0.1:15012", "ca.example:15012", nullptr, {}});
    plane_->AddPlaces(places_);
    ASSERT_TRUE(plane_->Start().ok());
  }

  absl::StatusOr<Outcome> Offer(const TestPki& pki,
                                const std::vector<x509::Certificate>& roots = {}) {
    return plane_->Offer(pki.Set(roots), {.source = "managed"});
  }

  // Has the plane sign both certificates of an agent that stands for `name`.
  Agent Join(const std::string& name) {
    Agent agent{absl::StrCat("spiffe://cluster.local/ns/", name, "/sa/", name), "i1",
                authn::Caller{*spiffe::SpiffeId::Parse(
                    absl::StrCat("spiffe://cluster.local/ns/", name, "/sa/", name))}};
    Reissue(agent);
    Connect(agent);
    return agent;
  }
  void Reissue(Agent& agent) {
    for (bool for_agent : {true, false}) {
      const x509::PrivateKey key = *x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256);
      absl::StatusOr<rpc::IssueResponse> issued = plane_->Issue(
          agent.caller, {x509::Csr::Create(key, {}, {})->ToPem(), {}, "i1", for_agent});
      ASSERT_TRUE(issued.ok()) << issued.status();
      const x509::Certificate leaf = x509::ParsePemCertificates(issued->chain[0])->front();
      fleet::v1::Leaf& out = for_agent ? agent.credential : agent.leaf;
      out.set_serial(leaf.serial().ToHex());
      out.set_authority_id(absl::BytesToHexString(leaf.authority_key_id()));
      out.mutable_not_after()->set_seconds(absl::ToUnixSeconds(leaf.not_after()));
      agent.caller.certificate = leaf;
    }
  }
  void Connect(Agent& agent) {
    fleet::v1::Hello hello;
    hello.set_instance(agent.instance);
    agent.generation = *plane_->Connected(agent.caller, hello);
    Tell(agent);
  }
  // Takes the bundle of now, and tells that its Envoy did too.
  void Acknowledge(Agent& agent) {
    agent.bundle = plane_->update()->bundle().version();
    Tell(agent);
  }
  void Tell(const Agent& agent) {
    fleet::v1::Report report;
    *report.mutable_leaf() = agent.leaf;
    *report.mutable_credential() = agent.credential;
    *report.mutable_bundle() = agent.bundle;
    report.mutable_agent_time()->set_seconds(absl::ToUnixSeconds(clock_.Now() + agent.clock_ahead));
    fleet::v1::Consumer& envoy = *report.add_consumers();
    envoy.set_id("envoy-1");
    envoy.set_connected(true);
    *envoy.mutable_acknowledged_bundle() = agent.bundle;
    envoy.set_acknowledged_leaf_serial(agent.leaf.serial());
    if (agent.failed.has_value()) report.set_failed_verifications(*agent.failed);
    for (const fleet::v1::ProbeResult& probe : agent.probes) *report.add_probes() = probe;
    if (!agent.leaf_nack.empty()) {
      envoy.set_acknowledged_leaf_serial("");
      envoy.mutable_last_nack()->set_resource("default");
      envoy.mutable_last_nack()->set_message(agent.leaf_nack);
      envoy.mutable_last_nack()->mutable_at()->set_seconds(absl::ToUnixSeconds(clock_.Now()));
    }
    if (!agent.nack.empty()) {
      envoy.mutable_acknowledged_bundle()->set_sequence(0);
      envoy.clear_acknowledged_leaf_serial();
      envoy.mutable_last_nack()->set_resource("ROOTCA");
      envoy.mutable_last_nack()->set_message(agent.nack);
      envoy.mutable_last_nack()->mutable_at()->set_seconds(absl::ToUnixSeconds(clock_.Now()));
    }
    ASSERT_TRUE(plane_->Reported(agent.caller, agent.instance, agent.generation, report).ok());
  }

  // Time passes, with everybody telling as they do.
  void Pass(absl::Duration d, const std::vector<Agent*>& agents) {
    for (absl::Duration step = absl::ZeroDuration(); step < d; step += absl::Seconds(1)) {
      for (const Agent* agent : agents) Tell(*agent);
      executor_.Advance(absl::Seconds(1));
    }
  }
  RotationView View() { return *plane_->keeper().rotation(); }
  const x509::Certificate& RootOf(const TestPki& pki) { return pki.root.certificate; }

  absl::Duration foreign_leaf_ttl_ = absl::ZeroDuration();
  std::vector<ForeignSigner> foreign_signers_;
  FakePlaces places_;
};

}  // namespace capstan::server::testing
