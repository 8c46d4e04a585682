// SPDX-License-Identifier: Apache-2.0
// Agents against a control plane over real TLS.
#include "agent/agent.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "agent/test_mesh.h"
#include "base/files.h"
#include "base/retry_after.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "x509/verify.h"

namespace capstan::agent::testing {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

mode_t ModeOf(const std::string& path) {
  struct stat st;
  return stat(path.c_str(), &st) == 0 ? st.st_mode & 07777 : 0;
}

x509::Certificate LeafOf(const sds::Material& material) {
  return Must(x509::ParsePemCertificates(material.chain_pem)).front();
}

TEST_F(MeshTest, EnrolsAndServesTrustBeforeTheLeaf) {
  RunningAgent agent(StateDir(), NewJoinFile());
  ASSERT_TRUE(agent.status().ok()) << agent.status();
  ASSERT_TRUE(Eventually([&] { return agent.HasLeaf(); })) << agent.LastError();
  const auto all = agent.served().all();
  EXPECT_EQ(all.front()->roots_pem, a_.bundle().ToPem());
  EXPECT_EQ(all.front()->leaf_serial, "");
  EXPECT_EQ(all.front()->bundle_version.lineage, kLineage);

  const sds::Material& last = *agent.served().last();
  const auto chain = Must(x509::ParsePemCertificates(last.chain_pem));
  EXPECT_EQ(chain.size(), 2u) << "leaf and intermediate, no root";
  EXPECT_TRUE(x509::VerifySvid(chain, a_.bundle().roots(), RealClock().Now()).status.ok());
  EXPECT_EQ(Must(chain[0].SpiffeId()).ToString(), kId);
  EXPECT_TRUE(Must(x509::PrivateKey::ParsePem(last.key_pem.Reveal())).public_key() ==
              chain[0].public_key());
  EXPECT_EQ(plane_.Issued(/*for_agent=*/true), 1);
  EXPECT_EQ(plane_.Issued(/*for_agent=*/false), 1);

  EXPECT_EQ(ModeOf(StateDir()), 0700u);
  EXPECT_EQ(ModeOf(StateDir() + "/credential.key"), 0600u);
  EXPECT_FALSE(FileExists(StateDir() + "/credential.next.key"));
  // The workload's key is in memory only.
  const std::vector<std::string> names = Must(ListDirectory(StateDir()));
  EXPECT_GE(names.size(), 5u);
  for (const std::string& name : names) {
    EXPECT_THAT(*ReadFile(StateDir() + "/" + name),
                Not(HasSubstr(std::string(last.key_pem.Reveal().substr(30, 60)))))
        << name;
  }
}

TEST_F(MeshTest, ReportsWhatItServesAndWhatConsumersDidWithIt) {
  RunningAgent agent(StateDir(), NewJoinFile());
  ASSERT_TRUE(Eventually([&] { return agent.HasLeaf(); }));
  const std::string serial = agent.served().last()->leaf_serial;
  agent.served().SetConsumers(
      {{.id = "envoy-1",
        .node_id = "n",
        .pid = 42,
        .connected = true,
        .acknowledged_bundle = agent.served().last()->bundle_version,
        .acknowledged_leaf_serial = serial,
        .acknowledged_at = RealClock().Now(),
        .last_nack = sds::ConsumerReport::Nack{"default", "bad \xff key", RealClock().Now()}}});
  agent.ConsumersChanged();
  ASSERT_TRUE(plane_.AwaitStreams([&](const auto& streams) {
    for (const auto& [generation, stream] : streams) {
      for (const auto& report : stream.reports) {
        if (report.consumers_size() != 1 || report.leaf().serial() != serial) continue;
        const auto& consumer = report.consumers(0);
        return stream.id == kId && report.bundle().sequence() == 1 &&
               report.credential().serial() != serial && !report.credential().serial().empty() &&
               report.leaf().authority_id() == trust::AuthorityId::Of(a_.issuer()).hex() &&
               consumer.acknowledged_leaf_serial() == serial && consumer.pid() == 42 &&
               consumer.kind() == fleet::v1::Consumer::ENVOY &&
               consumer.last_nack().message() == "bad ? key" && report.last_error().empty();
      }
    }
    return false;
  }));
}

TEST_F(MeshTest, ANewProcessTakesOverWithoutAToken) {
  std::string serial;
  std::string instance;
  {
    RunningAgent agent(StateDir(), NewJoinFile());
    ASSERT_TRUE(
        Eventually([&] { return agent.HasLeaf() && agent.agent().health().stream_connected; }));
    serial = agent.served().last()->leaf_serial;
    instance = *ReadFile(StateDir() + "/instance");
  }
  RunningAgent agent(StateDir(), std::nullopt);
  ASSERT_TRUE(agent.status().ok()) << agent.status();
  ASSERT_TRUE(Eventually([&] { return agent.HasLeaf(); })) << agent.LastError();
  EXPECT_NE(agent.served().last()->leaf_serial, serial);
  EXPECT_EQ(*ReadFile(StateDir() + "/instance"), instance);
  EXPECT_EQ(plane_.Issued(/*for_agent=*/true), 1) << "the credential lives on";
}

TEST_F(MeshTest, AUsedTokenIsRefusedAndAnExpiredOneNotTried) {
  authn::JoinFile join = NewJoinFile();
  {
    RunningAgent first(folder_ + "/first", join);
    ASSERT_TRUE(Eventually([&] { return first.HasLeaf(); }));
  }
  RunningAgent second(StateDir(), join);
  EXPECT_TRUE(Eventually([&] { return !second.LastError().empty(); }));
  EXPECT_THAT(second.LastError(), HasSubstr("token was used"));
  EXPECT_FALSE(second.HasLeaf());
  EXPECT_EQ(second.served().last()->roots_pem, a_.bundle().ToPem()) << "trust is served meanwhile";

  join.token_expires = RealClock().Now() - absl::Seconds(1);
  RunningAgent third(folder_ + "/third", join);
  EXPECT_THAT(std::string(third.status().message()), HasSubstr("expired at"));
  // With its credential an agent does not care.
  RunningAgent again(folder_ + "/first", join);
  EXPECT_TRUE(again.status().ok()) << again.status();
  EXPECT_TRUE(Eventually([&] { return again.HasLeaf(); }));
}

TEST_F(MeshTest, NothingIsSentToAServerThatIsNotTheControlPlane) {
  const auto expect_refused = [&](const authn::JoinFile& join, const std::string& why) {
    RunningAgent agent(folder_ + "/" + std::to_string(plane_.issued().size()) + why.substr(0, 3),
                       join);
    ASSERT_TRUE(agent.status().ok()) << agent.status();
    EXPECT_TRUE(Eventually([&] { return !agent.LastError().empty(); }));
    EXPECT_THAT(agent.LastError(), HasSubstr(why));
    EXPECT_THAT(plane_.issued(), IsEmpty());
  };
  authn::JoinFile other_id = NewJoinFile();
  other_id.server_id = Must(spiffe::SpiffeId::Parse("spiffe://cluster.local/capstan/other"));
  expect_refused(other_id, "is not spiffe://cluster.local/capstan/other");

  authn::JoinFile other_root = NewJoinFile();
  other_root.bundle = b_.bundle();
  expect_refused(other_root, "does not verify against the trust bundle");
}

TEST_F(MeshTest, AWorkloadsCertificateDoesNotMakeAControlPlane) {
  // The same root and trust domain, a good certificate for 127.0.0.1, but a workload's identity.
  class Impostor final : public rpc::testing::FakeControlPlane {
   public:
    Impostor(Clock& clock, const TestCa& ca) : FakeControlPlane(clock, ca) {
      LeafSpec spec = Valid();
      spec.dns = {"localhost"};
      spec.ips = {"127.0.0.1"};
      const auto leaf = ca.Issue(spec);
      shown_ = std::make_shared<rpc::ServingCertificate>(
          rpc::ServingCertificate{x509::ToPem(leaf.chain), leaf.key.ToPkcs8Pem(), 1});
    }
    std::shared_ptr<const rpc::ServingCertificate> serving() const override { return shown_; }

   private:
    std::shared_ptr<const rpc::ServingCertificate> shown_;
  };
  Impostor impostor(RealClock(), a_);
  const auto server = Must(rpc::Server::Start({.listen = "127.0.0.1:0"}, impostor, RealClock()));
  authn::JoinFile join = NewJoinFile();
  join.address = "127.0.0.1:" + std::to_string(server->port());
  RunningAgent agent(StateDir(), join);
  EXPECT_TRUE(Eventually([&] { return !agent.LastError().empty(); }));
  EXPECT_THAT(agent.LastError(), HasSubstr("its certificate is for spiffe://cluster.local/ns/"));
  EXPECT_THAT(impostor.issued(), IsEmpty());
  server->Shutdown();
}

TEST_F(MeshTest, ForgedAnswersAreRefusedAndTheLastGoodStays) {
  RunningAgent agent(StateDir(), NewJoinFile(), absl::Hours(1));
  ASSERT_TRUE(
      Eventually([&] { return agent.HasLeaf() && agent.agent().health().stream_connected; }));
  const std::string good = agent.served().last()->leaf_serial;
  const x509::PrivateKey other = Must(x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256));
  const auto answer = [&](const TestCa& ca, const LeafSpec& spec, const x509::PublicKey& key) {
    return std::vector<std::string>{ca.Sign(spec, key).ToPem(), ca.issuer().ToPem(),
                                    ca.bundle().ToPem()};
  };
  LeafSpec expired = Valid();
  expired.not_after = RealClock().Now() - absl::Seconds(1);
  LeafSpec early = Valid();
  early.not_before = RealClock().Now() + absl::Minutes(30);
  LeafSpec ca_leaf = Valid();
  ca_leaf.ca = true;
  using Key = x509::PublicKey;
  const std::vector<std::pair<std::string, Plane::Forge>> forgeries = {
      {"another key", [&](const Key&) { return answer(a_, Valid(), other.public_key()); }},
      {"is for spiffe://cluster.local/ns/default/sa/sleep",
       [&](const Key& k) {
         return answer(a_, Valid("spiffe://cluster.local/ns/default/sa/sleep"), k);
       }},
      {"of trust domain evil.td",
       [&](const Key& k) {
         return answer(a_, Valid("spiffe://evil.td/ns/default/sa/httpbin"), k);
       }},
      {"not in the trust bundle", [&](const Key& k) { return answer(b_, Valid(), k); }},
      {"expired", [&](const Key& k) { return answer(a_, expired, k); }},
      {"not valid before", [&](const Key& k) { return answer(a_, early, k); }},
      {"does not verify", [&](const Key& k) { return answer(a_, ca_leaf, k); }},
      {"element 0", [&](const Key&) { return std::vector<std::string>{"garbage"}; }},
      {"no certificate", [&](const Key&) { return std::vector<std::string>{}; }},
  };
  for (const auto& [why, forge] : forgeries) {
    plane_.ForgeAnswers(forge);
    // A directive that the forger's answer would not satisfy anyway: the agent asks at once.
    plane_.PushDirective(a_.bundle(), b_);
    EXPECT_TRUE(Eventually([&] { return agent.LastError().find(why) != std::string::npos; }))
        << why << " / " << agent.LastError();
    EXPECT_EQ(agent.served().last()->leaf_serial, good) << why;
    plane_.PushHonest(a_.bundle());
    // Streams carry the latest only: the withdrawal has to be seen before the next directive.
    ASSERT_TRUE(Eventually(
        [&] { return agent.served().last()->bundle_version.sequence == plane_.sequence(); }));
  }
  plane_.ForgeAnswers(nullptr);
  plane_.Serve(b_);
  plane_.PushDirective(Both(), b_);
  EXPECT_TRUE(Eventually([&] { return agent.served().last()->leaf_serial != good; }))
      << agent.LastError();
}

TEST_F(MeshTest, ARotationMovesTrustFirstThenTheLeafAndNobodyResignsForABundle) {
  RunningAgent agent(StateDir(), NewJoinFile());
  ASSERT_TRUE(
      Eventually([&] { return agent.HasLeaf() && agent.agent().health().stream_connected; }));
  const std::string first = agent.served().last()->leaf_serial;
  // root-a → both-trusted: published and stored, nobody asks for a certificate.
  plane_.PushHonest(Both());
  ASSERT_TRUE(Eventually([&] { return agent.served().last()->roots_pem == Both().ToPem(); }));
  EXPECT_EQ(agent.served().last()->leaf_serial, first);
  EXPECT_EQ(Must(ParseTrust(*ReadFile(StateDir() + "/bundle.json"))).bundle, Both());
  usleep(300'000);
  EXPECT_EQ(plane_.Issued(false), 1);
  EXPECT_EQ(plane_.Issued(true), 1);
  EXPECT_EQ(plane_.streams().size(), 1u) << "an addition breaks no stream";
  // → new-issuer: the directive moves both certificates.
  plane_.Serve(b_);
  plane_.PushDirective(Both(), b_);
  ASSERT_TRUE(Eventually(
      [&] { return agent.served().last()->leaf_serial != first && plane_.Issued(true) == 2; }));
  EXPECT_EQ(LeafOf(*agent.served().last()).authority_key_id(), b_.issuer().subject_key_id());
  const std::string second = agent.served().last()->leaf_serial;
  // → root-b: the old root goes, the leaf stays, and so does the stream: the server showed a
  // certificate of the new root when it was opened.
  ASSERT_TRUE(plane_.AwaitStreams([](const auto& s) { return s.size() == 2; }));
  ASSERT_TRUE(Eventually([&] { return agent.agent().health().stream_connected; }));
  plane_.PushHonest(b_.bundle());
  ASSERT_TRUE(Eventually([&] { return agent.served().last()->roots_pem == b_.bundle().ToPem(); }));
  usleep(300'000);
  EXPECT_EQ(plane_.streams().size(), 2u);
  EXPECT_TRUE(agent.agent().health().stream_connected);
  EXPECT_EQ(agent.served().last()->leaf_serial, second);
  EXPECT_EQ(plane_.Issued(false), 2);
  // Trust reached the delivery before the leaf that needs it.
  bool b_trusted = false;
  for (const auto& material : agent.served().all()) {
    b_trusted |= material->roots_pem != a_.bundle().ToPem();
    EXPECT_TRUE(b_trusted || material->leaf_serial != second);
  }
}

TEST_F(MeshTest, AStreamWhoseServerShowedARootThatLeftIsMadeAnew) {
  RunningAgent agent(StateDir(), NewJoinFile());
  const auto connected = [&] { return agent.agent().health().stream_connected; };
  ASSERT_TRUE(Eventually([&] { return agent.HasLeaf() && connected(); }));
  plane_.Serve(b_);
  plane_.PushDirective(Both(), b_);
  ASSERT_TRUE(Eventually([&] { return plane_.Issued(true) == 2 && plane_.Issued(false) == 2; }));
  // The agent's certificates are of B by now; let it come back to a server that still shows A.
  const int port = port_;
  StopServer();
  ASSERT_TRUE(Eventually([&] { return !connected(); }));
  plane_.Serve(a_);
  StartServer(port);
  ASSERT_TRUE(Eventually(connected));
  plane_.Serve(b_);
  const size_t streams = plane_.streams().size();
  plane_.PushHonest(b_.bundle());
  EXPECT_TRUE(plane_.AwaitStreams([&](const auto& s) { return s.size() > streams; }));
  EXPECT_TRUE(Eventually(connected));
}

TEST_F(MeshTest, TrustThatIsNotTheSuccessorIsRefused) {
  RunningAgent agent(StateDir(), NewJoinFile());
  ASSERT_TRUE(
      Eventually([&] { return agent.HasLeaf() && agent.agent().health().stream_connected; }));
  plane_.PushHonest(Both());
  ASSERT_TRUE(Eventually([&] { return agent.served().last()->roots_pem == Both().ToPem(); }));
  const std::string roots = agent.served().last()->roots_pem;
  using Update = fleet::v1::TrustUpdate;
  const std::string b_pem = b_.bundle().ToPem();
  const std::vector<std::pair<std::string, std::function<void(Update&)>>> bad = {
      {"older than",
       [&](Update& u) {
         u.mutable_bundle()->set_roots_pem(b_pem);
         u.mutable_bundle()->mutable_version()->set_sequence(1);
       }},
      {"another store",
       [&](Update& u) {
         u.mutable_bundle()->set_roots_pem(b_pem);
         u.mutable_bundle()->mutable_version()->set_lineage("another");
       }},
      {"bundle", [](Update& u) { u.mutable_bundle()->set_roots_pem(""); }},
      {"bundle", [](Update& u) { u.mutable_bundle()->set_roots_pem("garbage"); }},
      {"other roots under", [&](Update& u) { u.mutable_bundle()->set_roots_pem(b_pem); }},
      {"no valid version", [](Update& u) { u.clear_bundle(); }},
      {"CRLs",
       [](Update& u) {
         u.mutable_crls()->set_number(7);
         u.mutable_crls()->set_pem("garbage");
       }},
  };
  for (const auto& [why, change] : bad) {
    const size_t refused = agent.served().all().size();
    plane_.PushForged([&](Update& u) {
      u.mutable_renewal()->set_authority_id(trust::AuthorityId::Of(b_.issuer()).hex());
      change(u);
    });
    EXPECT_TRUE(Eventually([&] { return agent.LastError().find(why) != std::string::npos; }))
        << why << " / " << agent.LastError();
    EXPECT_EQ(agent.served().last()->roots_pem, roots);
    EXPECT_EQ(agent.served().all().size(), refused) << "nothing is published";
    EXPECT_EQ(Must(ParseTrust(*ReadFile(StateDir() + "/bundle.json"))).bundle, Both());
    plane_.PushHonest(Both());
    EXPECT_TRUE(Eventually([&] { return agent.LastError().empty(); }));
  }
  EXPECT_EQ(plane_.Issued(false), 1) << "a refused update directs nobody";
  EXPECT_THAT(agent.Metrics(), HasSubstr("capstan_agent_refused_trust_updates_total 7"));
}

TEST_F(MeshTest, AControlPlaneThatIsDownTakesNothingAway) {
  RunningAgent agent(StateDir(), NewJoinFile());
  ASSERT_TRUE(
      Eventually([&] { return agent.HasLeaf() && agent.agent().health().stream_connected; }));
  const std::string serial = agent.served().last()->leaf_serial;
  const int port = port_;
  StopServer();
  ASSERT_TRUE(Eventually([&] { return !agent.agent().health().stream_connected; }));
  usleep(500'000);
  EXPECT_EQ(agent.served().last()->leaf_serial, serial);
  EXPECT_THAT(agent.LastError(), HasSubstr("no trust stream"));
  StartServer(port);
  EXPECT_TRUE(Eventually([&] { return agent.agent().health().stream_connected; }));
  EXPECT_EQ(plane_.Issued(false), 1) << "nothing is re-issued needlessly";
  EXPECT_EQ(plane_.Issued(true), 1);
}

TEST_F(MeshTest, WhoIsPutOffComesBackWhenItWasTold) {
  plane_.RefuseToIssue(
      WithRetryAfter(absl::ResourceExhaustedError("others first"), absl::Milliseconds(1200)));
  const absl::Duration began = RealClock().Monotonic();
  RunningAgent agent(StateDir(), NewJoinFile());
  ASSERT_TRUE(Eventually([&] { return !agent.LastError().empty(); }));
  EXPECT_EQ(agent.LastError(), "others first");
  plane_.RefuseToIssue(absl::OkStatus());
  ASSERT_TRUE(Eventually([&] { return plane_.Issued(/*for_agent=*/true) == 1; }));
  EXPECT_GE(RealClock().Monotonic() - began, absl::Milliseconds(1200));
  ASSERT_TRUE(Eventually([&] { return agent.HasLeaf(); })) << agent.LastError();
  EXPECT_THAT(agent.Metrics(), HasSubstr("result=\"put-off\"}"));
  EXPECT_EQ(plane_.issued()[0].replaces, "") << "it says that it holds nothing";
}

TEST_F(MeshTest, ADirectiveIsFollowedInItsSlotOfTheWindow) {
  RunningAgent agent(StateDir(), NewJoinFile());
  ASSERT_TRUE(
      Eventually([&] { return agent.HasLeaf() && agent.agent().health().stream_connected; }));
  const std::string first = agent.served().last()->leaf_serial;
  plane_.Serve(b_);
  // The first half is for those that expire before: its own are in the second one.
  plane_.PushHonest(Both());
  const int64_t next = plane_.sequence() + 1;
  const absl::Time start = RealClock().Now();
  plane_.PushForged([&](fleet::v1::TrustUpdate& update) {
    update.mutable_bundle()->mutable_version()->set_sequence(next);
    fleet::v1::Renewal& renewal = *update.mutable_renewal();
    renewal.set_authority_id(trust::AuthorityId::Of(b_.issuer()).hex());
    renewal.mutable_start()->set_seconds(absl::ToUnixSeconds(start));
    renewal.mutable_window()->set_seconds(6);
    renewal.add_expiry_bounds()->set_seconds(absl::ToUnixSeconds(start));
    renewal.add_expiry_bounds()->set_seconds(absl::ToUnixSeconds(start + absl::Hours(2)));
  });
  ASSERT_TRUE(Eventually(
      [&] { return agent.served().last()->leaf_serial != first && plane_.Issued(true) == 2; }));
  EXPECT_GE(RealClock().Now() - start, absl::Milliseconds(1900));
  EXPECT_EQ(LeafOf(*agent.served().last()).authority_key_id(), b_.issuer().subject_key_id());
}

TEST_F(MeshTest, AnAgentThatStartsBeforeItsControlPlaneWaitsForIt) {
  const authn::JoinFile join = NewJoinFile();
  const int port = port_;
  StopServer();
  RunningAgent agent(StateDir(), join);
  ASSERT_TRUE(agent.status().ok());
  EXPECT_TRUE(Eventually([&] { return !agent.LastError().empty(); }));
  EXPECT_FALSE(agent.served().all().empty()) << "trust is served at once";
  StartServer(port);
  EXPECT_TRUE(Eventually([&] { return agent.HasLeaf(); })) << agent.LastError();
}

TEST_F(MeshTest, ARefusalIsReportedAndTheAgentGoesOn) {
  plane_.RefuseToIssue(absl::PermissionDeniedError("not today"));
  RunningAgent agent(StateDir(), NewJoinFile());
  EXPECT_TRUE(Eventually([&] { return agent.LastError().find("not today") != std::string::npos; }));
  plane_.RefuseToIssue(absl::OkStatus());
  EXPECT_TRUE(Eventually([&] { return agent.HasLeaf(); }, absl::Seconds(15)));
}

TEST_F(MeshTest, AStateDirectoryThatCannotBeWrittenIsReportedAndOutlived) {
  RunningAgent agent(StateDir(), NewJoinFile());
  ASSERT_TRUE(
      Eventually([&] { return agent.HasLeaf() && agent.agent().health().stream_connected; }));
  const std::string away = folder_ + "/away";
  std::filesystem::rename(StateDir(), away);
  plane_.PushHonest(Both());
  ASSERT_TRUE(Eventually([&] { return agent.served().last()->roots_pem == Both().ToPem(); }));
  EXPECT_THAT(agent.LastError(), HasSubstr("is not on disk"));
  // Nobody may rely on what a restart would take back.
  const auto reported = [&](int64_t sequence) {
    return plane_.AwaitStreams([&](const auto& streams) {
      const auto& reports = streams.rbegin()->second.reports;
      return !reports.empty() && reports.back().bundle().sequence() == sequence &&
             reports.back().last_error().empty() == (sequence == 2);
    });
  };
  EXPECT_TRUE(reported(1));
  std::filesystem::rename(away, StateDir());
  EXPECT_TRUE(Eventually([&] { return agent.LastError().empty(); }));
  EXPECT_TRUE(reported(2));
  EXPECT_EQ(Must(ParseTrust(*ReadFile(StateDir() + "/bundle.json"))).bundle, Both());
}

TEST_F(MeshTest, ProbesItsConsumersWhileAskedTo) {
  // The control plane's own port demands a certificate of nobody: it shows one, and is silent.
  RunningAgent agent(StateDir(), NewJoinFile(), absl::ZeroDuration(),
                     {{"127.0.0.1", port_, "", {}}});
  ASSERT_TRUE(
      Eventually([&] { return agent.HasLeaf() && agent.agent().health().stream_connected; }));
  const std::string target = "127.0.0.1:" + std::to_string(port_);
  const auto reported = [&](const std::function<bool(const fleet::v1::Report&)>& condition) {
    return plane_.AwaitStreams([&](const auto& streams) {
      return std::any_of(streams.begin(), streams.end(), [&](const auto& stream) {
        return !stream.second.reports.empty() && condition(stream.second.reports.back());
      });
    });
  };
  EXPECT_TRUE(reported([&](const auto& report) {
    return report.probes_size() == 1 && report.probes(0).target() == target &&
           report.probes(0).authority_id().empty();
  })) << "a target is known before anything is asked about it";

  agent.served().SetConsumers({{.id = "envoy-1",
                                .connected = true,
                                .acknowledged_bundle = agent.served().last()->bundle_version}});
  agent.ConsumersChanged();
  plane_.AllowProbes({&a_, &b_});
  const std::string a = trust::AuthorityId::Of(a_.issuer()).hex();
  const std::string b = trust::AuthorityId::Of(b_.issuer()).hex();
  plane_.PushHonest(Both());
  const int64_t next = plane_.sequence() + 1;
  plane_.PushForged([&](fleet::v1::TrustUpdate& update) {
    update.mutable_bundle()->mutable_version()->set_sequence(next);
    update.mutable_probing()->add_accepted_authority_ids(a);
    update.mutable_probing()->add_accepted_authority_ids(b);
  });
  EXPECT_TRUE(reported([&](const auto& report) {
    int tried = 0;
    for (const auto& probe : report.probes()) {
      tried += probe.target() == target &&
               (probe.authority_id() == a || probe.authority_id() == b) &&
               probe.verdict() != fleet::v1::ProbeResult::VERDICT_UNSPECIFIED &&
               probe.bundle().sequence() == next && probe.has_at() &&
               probe.served_leaf().authority_id() == a;
    }
    return tried == 2;
  }));
}

TEST_F(MeshTest, ASecondAgentOnTheSameStateIsRefused) {
  RunningAgent agent(StateDir(), NewJoinFile());
  RunningAgent second(StateDir(), std::nullopt);
  EXPECT_TRUE(absl::IsUnavailable(second.status()));
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("another capstan-agent"));
}

TEST_F(MeshTest, LeavesOfSecondsAreRenewedWithoutAGap) {
  RunningAgent agent(StateDir(), NewJoinFile(), absl::Seconds(4));
  ASSERT_TRUE(Eventually([&] { return agent.HasLeaf(); }));
  std::set<std::string> serials;
  const absl::Duration end = RealClock().Monotonic() + absl::Seconds(30);
  while (RealClock().Monotonic() < end) {
    const auto material = agent.served().last();
    const x509::Certificate leaf = LeafOf(*material);
    ASSERT_GT(leaf.not_after(), RealClock().Now()) << "after " << serials.size() << " leaves";
    serials.insert(material->leaf_serial);
    usleep(20'000);
  }
  EXPECT_GE(serials.size(), 10u);
  EXPECT_LE(serials.size(), 20u);
  EXPECT_EQ(plane_.Issued(/*for_agent=*/true), 1);
}

}  // namespace
}  // namespace capstan::agent::testing
