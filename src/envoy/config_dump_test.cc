// SPDX-License-Identifier: Apache-2.0
#include "envoy/config_dump.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/strings.h"

namespace capstan::envoy {
namespace {

using Json = nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

std::string TestData(std::string_view name) {
  absl::StatusOr<std::string> text =
      ReadFile(absl::StrCat(CAPSTAN_SOURCE_DIR, "/src/envoy/testdata/", name));
  EXPECT_TRUE(text.ok()) << text.status();
  return text.value_or("");
}

std::vector<std::string> Names(const std::vector<HeldSecret>& secrets) {
  std::vector<std::string> names;
  for (const HeldSecret& secret : secrets) names.push_back(secret.name);
  return names;
}

TEST(ParseSecrets, ReadsWhatARealEnvoyHolds) {
  const auto secrets = ParseSecrets(TestData("config_dump.json"));
  ASSERT_TRUE(secrets.ok()) << secrets.status();
  ASSERT_THAT(Names(*secrets),
              ElementsAre("default", "ROOTCA", "federated", "never-arrives", "fixed-root"));

  const HeldSecret& leaf = (*secrets)[0];
  EXPECT_EQ(leaf.type, HeldSecret::Type::kCertificateChain);
  EXPECT_EQ(leaf.state, HeldSecret::State::kActive);
  EXPECT_EQ(leaf.version_info, "1");
  EXPECT_TRUE(leaf.last_updated.has_value());
  ASSERT_THAT(leaf.certificates, SizeIs(2));
  EXPECT_THAT(leaf.certificates[0].sans().uris,
              ElementsAre("spiffe://cluster.local/ns/httpbin/sa/httpbin"));
  EXPECT_EQ(leaf.certificates[1].SubjectCommonName(), "Intermediate CA");

  const HeldSecret& roots = (*secrets)[1];
  EXPECT_EQ(roots.type, HeldSecret::Type::kTrustBundle);
  ASSERT_THAT(roots.certificates, SizeIs(2));
  EXPECT_EQ(roots.certificates[0].Subject(), roots.certificates[1].Subject());
  EXPECT_NE(roots.certificates[0], roots.certificates[1]);
  EXPECT_TRUE(roots.trust_domains.empty());

  EXPECT_THAT((*secrets)[2].trust_domains, ElementsAre("cluster.local", "partner.example"));
  EXPECT_THAT((*secrets)[2].certificates, SizeIs(2));
  EXPECT_EQ((*secrets)[3].state, HeldSecret::State::kWarming);
  EXPECT_EQ((*secrets)[3].type, HeldSecret::Type::kUnknown);
  EXPECT_EQ((*secrets)[4].state, HeldSecret::State::kStatic);
}

TEST(ParseSecrets, FindsTheSecretsInAFullDump) {
  const auto masked = ParseSecrets(TestData("config_dump.json"));
  const auto full = ParseSecrets(TestData("config_dump_full.json"));
  ASSERT_TRUE(full.ok()) << full.status();
  ASSERT_EQ(Names(*full), Names(*masked));
  for (size_t i = 0; i < full->size(); ++i) {
    EXPECT_EQ((*full)[i].certificates, (*masked)[i].certificates);
  }
}

// What istioctl prints, and what its users saved, reads back as the dump it came from.
TEST(ParseSecrets, ReadsItsOwnNormalForm) {
  const std::string dump = TestData("config_dump.json");
  const auto normal = NormalizeSecrets(dump);
  ASSERT_TRUE(normal.ok());
  const auto again = ParseSecrets(*normal);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(Names(*again), Names(*ParseSecrets(dump)));
  EXPECT_EQ(*NormalizeSecrets(*normal), *normal);
}

TEST(NormalizeSecrets, GivesThePathsThatIstioctlUsersKnow) {
  const auto normal = NormalizeSecrets(TestData("config_dump.json"));
  ASSERT_TRUE(normal.ok());
  const Json json = Json::parse(*normal);
  const Json& secrets = json["dynamicActiveSecrets"];
  std::string leaf;
  std::string roots;
  ASSERT_TRUE(absl::Base64Unescape(
      secrets[0]["secret"]["tlsCertificate"]["certificateChain"]["inlineBytes"].get<std::string>(),
      &leaf));
  ASSERT_TRUE(absl::Base64Unescape(
      secrets[1]["secret"]["validationContext"]["trustedCa"]["inlineBytes"].get<std::string>(),
      &roots));
  EXPECT_THAT(*x509::ParsePemCertificates(leaf), SizeIs(2));
  EXPECT_THAT(*x509::ParsePemCertificates(roots), SizeIs(2));
  EXPECT_EQ(secrets[0]["versionInfo"], "1");
  EXPECT_EQ(json["dynamicWarmingSecrets"][0]["name"], "never-arrives");
}

std::string Entry(std::string_view name) {
  return absl::StrCat(R"({"name":")", std::string(name), R"("})");
}

TEST(NormalizeSecrets, OrdersWhateverOrderEnvoyHad) {
  const std::string dump = absl::StrCat(
      R"({"configs":[{"@type":"type.googleapis.com/envoy.admin.v3.SecretsConfigDump",)",
      R"("dynamic_active_secrets":[)", Entry("zebra"), ",", Entry("ROOTCA"), ",", Entry("default"),
      ",", Entry("apple"), ",", Entry("default"), "]}]}");
  const auto secrets = ParseSecrets(dump);
  ASSERT_TRUE(secrets.ok()) << secrets.status();
  EXPECT_THAT(Names(*secrets), ElementsAre("default", "ROOTCA", "apple", "default", "zebra"));
}

TEST(NormalizeSecrets, NeverShowsAPrivateKeyThatTheDumpHad) {
  const std::string dump =
      R"({"dynamicActiveSecrets":[{"name":"default","secret":{"tls_certificate":{
      "private_key":{"inline_string":"THE KEY"},"password":{"inline_bytes":"VEhFIEtFWQ=="}}}},
      {"name":"tickets","secret":{"session_ticket_keys":{"keys":[{"inline_string":"THE KEY"}]}}},
      {"name":"token","secret":{"generic_secret":{"secret":{"inline_string":"THE KEY"}}}}]})";
  const auto normal = NormalizeSecrets(dump);
  ASSERT_TRUE(normal.ok()) << normal.status();
  EXPECT_THAT(*normal, Not(HasSubstr("THE KEY")));
  EXPECT_THAT(*normal, Not(HasSubstr("VEhFIEtFWQ==")));
  EXPECT_THAT(*normal, HasSubstr("W3JlZGFjdGVkXQ=="));
  const auto secrets = ParseSecrets(dump);
  EXPECT_EQ((*secrets)[1].type, HeldSecret::Type::kOther);
}

TEST(ParseSecrets, ReadsTheDefaultsOfACombinedContext) {
  const Json plain = Json::parse(TestData("config_dump.json"))["configs"][0];
  const Json& roots = plain["dynamic_active_secrets"][1]["secret"]["validation_context"];
  const Json dump = {
      {"dynamic_active_secrets",
       {{{"name", "ROOTCA"},
         {"secret", {{"combined_validation_context", {{"default_validation_context", roots}}}}}}}}};
  const auto secrets = ParseSecrets(dump.dump());
  ASSERT_TRUE(secrets.ok()) << secrets.status();
  EXPECT_THAT(secrets->at(0).certificates, SizeIs(2));
}

TEST(ParseSecrets, ShowsWhyEnvoyRefusedAnUpdate) {
  const auto secrets = ParseSecrets(
      R"({"dynamic_active_secrets":[{"name":"default","error_state":{"details":"key mismatch"}}]})");
  EXPECT_EQ(secrets->at(0).error, "key mismatch");
}

TEST(ParseSecrets, KeepsASecretThatItCannotRead) {
  const auto secrets = ParseSecrets(R"({"dynamicActiveSecrets":[
      {"name":"a","secret":{"validationContext":{"trustedCa":{"filename":"/etc/root.pem"}}}},
      {"name":"b","secret":{"validationContext":{"trustedCa":{"inlineBytes":"%%%"}}}},
      {"name":"c","secret":{"validationContext":{"trustedCa":{"inlineString":"not PEM"}}}},
      {"name":"d","secret":{"tlsCertificate":{}}}]})");
  ASSERT_TRUE(secrets.ok()) << secrets.status();
  EXPECT_THAT((*secrets)[0].problem, HasSubstr("/etc/root.pem"));
  EXPECT_THAT((*secrets)[1].problem, HasSubstr("base64"));
  EXPECT_FALSE((*secrets)[2].problem.empty());
  EXPECT_THAT((*secrets)[3].problem, HasSubstr("no certificates"));
}

TEST(ParseSecrets, SaysWhatIsWrongWithOtherInput) {
  const auto message = [](std::string_view text) {
    const auto parsed = ParseSecrets(text);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << text;
    return std::string(parsed.status().message());
  };
  EXPECT_THAT(message(""), HasSubstr("empty"));
  EXPECT_THAT(message("{\"configs\": [}"), HasSubstr("byte 14"));
  EXPECT_THAT(message("[]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(message(R"({"a":1})"), HasSubstr("/config_dump"));
  EXPECT_THAT(message(R"({"configs":[{"@type":"x.BootstrapConfigDump"}]})"),
              HasSubstr("BootstrapConfigDump"));
  EXPECT_THAT(message(R"({"dynamicActiveSecrets":7})"), HasSubstr("not a list"));
  EXPECT_THAT(message(R"({"dynamicActiveSecrets":[7]})"), HasSubstr("no object"));
  EXPECT_THAT(message(std::string(200, '[')), HasSubstr("nested deeper"));
}

TEST(ParseSecrets, ANothingIsNotAnError) {
  EXPECT_THAT(*ParseSecrets("{}"), SizeIs(0));
  EXPECT_THAT(*ParseSecrets(R"({"configs":[]})"), SizeIs(0));
}

// A dump cut anywhere is refused or, never, half read.
TEST(ParseSecrets, ATornDumpIsRefused) {
  const std::string dump = TestData("config_dump.json");
  const size_t end = dump.find_last_of('}');
  for (size_t length = 0; length < end; length += 37) {
    EXPECT_FALSE(ParseSecrets(dump.substr(0, length)).ok()) << length;
  }
}

RC_GTEST_PROP(ParseSecrets, NeverChangesMeaningByOrder, ()) {
  Json dump = Json::parse(TestData("config_dump.json"));
  Json& entries = dump["configs"][0]["dynamic_active_secrets"];
  for (size_t i = entries.size(); i > 1; --i) {
    std::swap(entries[i - 1], entries[*rc::gen::inRange<size_t>(0, i)]);
  }
  RC_ASSERT(NormalizeSecrets(dump.dump()).value() ==
            NormalizeSecrets(Json::parse(TestData("config_dump.json")).dump()).value());
}

}  // namespace
}  // namespace capstan::envoy
