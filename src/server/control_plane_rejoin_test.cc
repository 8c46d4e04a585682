// SPDX-License-Identifier: Apache-2.0
// Who slept: the trust history, and certificates that lapsed.
#include <gmock/gmock.h>

#include "server/control_plane_fixture.h"
#include "trust/history.h"

namespace capstan::server {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;
using testing::WithCaTest;
using trust::testing::TestPki;

class RejoinTest : public WithCaTest {
 protected:
  rpc::IssueRequest ForAgent(const std::string& instance = "instance-1") {
    return {NewCsr(), absl::Hours(1), instance, true};
  }
  // An agent's credential, for an hour.
  std::vector<std::string> JoinAsAgent() {
    return plane_->Issue(*With(NewToken()), ForAgent())->chain;
  }
  authn::Credentials Shown(const std::vector<std::string>& chain) {
    authn::Credentials shown;
    for (size_t i = 0; i + 1 < chain.size(); ++i) {
      shown.peer_chain.push_back(x509::ParsePemCertificates(chain[i])->front());
    }
    return shown;
  }
  absl::StatusOr<rpc::IssueResponse> Renew(const std::vector<std::string>& chain,
                                           const std::string& instance = "instance-1") {
    absl::StatusOr<authn::Caller> caller = plane_->AuthenticateForCredential(Shown(chain));
    if (!caller.ok()) return caller.status();
    return plane_->Issue(*caller, ForAgent(instance));
  }
  void WithGrace(absl::Duration grace) {
    rejoin_grace_ = grace;
    Restart();
  }
};

TEST_F(RejoinTest, EveryVersionButTheFirstIsALinkFromTheOneBefore) {
  const trust::TrustState first = *plane_->trust();
  ASSERT_TRUE(plane_->Offer(b_.Set(), {.source = "directory"}).ok());
  const TestPki c = TestPki::Make("intermediateC");
  ASSERT_TRUE(plane_->Offer(c.Set(), {.source = "directory"}).ok());
  const trust::TrustState last = *plane_->trust();
  const auto documents = plane_->TrustHistory(first.version);
  ASSERT_TRUE(documents.ok()) << documents.status();
  EXPECT_THAT(*documents, SizeIs(last.version.sequence - first.version.sequence));
  const auto links = trust::Follow(first.bundle, first.version, *documents,
                                   *spiffe::TrustDomain::Parse("cluster.local"));
  ASSERT_TRUE(links.ok()) << links.status();
  EXPECT_EQ(links->back().version, last.version);
  EXPECT_EQ(links->back().bundle, last.bundle);

  Restart();
  EXPECT_EQ(*plane_->TrustHistory(first.version), *documents);
  EXPECT_THAT(*plane_->TrustHistory(last.version), SizeIs(0));
  EXPECT_THAT(
      Message(plane_->TrustHistory({"other", 1}).status(), absl::StatusCode::kFailedPrecondition),
      HasSubstr("not other"));
  EXPECT_THAT(Message(plane_->TrustHistory({first.version.lineage, 99}).status(),
                      absl::StatusCode::kFailedPrecondition),
              HasSubstr("older than 99"));
  EXPECT_EQ(plane_->TrustHistory({}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(RejoinTest, WithoutGraceAnExpiredCredentialIsRefused) {
  const std::vector<std::string> chain = JoinAsAgent();
  clock_.Advance(absl::Hours(1));
  EXPECT_THAT(Message(Renew(chain).status(), absl::StatusCode::kUnauthenticated),
              HasSubstr("expired at"));
}

TEST_F(RejoinTest, WithinTheGraceAnExpiredCredentialIsRenewedAndNothingElse) {
  WithGrace(absl::Hours(24));
  const std::vector<std::string> chain = JoinAsAgent();
  ASSERT_TRUE(plane_->Flush().ok());
  clock_.Advance(absl::Hours(24));
  Restart();  // remembers who may come back
  EXPECT_THAT(
      Message(plane_->Authenticate(Shown(chain)).status(), absl::StatusCode::kUnauthenticated),
      HasSubstr("expired at"))
      << "no trust stream, no workload certificate";
  const authn::Caller caller = *plane_->AuthenticateForCredential(Shown(chain));
  EXPECT_EQ(caller.proof, authn::Caller::Proof::kLapsedCertificate);
  EXPECT_THAT(Message(plane_->Issue(caller, Request(NewCsr())).status(),
                      absl::StatusCode::kPermissionDenied),
              HasSubstr("agent's own credential only"));
  fleet::v1::Hello hello;
  hello.set_instance("instance-1");
  EXPECT_FALSE(plane_->Connected(caller, hello).ok());

  EXPECT_THAT(Message(Renew(chain, "another").status(), absl::StatusCode::kPermissionDenied),
              HasSubstr("no instance \"another\""));
  const auto renewed = Renew(chain);
  ASSERT_TRUE(renewed.ok()) << renewed.status();
  EXPECT_TRUE(plane_->Authenticate(Shown(renewed->chain)).ok());
  EXPECT_TRUE(Renew(chain).ok()) << "an answer that was lost is asked for again";
  EXPECT_THAT(metrics_->Text(), HasSubstr("capstan_rejoins_total 2"));

  // Once somebody speaks for the instance the old certificate is good for nothing.
  ASSERT_TRUE(plane_->Connected(*plane_->Authenticate(Shown(renewed->chain)), hello).ok());
  EXPECT_THAT(Message(Renew(chain).status(), absl::StatusCode::kPermissionDenied),
              HasSubstr("connected with a newer certificate"));
  clock_.Advance(absl::Hours(2));
  EXPECT_THAT(Message(Renew(chain).status(), absl::StatusCode::kUnauthenticated),
              HasSubstr("longer ago than rejoin-grace"));
}

TEST_F(RejoinTest, ACredentialOfARootThatLeftIsRenewedUnderTheNewOne) {
  WithGrace(absl::Hours(1));
  const std::vector<std::string> chain = JoinAsAgent();
  ASSERT_TRUE(plane_->Offer(b_.Set(), {.source = "directory"}).ok());
  ASSERT_FALSE(plane_->trust()->bundle.Contains(a_.root.certificate));
  EXPECT_FALSE(plane_->Authenticate(Shown(chain)).ok());
  const auto renewed = Renew(chain);
  ASSERT_TRUE(renewed.ok()) << renewed.status();
  EXPECT_EQ(renewed->chain[1], b_.intermediate.certificate.ToPem());
}

TEST_F(RejoinTest, ARevokedAuthorityNeverComesBack) {
  WithGrace(absl::Hours(1));
  const std::vector<std::string> chain = JoinAsAgent();
  ASSERT_TRUE(plane_->Offer(b_.Set(), {.source = "directory"}).ok());
  const store::State state = *store_.Load();
  store::Change change{.expected = state.trust};
  for (store::AuthorityRecord record : state.authorities) {
    if (record.id != a_.authority().id.hex()) continue;
    record.state = trust::AuthorityState::kRevoked;
    change.authorities = {record};
  }
  ASSERT_TRUE(store_.Commit(change).ok());
  Restart();
  EXPECT_THAT(Message(Renew(chain).status(), absl::StatusCode::kUnauthenticated),
              HasSubstr("nor may it rejoin"));
  clock_.Advance(absl::Minutes(61));
  EXPECT_FALSE(Renew(chain).ok());
}

// Stock agents tell no time: without a witness no gate would ever open for them.

}  // namespace
}  // namespace capstan::server
