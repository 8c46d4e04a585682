// SPDX-License-Identifier: Apache-2.0
#include "authn/jwt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "authn/jwks.h"
#include "authn/test_jwt.h"

namespace capstan::authn {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Secret Token(const std::string& claims, const std::string& header = R"({"alg":"RS256"})") {
  return Secret(absl::StrCat(absl::WebSafeBase64Escape(header), ".",
                             absl::WebSafeBase64Escape(claims), ".c2ln"));
}
std::string WhyNot(const Secret& token) {
  const auto jwt = ParseJwt(token);
  EXPECT_TRUE(absl::IsInvalidArgument(jwt.status())) << jwt.status();
  return std::string(jwt.status().message());
}

TEST(JwtTest, AKubernetesTokenIsRead) {
  const auto jwt = ParseJwt(Token(
      R"({"aud":["istio-ca"],"exp":1800003600,"iat":1800000000,"iss":"https://k","jti":"x",
          "kubernetes.io":{"namespace":"app","node":{"name":"n1","uid":"3"},
          "pod":{"name":"w-0","uid":"1"},"serviceaccount":{"name":"w","uid":"2"}},
          "nbf":1800000000,"sub":"system:serviceaccount:app:w"})",
      R"({"alg":"RS256","kid":"k1"})"));
  ASSERT_TRUE(jwt.ok()) << jwt.status();
  EXPECT_EQ(jwt->algorithm, "RS256");
  EXPECT_EQ(jwt->key_id, "k1");
  EXPECT_THAT(jwt->audiences, ElementsAre("istio-ca"));
  EXPECT_EQ(jwt->expires, absl::FromUnixSeconds(1800003600));
  EXPECT_EQ(jwt->signature, "sig");
  const auto account = AccountOf(*jwt);
  ASSERT_TRUE(account.ok()) << account.status();
  EXPECT_EQ(*account, (kube::ServiceAccount{"app", "w", "w-0", "1", "n1"}));
}

TEST(JwtTest, WhatIsNotRightIsNamed) {
  EXPECT_THAT(WhyNot(Secret("")), HasSubstr("three parts"));
  EXPECT_THAT(WhyNot(Secret("a.b")), HasSubstr("three parts"));
  EXPECT_THAT(WhyNot(Secret("a.b.c.d")), HasSubstr("three parts"));
  EXPECT_THAT(WhyNot(Secret(std::string(kMaxJwtBytes + 1, 'a'))), HasSubstr("more than 12288"));
  EXPECT_THAT(WhyNot(Secret("e30=.e30.")), HasSubstr("header is not base64url"));
  EXPECT_THAT(WhyNot(Secret("e30.e 30.")), HasSubstr("claims is not base64url"));
  EXPECT_THAT(WhyNot(Secret("e30.e31.")), HasSubstr("claims is not base64url")) << "spare bits";
  EXPECT_THAT(WhyNot(Secret("e30.e30.+w")), HasSubstr("signature is not base64url"));
  EXPECT_THAT(WhyNot(Token("{}", "[]")), HasSubstr("header is no JSON object"));
  EXPECT_THAT(WhyNot(Token("{} {}")), HasSubstr("claims: byte"));
  EXPECT_THAT(WhyNot(Token("{}", R"({"alg":"RS256","crit":["b64"]})")), HasSubstr("\"crit\""));
  EXPECT_THAT(WhyNot(Token("{}", R"({"alg":7})")), HasSubstr("\"alg\" is not a string"));
  EXPECT_THAT(WhyNot(Token(R"({"sub":"a","sub":"b"})")), HasSubstr("\"sub\" is there twice"));
  EXPECT_THAT(WhyNot(Token(R"({"a":{"b":1,"b":2}})")), HasSubstr("\"b\" is there twice"));
  EXPECT_THAT(WhyNot(Token(R"({"sub":["a"]})")), HasSubstr("\"sub\" is not a string"));
  EXPECT_THAT(WhyNot(Token(R"({"aud":{"a":1}})")), HasSubstr("\"aud\""));
  EXPECT_THAT(WhyNot(Token(R"({"aud":["a",1]})")), HasSubstr("\"aud\""));
  for (const char* time : {"\"soon\"", "null", "1e300", "[1]"}) {
    EXPECT_THAT(WhyNot(Token(absl::StrCat("{\"exp\":", time, "}"))), HasSubstr("\"exp\""));
  }
  EXPECT_THAT(WhyNot(Token(R"({"kubernetes.io":[]})")), HasSubstr("is no object"));
  EXPECT_THAT(WhyNot(Token(R"({"kubernetes.io":{"pod":{"uid":1}}})")), HasSubstr("\"uid\""));
  EXPECT_THAT(WhyNot(Token(std::string(200, '[') + std::string(200, ']'))), HasSubstr("deeper"));
}

TEST(JwtTest, AnAudienceIsAStringOrAList) {
  EXPECT_THAT(ParseJwt(Token(R"({"aud":"a"})"))->audiences, ElementsAre("a"));
  EXPECT_THAT(ParseJwt(Token(R"({"aud":["a","b"]})"))->audiences, ElementsAre("a", "b"));
  EXPECT_THAT(ParseJwt(Token(R"({"aud":[]})"))->audiences, IsEmpty());
  EXPECT_THAT(ParseJwt(Token("{}"))->audiences, IsEmpty());
}

TEST(JwtTest, ClaimsHoldOrAreNamed) {
  const absl::Time now = absl::FromUnixSeconds(1'800'000'000);
  Jwt jwt;
  jwt.issuer = "https://k";
  jwt.audiences = {"vault", "istio-ca"};
  jwt.expires = now + absl::Minutes(1);
  const auto check = [&](const Jwt& token) {
    const absl::Status status =
        CheckClaims(token, "https://k", {"istio-ca"}, absl::Seconds(30), now);
    EXPECT_TRUE(status.ok() || absl::IsUnauthenticated(status)) << status;
    return std::string(status.message());
  };
  EXPECT_EQ(check(jwt), "");
  Jwt other = jwt;
  other.issuer = "https://else";
  EXPECT_THAT(check(other), HasSubstr("of the issuer \"https://else\", not of https://k"));
  other = jwt;
  other.audiences = {"vault"};
  EXPECT_THAT(check(other), HasSubstr("is for \"vault\", not for istio-ca"));
  other.audiences.clear();
  EXPECT_THAT(check(other), HasSubstr("is for \"\""));
  other = jwt;
  other.expires.reset();
  EXPECT_THAT(check(other), HasSubstr("no \"exp\""));
  other.expires = now - absl::Seconds(29);
  EXPECT_EQ(check(other), "") << "clocks differ";
  other.expires = now - absl::Seconds(30);
  EXPECT_THAT(check(other), HasSubstr("expired at 2027-01-15T07:59:30Z"));
  for (auto member : {&Jwt::not_before, &Jwt::issued_at}) {
    other = jwt;
    other.*member = now + absl::Seconds(30);
    EXPECT_EQ(check(other), "");
    other.*member = now + absl::Seconds(31);
    EXPECT_THAT(check(other), HasSubstr("not valid before 2027-01-15T08:00:31Z"));
  }
}

TEST(JwtTest, OnlyServiceAccountsAreCallers) {
  Jwt jwt;
  jwt.subject = "system:serviceaccount:app:w";
  EXPECT_EQ(*AccountOf(jwt), (kube::ServiceAccount{"app", "w", "", "", ""}));
  jwt.kubernetes = kube::ServiceAccount{"app", "other", "", "", ""};
  EXPECT_THAT(std::string(AccountOf(jwt).status().message()), HasSubstr("two things"));
  for (const char* subject : {"", "jane", "system:serviceaccount:app", "system:serviceaccount::w",
                              "system:serviceaccount:app:w:x", "system:node:app:w"}) {
    jwt.subject = subject;
    EXPECT_TRUE(absl::IsUnauthenticated(AccountOf(jwt).status())) << subject;
  }
}

class JwksTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!x509::testing::HasOpenSsl()) GTEST_SKIP() << "openssl is not installed";
  }
  static absl::Status Check(const Secret& token, const Json& jwks) {
    const auto keys = ParseJwks(jwks);
    EXPECT_TRUE(keys.ok()) << keys.status();
    return CheckSignature(*ParseJwt(token), *keys);
  }
};

TEST_F(JwksTest, TheNamedKeyHasToHaveSigned) {
  const testing::TestIssuer a("a"), b("b"), liar("a");
  const Json both = {{"keys", {a.Jwk(), b.Jwk()}}};
  const Json claims = {{"sub", "x"}};
  EXPECT_TRUE(Check(a.Sign(claims), both).ok());
  EXPECT_TRUE(Check(b.Sign(claims), both).ok());
  EXPECT_TRUE(Check(b.Sign(claims, {{"alg", "RS256"}}), both).ok()) << "it names none";
  EXPECT_TRUE(absl::IsUnauthenticated(Check(liar.Sign(claims), both)));
  EXPECT_TRUE(
      absl::IsUnauthenticated(Check(a.Sign(claims, {{"alg", "RS256"}, {"kid", "b"}}), both)));
  const absl::Status unknown = Check(b.Sign(claims), a.Jwks());
  EXPECT_TRUE(absl::IsNotFound(unknown)) << unknown;
}

TEST_F(JwksTest, NoTokenChoosesAWeakerWay) {
  const testing::TestIssuer a("a");
  for (const char* algorithm : {"none", "HS256", "", "ES256", "RS512", "PS256"}) {
    EXPECT_TRUE(absl::IsUnauthenticated(
        Check(a.Sign(Json::object(), {{"alg", algorithm}, {"kid", "a"}}), a.Jwks())))
        << algorithm;
  }
}

TEST_F(JwksTest, KeysThatCannotBeUsedAreNotTheSetsEnd) {
  const testing::TestIssuer a("a");
  Json encryption = a.Jwk(), weak = a.Jwk(), foreign = a.Jwk(), text = "key";
  encryption["use"] = "enc";
  weak["n"] = "AQAB";
  foreign["alg"] = "HS256";
  const Json odd = {{"kty", "oct"}, {"k", "AQAB"}};
  Json set = {{"keys", {encryption, weak, foreign, text, odd, a.Jwk()}}};
  EXPECT_EQ(ParseJwks(set)->size(), 1u);
  set["keys"].erase(5);
  EXPECT_TRUE(absl::IsInvalidArgument(ParseJwks(set).status()));
  for (const char* none : {"{}", "[]", R"({"keys":[]})", R"({"keys":{}})", "7"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseJwks(Json::parse(none)).status())) << none;
  }
}

}  // namespace
}  // namespace capstan::authn
