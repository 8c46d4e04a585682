// SPDX-License-Identifier: Apache-2.0
// Tokens that are judged by the keys of their issuer: those of a real API server, whose own signing
// key the test also has, to make tokens that no API server makes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <thread>

#include "authn/jwt.h"
#include "authn/test_jwt.h"
#include "caller_fixture.h"

namespace capstan::server {
namespace {

using authn::testing::TestIssuer;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kIssuer[] = "https://kubernetes.default.svc.cluster.local";

std::string Slurp(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class TokenTest : public CallerFixture {
 protected:
  TokenTest() {
    const auto jwks = client_.GetPath("/openid/v1/jwks");
    EXPECT_TRUE(jwks.ok()) << jwks.status();
    cluster_.emplace(jwks.ok() ? (*jwks)["keys"][0]["kid"].get<std::string>() : "",
                     Slurp(absl::StrCat(std::getenv("KUBELITE_DIR"), "/pki/sa.key")));
    uid_ = MakePod("p");
    token_ = TokenOfPod("p", uid_);
  }
  void Judge(authn::TokenVerification verification) {
    Start(client_.access(), {.verification = verification});
  }
  // As the API server made it, read back.
  Json Claims() const {
    const std::string text(token_.Reveal());
    const size_t dot = text.find('.');
    return Json::parse(*authn::DecodeBase64Url(text.substr(dot + 1, text.rfind('.') - dot - 1)));
  }
  Json With(const std::string& name, const Json& value) const {
    Json claims = Claims();
    claims[name] = value;
    return claims;
  }
  // Nothing is given, and the reason says nothing of the token itself.
  void ExpectRefused(const Secret& token, const std::string& why) {
    const Answer answer = Create(token);
    EXPECT_EQ(answer.code, grpc::StatusCode::UNAUTHENTICATED) << why;
    EXPECT_TRUE(answer.chain.empty());
    EXPECT_THAT(answer.message, StartsWith("request authenticate failure: "));
    EXPECT_THAT(answer.message, HasSubstr(why));
    EXPECT_THAT(answer.message, Not(HasSubstr(std::string(token.Reveal()))));
  }
  // gRPC's own bound on metadata is the first that such a token meets.
  void ExpectNothingFor(const Secret& token) {
    const Answer answer = Create(token);
    EXPECT_NE(answer.code, grpc::StatusCode::OK);
    EXPECT_TRUE(answer.chain.empty());
  }
  // By the kind of trouble that a token has, in words of either way to judge it.
  struct Words {
    std::string audience, expired, early, stranger, forged, none, list, twice;
  };
  void ExpectBadOnesRefused(const Words& say) {
    const absl::Time now = RealClock().Now();
    ASSERT_EQ(IdIn(Create(token_)), Id());
    ASSERT_EQ(IdIn(Create(cluster_->Sign(Claims()))), Id()) << "made with its key, it is as good";
    ExpectRefused(TokenOfPod("p", uid_, "vault"), say.audience);
    ExpectRefused(TokenOf("w", kIssuer), say.audience);
    ExpectRefused(cluster_->Sign(With("aud", Json::array())), say.audience);
    ExpectRefused(cluster_->Sign(With("exp", absl::ToUnixSeconds(now - absl::Minutes(2)))),
                  say.expired);
    ExpectRefused(cluster_->Sign(With("nbf", absl::ToUnixSeconds(now + absl::Minutes(2)))),
                  say.early);
    const TestIssuer other("other");  // another cluster's key, with everything else right
    ExpectRefused(other.Sign(Claims()), say.stranger);
    const TestIssuer liar(cluster_->key_id());
    ExpectRefused(liar.Sign(Claims()), say.forged);
    std::string forged(token_.Reveal());
    forged[forged.rfind('.') + 5] = forged[forged.rfind('.') + 5] == 'A' ? 'B' : 'A';
    ExpectRefused(Secret(forged), say.forged);
    for (const char* algorithm : {"none", "HS256"}) {
      ExpectRefused(cluster_->Sign(Claims(), {{"alg", algorithm}, {"kid", cluster_->key_id()}}),
                    say.none);
    }
    std::string bare(token_.Reveal());
    ExpectRefused(Secret(bare.substr(0, bare.rfind('.') + 1)), "nor a JSON Web Token");
    ExpectRefused(cluster_->Sign(With("aud", {{"istio-ca", true}})), say.list);
    ExpectRefused(cluster_->Sign(With("sub", {"system:serviceaccount:x:w"})), say.twice);
    ExpectNothingFor(cluster_->Sign(With("padding", std::string(10'000, 'x'))));
    ExpectNothingFor(cluster_->Sign(With("padding", std::string(100'000, 'x'))));
    ASSERT_EQ(IdIn(Create(token_)), Id()) << "and nothing of that does it any harm";
  }

  std::optional<TestIssuer> cluster_;
  std::string uid_;
  Secret token_;
};

TEST_F(TokenTest, ByReviewBadOnesAreRefused) {
  Judge(authn::TokenVerification::kReview);
  const std::string no = "the API server does not accept the token: ";
  ExpectBadOnesRefused({.audience = no,
                        .expired = no,
                        .early = no,
                        .stranger = no,
                        .forged = no,
                        .none = no,
                        .list = no,
                        .twice = no});
}

TEST_F(TokenTest, OfflineBadOnesAreRefused) {
  Judge(authn::TokenVerification::kOffline);
  ExpectBadOnesRefused({.audience = "not for istio-ca",
                        .expired = "the token expired at ",
                        .early = "is not valid before ",
                        .stranger = "its issuer has no key \"other\"",
                        .forged = "the token's signature is not its issuer's",
                        .none = "is not one of RS256",
                        .list = "\"aud\" is neither a string nor a list of strings",
                        .twice = "\"sub\" is not a string"});
  EXPECT_EQ(IdIn(Create(cluster_->Sign(With("aud", "istio-ca")))), Id()) << "a string will do";
  ExpectRefused(cluster_->Sign(With("iss", "https://elsewhere")), "of the issuer");
  // Not so by review: the API server goes by its own claim, and does not look at the subject.
  ExpectRefused(cluster_->Sign(With("sub", "jane")), "is \"jane\"'s, not a service account's");
  Json endless = Claims();
  endless.erase("exp");
  ExpectRefused(cluster_->Sign(endless), "never ends");
  const auto fleet = plane_->ListFleet();
  ASSERT_EQ(fleet.workloads_size(), 1);
  EXPECT_EQ(fleet.workloads(0).instance(), "pod:" + uid_) << "known by its own claim";
}

TEST_F(TokenTest, OfflineOutlivesItsApiServerAndADeletedPod) {
  auto relay = std::make_unique<kube::Relay>(ServerPort());
  Start(Through(*relay), {.verification = authn::TokenVerification::kOffline});
  ASSERT_EQ(IdIn(Create(token_)), Id());
  relay.reset();
  EXPECT_EQ(IdIn(Create(TokenOfPod("p", uid_))), Id());
  ASSERT_TRUE(client_.Delete(kube::kPods, {ns_, "p"}).ok());
  std::this_thread::sleep_for(std::chrono::seconds(11));  // what was found is forgotten by then
  EXPECT_EQ(IdIn(Create(token_)), Id()) << "until it expires: nobody is asked";
}

TEST_F(TokenTest, OfflineWithoutKeysNobodyIsJudged) {
  auto relay = std::make_unique<kube::Relay>(ServerPort());
  const kube::Access gone = Through(*relay);
  relay.reset();
  Start(gone, {.verification = authn::TokenVerification::kOffline});
  const Answer answer = Create(token_);
  EXPECT_EQ(answer.code, grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(answer.message, HasSubstr("cannot be asked about the token"));
}

TEST_F(TokenTest, ANodeProxysTokenIsAsGoodOffline) {
  MakeAccount("ztunnel");
  Start(client_.access(),
        {.verification = authn::TokenVerification::kOffline, .node_accounts = {{ns_, "ztunnel"}}});
  const std::string uid = MakePod("z", "ztunnel", "n1");
  MakePod("w-1", "w", "n1");
  const Secret token = TokenOfPod("z", uid, "istio-ca", "ztunnel");
  EXPECT_EQ(IdIn(Create(token, "Kubernetes", Id())), Id());
  // There the pods' watch sees what the token does not say.
  ASSERT_TRUE(
      client_.Patch(kube::kPods, {ns_, "z"}, {{"status", {{"phase", "Failed"}}}}, "status").ok());
  const absl::Duration began = RealClock().Monotonic();
  Answer answer;
  do answer = Create(token, "Kubernetes", Id());
  while (answer.code == grpc::StatusCode::OK &&
         RealClock().Monotonic() - began < absl::Seconds(20));
  EXPECT_THAT(answer.message, HasSubstr("runs on no node"));
}

TEST_F(TokenTest, AnotherIssuersTokensAreTakenByItsKeys) {
  const TestIssuer west("west-1");
  const std::string path = absl::StrCat(::testing::TempDir(), "/west-", ns_, ".json");
  std::ofstream(path) << west.Jwks().dump();
  Start(client_.access(), {.issuers = {{"https://west.example", {"vm"}, path, ""}}});
  const Json claims = {{"iss", "https://west.example"},
                       {"aud", "vm"},
                       {"exp", absl::ToUnixSeconds(RealClock().Now() + absl::Hours(1))},
                       {"sub", absl::StrCat("system:serviceaccount:", ns_, ":w")}};
  const Secret token = west.Sign(claims);
  EXPECT_EQ(IdIn(Create(token)), Id()) << "aud is a string, as many issuers have it";
  EXPECT_EQ(IdIn(Create(token, "whatever")), Id());
  EXPECT_EQ(IdIn(Create(token_)), Id()) << "the cluster's own, beside it";
  Json other = claims;
  other["aud"] = "istio-ca";
  ExpectRefused(west.Sign(other), "not for vm");
  ExpectRefused(cluster_->Sign(claims), "has no key");
  const Answer answer = Create(token, "Kubernetes", IdOf("other"));
  EXPECT_EQ(answer.code, grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_THAT(answer.message, StartsWith("request impersonation authentication failure"));
}

}  // namespace
}  // namespace capstan::server
