// SPDX-License-Identifier: Apache-2.0
#include "kube/signing_request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace capstan::kube {
namespace {

using ::testing::ElementsAre;

Json Object(const Json& status) {
  return {{"metadata", {{"name", "w"}, {"uid", "u"}, {"resourceVersion", "7"}}},
          {"spec",
           {{"request", "UEVN"},
            {"signerName", "capstan.dev/workload"},
            {"username", "system:serviceaccount:app:w"},
            {"expirationSeconds", 3600},
            {"usages", {"client auth", "server auth"}}}},
          {"status", status}};
}

Json Condition(const std::string& type) {
  return {{"type", type}, {"status", "True"}, {"reason", "x"}};
}

TEST(SigningRequest, IsRead) {
  const SigningRequest request = *SigningRequestOf(Object(Json::object()));
  EXPECT_EQ(request.name, "w");
  EXPECT_EQ(request.uid, "u");
  EXPECT_EQ(request.resource_version, "7");
  EXPECT_EQ(request.username, "system:serviceaccount:app:w");
  EXPECT_EQ(request.csr, "PEM");
  EXPECT_EQ(request.expiration, absl::Hours(1));
  EXPECT_THAT(request.usages, ElementsAre("client auth", "server auth"));
  EXPECT_FALSE(request.open()) << "nobody approved it";
  EXPECT_FALSE(SigningRequestOf({{"metadata", {{"name", "w"}}}}).ok());
}

TEST(SigningRequest, WaitsForItsSignerFromItsApprovalToItsEnd) {
  const auto open = [](const Json& status) { return SigningRequestOf(Object(status))->open(); };
  EXPECT_TRUE(open({{"conditions", {Condition("Approved")}}}));
  EXPECT_FALSE(open({{"conditions", {Condition("Denied")}}}));
  EXPECT_FALSE(open({{"conditions", {Condition("Approved"), Condition("Failed")}}}));
  EXPECT_FALSE(open({{"conditions", {Condition("Approved")}}, {"certificate", "UEVN"}}));
  EXPECT_FALSE(open({{"conditions", "Approved"}}));
}

TEST(SigningRequest, IsAnsweredByAPatchOfItsOwnVersion) {
  const SigningRequest request =
      *SigningRequestOf(Object({{"conditions", {Condition("Approved")}}}));
  EXPECT_EQ(CertificatePatch(request, "PEM").dump(),
            R"({"metadata":{"resourceVersion":"7"},"status":{"certificate":"UEVN"}})");
  const Json failed = FailedPatch(request, "NameNotAllowed", "why", absl::UnixEpoch());
  const Json& conditions = failed["status"]["conditions"];
  ASSERT_EQ(conditions.size(), 2u) << "those that were there stay";
  EXPECT_EQ(conditions[0], Condition("Approved"));
  EXPECT_EQ(
      conditions[1].dump(),
      R"({"type":"Failed","status":"True","reason":"NameNotAllowed","message":"why",)"
      R"("lastUpdateTime":"1970-01-01T00:00:00Z","lastTransitionTime":"1970-01-01T00:00:00Z"})");
  EXPECT_EQ(failed["metadata"]["resourceVersion"], "7");
}

}  // namespace
}  // namespace capstan::kube
