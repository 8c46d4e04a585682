// SPDX-License-Identifier: Apache-2.0
// Certificates to probe with.
#include <gmock/gmock.h>

#include "server/control_plane_fixture.h"
#include "store/faulty_store.h"
#include "x509/verify.h"

namespace capstan::server {
namespace {

using store::FaultyStore;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using testing::WithCaTest;

class ProbeTest : public WithCaTest {
 protected:
  // A plane whose store refuses the n-th write of the walk to B: it rests in the phase before.
  std::unique_ptr<ControlPlane> StoppedAt(FaultyStore& faulty, int write) {
    auto plane = NewPlane(faulty);
    EXPECT_TRUE(plane->Start().ok());
    executor_.RunDue();
    faulty.Arm(FaultyStore::Fault::kRefuseOnce, write);
    EXPECT_FALSE(plane->Offer(b_.Set(), {.source = "directory"}).ok());
    executor_.RunDue();
    return plane;
  }
  std::vector<std::string> Accepted() {
    return {plane_->update()->probing().accepted_authority_ids().begin(),
            plane_->update()->probing().accepted_authority_ids().end()};
  }
  std::vector<std::string> Refused() {
    return {plane_->update()->probing().refused_authority_ids().begin(),
            plane_->update()->probing().refused_authority_ids().end()};
  }
};

// Where the walk to B rests at its gates.
class GatedProbeTest : public ProbeTest {
 protected:
  GatedProbeTest() {
    policy_ = {.soak = absl::Seconds(10)};
    Restart();
  }
};

TEST_F(GatedProbeTest, UpdatesSayWhatIsToBeTried) {
  executor_.RunDue();
  EXPECT_FALSE(plane_->update()->has_probing());
  int calls = 0;
  auto subscription = plane_->Subscribe([&] { ++calls; });
  ASSERT_TRUE(plane_->Offer(b_.Set(), {.source = "directory"}).ok());
  const int before = calls;
  executor_.RunDue();
  EXPECT_EQ(calls, before + 1);
  EXPECT_THAT(Accepted(), ::testing::ElementsAre(a_.authority().id.hex(), b_.authority().id.hex()));
  EXPECT_TRUE(Refused().empty());
  executor_.Advance(absl::Seconds(2));
  EXPECT_EQ(calls, before + 1);
  // The new issuer is the control from then on, and with the end of the rotation nothing is tried.
  executor_.Advance(policy_.soak);
  EXPECT_THAT(Accepted(), ::testing::ElementsAre(b_.authority().id.hex(), a_.authority().id.hex()));
  executor_.Advance(policy_.soak);
  EXPECT_FALSE(plane_->update()->has_probing());
}

TEST_F(GatedProbeTest, ACertificateIsOfTheProbedAuthorityForClientsAndMinutes) {
  const authn::Caller caller = *With(Join());
  const std::string b = b_.authority().id.hex();
  EXPECT_THAT(Message(plane_->IssueProbe(caller, NewCsr(), b).status(),
                      absl::StatusCode::kFailedPrecondition),
              HasSubstr("is not probed now; those that are: none"));
  ASSERT_TRUE(plane_->Offer(b_.Set(), {.source = "directory"}).ok());
  executor_.RunDue();
  const auto records = *store_.LoadPopulation();
  const auto chain = plane_->IssueProbe(caller, NewCsr(), b);
  ASSERT_TRUE(chain.ok()) << chain.status();
  ASSERT_THAT(*chain, SizeIs(2));  // leaf and intermediate, without the root
  const x509::Certificate leaf = x509::ParsePemCertificates((*chain)[0])->front();
  EXPECT_EQ(leaf.SpiffeId()->ToString(), "spiffe://cluster.local/capstan/probe");
  EXPECT_THAT(leaf.extended_key_usage(), ::testing::ElementsAre("clientAuth"));
  EXPECT_EQ(leaf.not_after(), clock_.Now() + absl::Minutes(5));
  EXPECT_TRUE(leaf.IsSignedBy(b_.intermediate.certificate.public_key()));
  EXPECT_EQ(store_.LoadPopulation()->size(), records.size()) << "it is of no workload";
  // It is good for no call.
  std::vector<std::string> shown = *chain;
  shown.push_back(b_.root.certificate.ToPem());
  EXPECT_THAT(Message(With(shown).status(), absl::StatusCode::kUnauthenticated),
              HasSubstr("reserved"));
}

TEST_F(ProbeTest, BothAuthoritiesSignWhileBothAreTrusted) {
  const authn::Caller caller = *With(Join());
  const std::string a = a_.authority().id.hex();
  const std::string b = b_.authority().id.hex();
  // Before the new issuer's step, and before the old root's: the control comes first.
  for (const auto& [write, expected] :
       {std::pair(3, std::vector{a, b}), std::pair(4, std::vector{b, a})}) {
    store::MemoryStore copy("lineage");
    FaultyStore faulty(copy);
    {
      auto first = NewPlane(copy);
      ASSERT_TRUE(first->Start().ok());
      ASSERT_TRUE(first->Offer(a_.Set(), {.source = "directory"}).ok());
      executor_.RunDue();
    }
    auto plane = StoppedAt(faulty, write);
    const auto& accepted = plane->update()->probing().accepted_authority_ids();
    EXPECT_THAT(std::vector<std::string>(accepted.begin(), accepted.end()), expected);
    EXPECT_EQ(plane->update()->probing().refused_authority_ids_size(), 0);
    for (const std::string& id : expected) {
      const auto chain = plane->IssueProbe(caller, NewCsr(), id);
      ASSERT_TRUE(chain.ok()) << chain.status();
      EXPECT_EQ(trust::AuthorityId::Of(x509::ParsePemCertificates((*chain)[1])->front()).hex(), id);
    }
  }
}

TEST_F(ProbeTest, NobodyObtainsItAnotherWay) {
  const std::string id = "spiffe://cluster.local/capstan/probe";
  control::v1::CreateTokenRequest token;
  token.set_spiffe_id(id);
  EXPECT_EQ(plane_->CreateToken(token).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(plane_->Issue({*spiffe::SpiffeId::Parse(id)}, Request(NewCsr())).status().code(),
            absl::StatusCode::kPermissionDenied);
}

TEST_F(GatedProbeTest, CallersAndRequestsAreChecked) {
  ASSERT_TRUE(plane_->Offer(b_.Set(), {.source = "directory"}).ok());
  executor_.RunDue();
  const std::string b = b_.authority().id.hex();
  EXPECT_THAT(Message(plane_->IssueProbe(*With(NewToken()), NewCsr(), b).status(),
                      absl::StatusCode::kPermissionDenied),
              HasSubstr("needs a client certificate"));
  const authn::Caller caller = *With(Join());
  EXPECT_EQ(plane_->IssueProbe(caller, "garbage", b).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(plane_->IssueProbe(caller, NewCsr(), "no id").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(plane_->IssueProbe(caller, NewCsr(), "00ff").status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace capstan::server
