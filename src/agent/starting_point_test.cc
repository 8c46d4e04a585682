// SPDX-License-Identifier: Apache-2.0
#include "agent/starting_point.h"

#include "authn/test_pki.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace capstan::agent {
namespace {

using authn::testing::Must;
using authn::testing::TestCa;
using ::testing::HasSubstr;

constexpr char kId[] = "spiffe://td/ns/default/sa/httpbin";

class StartingPointTest : public ::testing::Test {
 protected:
  StartingPointTest() {
    found_.state_dir = "/state";
    found_.join_path = "join.json";
  }
  authn::JoinFile Join() const {
    return {.address = "new:1",
            .server_id = server_,
            .spiffe_id = id_,
            .token = Secret("token"),
            .token_expires = now_ + absl::Minutes(10),
            .bundle_version = {"L", 5},
            .bundle = ca_.bundle()};
  }
  void BeMember(absl::Time credential_expiry) {
    found_.membership = Membership{"old:1", server_, id_};
    found_.trust = lifecycle::Trust{.version = {"L", 5}, .bundle = ca_.bundle()};
    const auto leaf = ca_.Issue(
        {.uris = {kId}, .not_before = now_ - absl::Hours(1), .not_after = credential_expiry});
    found_.credential = Credential{leaf.key, leaf.chain};
  }
  void ExpectHelp(const std::string& why) {
    const auto point = FindStartingPoint(found_, now_);
    EXPECT_EQ(point.status().code(), absl::StatusCode::kFailedPrecondition) << point.status();
    EXPECT_THAT(std::string(point.status().message()), HasSubstr(why));
  }

  const absl::Time now_ = absl::FromUnixSeconds(1'750'000'000);
  const TestCa ca_{now_, "Root", true};
  const TestCa other_{now_, "Root", true};
  const spiffe::SpiffeId id_ = Must(spiffe::SpiffeId::Parse(kId));
  const spiffe::SpiffeId server_ =
      Must(spiffe::SpiffeId::Parse("spiffe://td/capstan/control-plane"));
  Found found_;
};

TEST_F(StartingPointTest, ANewAgentEnrolsWithItsToken) {
  found_.join = Join();
  const auto point = FindStartingPoint(found_, now_);
  ASSERT_TRUE(point.ok()) << point.status();
  EXPECT_TRUE(*point->token == Secret("token"));
  EXPECT_FALSE(point->credential.has_value());
  EXPECT_EQ(point->membership.address, "new:1");
  EXPECT_EQ(point->trust.version.sequence, 5);
}

TEST_F(StartingPointTest, ACredentialIsEnough) {
  BeMember(now_ + absl::Hours(1));
  const auto point = FindStartingPoint(found_, now_);
  ASSERT_TRUE(point.ok()) << point.status();
  EXPECT_FALSE(point->token.has_value());
  EXPECT_EQ(point->credential_leaf->authority, trust::AuthorityId::Of(ca_.issuer()));
}

TEST_F(StartingPointTest, BesideACredentialTheJoinFileOnlyLendsItsAddressAndItsNewerBundle) {
  BeMember(now_ + absl::Hours(1));
  authn::JoinFile join = Join();
  join.token_expires = now_ - absl::Hours(1);
  join.bundle_version.sequence = 6;
  join.bundle = Union(ca_.bundle(), other_.bundle());
  found_.join = join;
  auto point = FindStartingPoint(found_, now_);
  ASSERT_TRUE(point.ok()) << point.status();
  EXPECT_FALSE(point->token.has_value());
  EXPECT_EQ(point->membership.address, "new:1");
  EXPECT_EQ(point->trust.version.sequence, 6);
  EXPECT_EQ(point->trust.bundle.roots().size(), 2u);
  // An older one is not believed.
  join.bundle_version.sequence = 4;
  found_.join = join;
  point = FindStartingPoint(found_, now_);
  ASSERT_TRUE(point.ok()) << point.status();
  EXPECT_EQ(point->trust.version.sequence, 5);
  // Nor does a broken one matter.
  found_.join = absl::InvalidArgumentError("broken");
  EXPECT_TRUE(FindStartingPoint(found_, now_).ok());
}

TEST_F(StartingPointTest, WithNeitherItSaysWhatToDo) {
  ExpectHelp("capstan token create --spiffe-id");
  ExpectHelp("join file join.json does not exist");
  found_.join_path = "";
  ExpectHelp("no --join-file is given");
  BeMember(now_ + absl::Hours(1));
  found_.credential = absl::DataLossError("torn");
  ExpectHelp("torn");
  ExpectHelp(kId);
  found_.join_path = "join.json";
  authn::JoinFile join = Join();
  join.token_expires = now_;
  found_.join = join;
  ExpectHelp("the token in join.json expired");
}

TEST_F(StartingPointTest, WithoutATokenALapsedCredentialIsTried) {
  found_.join_path = "";
  BeMember(now_ - absl::Seconds(1));
  auto point = FindStartingPoint(found_, now_);
  ASSERT_TRUE(point.ok()) << point.status();
  EXPECT_TRUE(point->credential.has_value());
  EXPECT_FALSE(point->credential_leaf.has_value()) << "nothing to go on with";
  EXPECT_THAT(point->lapsed, HasSubstr("expired at"));
  BeMember(now_ + absl::Hours(1));
  found_.trust->bundle = other_.bundle();  // its root left
  point = FindStartingPoint(found_, now_);
  ASSERT_TRUE(point.ok()) << point.status();
  EXPECT_THAT(point->lapsed, HasSubstr("no --join-file is given"));
  // Somebody else's helps nobody.
  found_.membership->spiffe_id = Must(spiffe::SpiffeId::Parse("spiffe://td/ns/default/sa/sleep"));
  ExpectHelp("of no use any more");
}

TEST_F(StartingPointTest, ACredentialOfNoUseGivesWayToAToken) {
  found_.join = Join();
  BeMember(now_ - absl::Seconds(1));
  EXPECT_TRUE(FindStartingPoint(found_, now_)->token.has_value());
  BeMember(now_ + absl::Hours(1));
  found_.trust->bundle = other_.bundle();  // its root left
  EXPECT_TRUE(FindStartingPoint(found_, now_)->token.has_value());
  found_.credential = absl::DataLossError("torn");
  EXPECT_TRUE(FindStartingPoint(found_, now_)->token.has_value());
}

TEST_F(StartingPointTest, RefusesAJoinFileOfAnotherMeshOrIdentity) {
  BeMember(now_ + absl::Hours(1));
  authn::JoinFile join = Join();
  join.spiffe_id = Must(spiffe::SpiffeId::Parse("spiffe://td/ns/default/sa/sleep"));
  found_.join = join;
  ExpectHelp("a --state-dir of its own");
  join = Join();
  join.bundle_version.lineage = "M";
  found_.join = join;
  ExpectHelp("lineage M");
}

}  // namespace
}  // namespace capstan::agent
