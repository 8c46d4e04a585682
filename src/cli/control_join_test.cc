// SPDX-License-Identifier: Apache-2.0
#include "cli/control_join.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "authn/test_pki.h"
#include "authn/token.h"

namespace capstan::cli {
namespace {

using authn::testing::At;
using authn::testing::Must;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kId[] = "spiffe://cluster.local/ns/default/sa/sleep";

control::v1::CreateTokenResponse Answer() {
  const authn::testing::TestCa ca(At("2026-03-01T12:00:00Z"), "Root CA", false);
  control::v1::CreateTokenResponse answer;
  answer.set_token(std::string(authn::NewToken(SystemRandom()).Reveal()));
  answer.mutable_expires()->set_seconds(1772367000);
  answer.set_roots_pem(ca.bundle().ToPem());
  answer.mutable_bundle_version()->set_lineage("7d7ad3a1-1111-4222-8333-123456789abc");
  answer.mutable_bundle_version()->set_sequence(3);
  answer.set_server_spiffe_id("spiffe://cluster.local/capstan/control-plane");
  answer.set_listen_address("127.0.0.1:15012");
  return answer;
}

TEST(TokenRequest, ChecksBeforeItAsks) {
  auto request = TokenRequest(kId, "1h30m");
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->spiffe_id(), kId);
  EXPECT_EQ(request->ttl().seconds(), 5400);
  for (const char* ttl : {"", "10", "0s", "-5m", "inf", "soon", "10ms"}) {
    EXPECT_THAT(std::string(TokenRequest(kId, ttl).status().message()), HasSubstr("--ttl")) << ttl;
  }
  EXPECT_THAT(std::string(TokenRequest("sleep", "10m").status().message()),
              HasSubstr("--spiffe-id \"sleep\""));
}

TEST(JoinFileOf, HoldsWhatTheControlPlaneAnswered) {
  const auto answer = Answer();
  auto join = JoinFileOf(Must(TokenRequest(kId, "10m")), answer);
  ASSERT_TRUE(join.ok()) << join.status();
  EXPECT_EQ(join->spiffe_id.ToString(), kId);
  EXPECT_EQ(join->address, "127.0.0.1:15012");
  EXPECT_EQ(join->token.Reveal(), answer.token());
  EXPECT_EQ(join->token_expires, absl::FromUnixSeconds(1772367000));
  EXPECT_EQ(join->bundle.ToPem(), answer.roots_pem());
}

TEST(JoinFileOf, AnAnswerNoAgentCouldUseIsAnError) {
  auto error = [](auto change) {
    auto answer = Answer();
    change(answer);
    auto join = JoinFileOf(Must(TokenRequest(kId, "10m")), answer);
    EXPECT_EQ(join.status().code(), absl::StatusCode::kInternal);
    return std::string(join.status().message());
  };
  EXPECT_THAT(error([](auto& a) { a.clear_token(); }), HasSubstr("token"));
  EXPECT_THAT(error([](auto& a) { a.clear_roots_pem(); }), HasSubstr("roots_pem"));
  EXPECT_THAT(error([](auto& a) { a.clear_listen_address(); }), HasSubstr("address"));
  EXPECT_THAT(error([](auto& a) { a.set_server_spiffe_id("x"); }), HasSubstr("server_spiffe_id"));
}

TEST(TokenText, NeverShowsTheToken) {
  const auto answer = Answer();
  const auto join = Must(JoinFileOf(Must(TokenRequest(kId, "10m")), answer));
  for (const std::string& text :
       {TokenText(join, "/tmp/join.json"), TokenJson(join, "/tmp/join.json")}) {
    EXPECT_THAT(text, Not(HasSubstr(answer.token())));
    EXPECT_THAT(text, HasSubstr(kId));
    EXPECT_THAT(text, HasSubstr("/tmp/join.json"));
    EXPECT_THAT(text, HasSubstr("2026-03-01T12:10:00Z"));
  }
}

}  // namespace
}  // namespace capstan::cli
