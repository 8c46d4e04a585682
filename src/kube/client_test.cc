// SPDX-License-Identifier: Apache-2.0
// What needs no API server; tests/integration/kube_api_test.cc asks a real one.
#include "kube/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/retry_after.h"
#include "base/strings.h"

namespace capstan::kube {
namespace {

using ::testing::HasSubstr;

TEST(Path, IsTheServers) {
  EXPECT_EQ(PathOf(kSecrets, {"istio-system", "cacerts"}),
            "/api/v1/namespaces/istio-system/secrets/cacerts");
  EXPECT_EQ(PathOf(kConfigMaps, {}), "/api/v1/configmaps");
  EXPECT_EQ(PathOf(kTokenReviews, {}), "/apis/authentication.k8s.io/v1/tokenreviews");
  EXPECT_EQ(PathOf(kSigningRequests, {"", "csr-1"}, "status"),
            "/apis/certificates.k8s.io/v1/certificatesigningrequests/csr-1/status");
  EXPECT_EQ(PathOf(kSecrets, {"a/../b", "c?d"}), "/api/v1/namespaces/a%2f..%2fb/secrets/c%3fd");
}

TEST(Query, EscapesSelectors) {
  EXPECT_EQ(QueryOf({}, ""), "");
  EXPECT_EQ(QueryOf({"ns", "", ""}, "limit=5"), "?limit=5");
  EXPECT_EQ(QueryOf({"", "a=b,c!=d", "metadata.name=x"}, "watch=1"),
            "?labelSelector=a%3db%2cc%21%3dd&fieldSelector=metadata.name%3dx&watch=1");
}

TEST(Object, ReadsWhatIsThere) {
  const Json object = {{"metadata", {{"namespace", "n"}, {"name", "a"}, {"generation", 1}}}};
  EXPECT_EQ(NameOf(object), (ObjectName{"n", "a"}));
  EXPECT_EQ(Metadata(object, "generation"), "") << "not text";
  EXPECT_EQ(NameOf(Json::array()), ObjectName());
}

// The API's own words, and a code that callers switch on.
TEST(Object, IsNamedByTwoWords) {
  EXPECT_EQ(ParseObjectName("istio-system/cacerts"), (ObjectName{"istio-system", "cacerts"}));
  for (const char* bad : {"", "cacerts", "/cacerts", "istio-system/", "a/b/c"}) {
    EXPECT_FALSE(ParseObjectName(bad).has_value()) << bad;
  }
}

// Reading is not writing.
TEST(Client, WritesNothingThatItMayNot) {
  FakeClock clock(absl::UnixEpoch());
  Client::Options options;
  options.timeout = absl::Seconds(1);
  options.may_write = [] { return absl::UnavailableError("the lease is lost"); };
  Client client({.server = "http://127.0.0.1:1"}, clock, options);
  const auto refused = [](const absl::Status& status) {
    return status.message() == "the lease is lost";
  };
  EXPECT_TRUE(refused(client.Create(kConfigMaps, {"n", ""}, Json::object()).status()));
  EXPECT_TRUE(refused(client.Patch(kConfigMaps, {"n", "a"}, Json::object()).status()));
  EXPECT_TRUE(refused(client.Delete(kConfigMaps, {"n", "a"})));
  EXPECT_FALSE(refused(client.Get(kConfigMaps, {"n", "a"}).status()));
}

TEST(Error, TellsWhatTheServerSaid) {
  FakeClock clock(absl::UnixEpoch());
  const Client client({.server = "https://api"}, clock);
  const auto error = [&](int status, std::string_view reason, std::string_view message) {
    return client.ErrorOf(
        {status,
         absl::StrCat(R"({"kind":"Status","reason":")", reason, R"(","message":")", message, "\"}"),
         {}},
        "update leases a/b");
  };
  const absl::Status conflict = error(409, "Conflict", "the object has been modified");
  EXPECT_EQ(conflict.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(std::string(conflict.message()),
            "cannot update leases a/b at https://api: the object has been modified (409 Conflict)");
  EXPECT_EQ(error(409, "AlreadyExists", "x").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(error(410, "Expired", "x").code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(error(410, "Gone", "x").code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(error(403, "Forbidden", "x").code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(error(422, "Invalid", "x").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(error(500, "InternalError", "x").code(), absl::StatusCode::kInternal);

  const absl::Status busy = client.ErrorOf({429, "slow down\n", absl::Seconds(3)}, "list pods");
  EXPECT_EQ(busy.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RetryAfterOf(busy), absl::Seconds(3));
  EXPECT_THAT(std::string(busy.message()), HasSubstr("slow down"));
}

}  // namespace
}  // namespace capstan::kube
