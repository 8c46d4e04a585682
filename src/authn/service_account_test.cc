// SPDX-License-Identifier: Apache-2.0
#include "authn/service_account.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "authn/token.h"
#include "base/random.h"

namespace capstan::authn {
namespace {

Secret Jwt(const std::string& claims) {
  return Secret(absl::StrCat("eyJhbGciOiJSUzI1NiJ9.", absl::WebSafeBase64Escape(claims), ".c2ln"));
}

absl::StatusOr<Caller> CallerWith(const kube::ServiceAccount& account) {
  return CallerOf(account, *spiffe::TrustDomain::Parse("cluster.local"), std::string(32, '\x0a'));
}

TEST(ServiceAccountTest, IsAnIstioIdentity) {
  const auto caller = CallerWith({"default", "sleep", "sleep-0", "11-22", ""});
  ASSERT_TRUE(caller.ok()) << caller.status();
  EXPECT_EQ(caller->id.ToString(), "spiffe://cluster.local/ns/default/sa/sleep");
  EXPECT_EQ(caller->proof, Caller::Proof::kServiceAccount);
  EXPECT_FALSE(caller->certificate.has_value());
  EXPECT_EQ(caller->pod_name, "sleep-0");
  EXPECT_FALSE(CallerWith({"a/b", "sleep", "", "", ""}).ok());
  EXPECT_FALSE(CallerWith({"..", "sleep", "", "", ""}).ok());
}

TEST(ServiceAccountTest, TheInstanceIsThePod) {
  EXPECT_EQ(InstanceOf(*CallerWith({"default", "sleep", "sleep-0", "11-22", ""})), "pod:11-22");
  EXPECT_EQ(InstanceOf(*CallerWith({"default", "sleep", "", "", ""})), "token:0a0a0a0a0a0a0a0a");
}

TEST(ServiceAccountTest, ANodeProxyIsAnInstanceOfWhomItActsFor) {
  Caller caller = *CallerWith({"default", "sleep", "ztunnel-0", "11-22", ""});
  caller.node_proxy = "spiffe://cluster.local/ns/istio-system/sa/ztunnel";
  EXPECT_EQ(InstanceOf(caller), "node-proxy:11-22");
}

TEST(ServiceAccountTest, AnIdentityNamesItsAccountOrNone) {
  const auto account = [](const std::string& path) {
    return AccountIn(*spiffe::SpiffeId::Parse("spiffe://cluster.local" + path));
  };
  EXPECT_EQ(account("/ns/default/sa/sleep"), (kube::ObjectName{"default", "sleep"}));
  for (const char* path : {"", "/ns", "/ns/default/sa", "/ns/default/sa/sleep/x", "/sa/sleep/ns/x",
                           "/capstan/control-plane"}) {
    EXPECT_EQ(account(path), std::nullopt) << path;
  }
}

TEST(ServiceAccountTest, ATokenSaysWhenItEnds) {
  EXPECT_EQ(*ExpiryOfJwt(Jwt(R"({"sub":"x","exp":1700000000})")),
            absl::FromUnixSeconds(1700000000));
  EXPECT_EQ(*ExpiryOfJwt(Jwt(R"({"exp":1700000000.5})")),
            absl::FromUnixSeconds(1700000000) + absl::Milliseconds(500));
  EXPECT_EQ(*ExpiryOfJwt(Jwt(R"({"sub":"x"})")), absl::InfiniteFuture()) << "a legacy token";
  for (const char* claims :
       {"", "x", "[1]", "7", R"({"exp":"soon"})", R"({"exp":null})", R"({"exp":1e300})"}) {
    EXPECT_FALSE(ExpiryOfJwt(Jwt(claims)).ok()) << claims;
  }
}

TEST(ServiceAccountTest, WhatIsNoJwtIsNotAskedAbout) {
  EXPECT_TRUE(LooksLikeJwt(Secret("YQ.Yg-_.Yw")));
  for (const char* token : {"", "a", "a.b", "a..c", "a.b.c.d", "a.b c.d", "a.b=.c", ".a.b"}) {
    EXPECT_FALSE(LooksLikeJwt(Secret(token))) << token;
  }
  EXPECT_FALSE(LooksLikeJwt(Secret("a.b." + std::string(12 << 10, 'c'))));
  EXPECT_FALSE(LooksLikeJwt(NewToken(SystemRandom())));
}

}  // namespace
}  // namespace capstan::authn
