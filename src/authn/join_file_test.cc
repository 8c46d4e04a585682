// SPDX-License-Identifier: Apache-2.0
#include "authn/join_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <nlohmann/json.hpp>

#include "authn/test_pki.h"
#include "authn/token.h"

namespace capstan::authn {
namespace {

using testing::At;
using ::testing::HasSubstr;
using testing::Must;
using testing::TestCa;

JoinFile Example() {
  const absl::Time now = At("2026-03-01T12:00:00Z");
  const trust::Bundle both =
      Union(TestCa(now, "Root CA", false).bundle(), TestCa(now, "Root CA", false).bundle());
  return {
      .address = "127.0.0.1:15012",
      .server_id = Must(spiffe::SpiffeId::Parse("spiffe://cluster.local/capstan/control-plane")),
      .spiffe_id = Must(spiffe::SpiffeId::Parse("spiffe://cluster.local/ns/default/sa/sleep")),
      .token = NewToken(SystemRandom()),
      .token_expires = now + absl::Minutes(10) + absl::Milliseconds(250),
      .bundle_version = {.lineage = "7d7ad3a1-1111-4222-8333-123456789abc", .sequence = 42},
      .bundle = both};
}

std::string ErrorOf(const std::string& text) {
  absl::StatusOr<JoinFile> join = ParseJoinFile(text);
  if (join.ok()) {
    return "accepted";
  }
  EXPECT_EQ(join.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(join.status().message());
}

// The example with one key changed by `change`.
template <typename Change>
std::string With(Change change) {
  auto json = nlohmann::ordered_json::parse(ToJson(Example()));
  change(json);
  return json.dump();
}

TEST(JoinFile, ComesBackAsItWasWritten) {
  const JoinFile written = Example();
  absl::StatusOr<JoinFile> read = ParseJoinFile(ToJson(written));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->address, written.address);
  EXPECT_EQ(read->server_id, written.server_id);
  EXPECT_EQ(read->spiffe_id, written.spiffe_id);
  EXPECT_TRUE(read->token == written.token);
  EXPECT_EQ(read->token_expires, written.token_expires);
  EXPECT_EQ(read->bundle_version, written.bundle_version);
  EXPECT_EQ(read->bundle, written.bundle);
  EXPECT_EQ(read->bundle.roots().size(), 2u);
}

TEST(JoinFile, NamesEveryKeyThatIsMissing) {
  for (const char* key : {"format", "address", "server_id", "spiffe_id", "token", "token_expires",
                          "bundle_version", "roots_pem"}) {
    EXPECT_EQ(ErrorOf(With([&](auto& json) { json.erase(key); })),
              std::string("join file: \"") + key + "\" is missing");
    EXPECT_THAT(ErrorOf(With([&](auto& json) { json[key] = nullptr; })),
                HasSubstr(std::string("join file: \"") + key + "\" is not"));
  }
  EXPECT_EQ(ErrorOf(With([](auto& json) { json["bundle_version"].erase("sequence"); })),
            "join file: \"bundle_version.sequence\" is missing");
}

TEST(JoinFile, RefusesValuesThatCannotBe) {
  auto with = [](const char* key, const char* value) {
    return ErrorOf(With([&](auto& json) { json[key] = value; }));
  };
  EXPECT_THAT(with("format", "capstan-join/2"), HasSubstr("another version"));
  EXPECT_THAT(with("address", "localhost"), HasSubstr("HOST:PORT"));
  EXPECT_THAT(with("address", ":15012"), HasSubstr("HOST:PORT"));
  EXPECT_THAT(with("address", "localhost:70000"), HasSubstr("HOST:PORT"));
  EXPECT_THAT(with("server_id", "https://x"), HasSubstr("\"server_id\" is no SPIFFE ID"));
  EXPECT_THAT(with("spiffe_id", "spiffe://other/ns/a/sa/b"), HasSubstr("another trust domain"));
  EXPECT_THAT(with("token", "hunter2"), HasSubstr("\"token\" is not one"));
  EXPECT_THAT(with("token_expires", "tomorrow"), HasSubstr("RFC 3339"));
  EXPECT_THAT(with("token_expires", "infinite-future"), HasSubstr("RFC 3339"));
  EXPECT_THAT(with("roots_pem", "no PEM"), HasSubstr("\"roots_pem\" is no trust bundle"));
  EXPECT_THAT(ErrorOf(With([](auto& json) { json["bundle_version"]["sequence"] = -1; })),
              HasSubstr("out of range"));
  EXPECT_THAT(
      ErrorOf(With([](auto& json) { json["bundle_version"]["sequence"] = 18446744073709551615u; })),
      HasSubstr("out of range"));
  EXPECT_THAT(ErrorOf(With([](auto& json) { json["bundle_version"]["sequence"] = 1.5; })),
              HasSubstr("not an integer"));
}

TEST(JoinFile, AnErrorNeverQuotesTheToken) {
  const JoinFile join = Example();
  const std::string json = ToJson(join);
  for (size_t cut = 0; cut < json.find("roots_pem"); ++cut) {
    EXPECT_THAT(ErrorOf(json.substr(0, cut)), ::testing::Not(HasSubstr("cjt_")));
  }
}

TEST(JoinFile, SaysWhereTheJsonIsWrong) {
  EXPECT_THAT(ErrorOf("{\n  \"format\": \n}"), HasSubstr("line 3"));
  EXPECT_THAT(ErrorOf("[]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("not JSON"));
  EXPECT_THAT(ErrorOf(std::string(5 << 20, ' ')), HasSubstr("bytes"));
  EXPECT_NE(ErrorOf(std::string(100000, '[')), "accepted");
}

RC_GTEST_PROP(JoinFile, AnyDamageIsRefusedOrHarmless, ()) {
  static const JoinFile join = Example();
  static const std::string good = ToJson(join);
  std::string text = good;
  const auto at = *rc::gen::inRange<size_t>(0, text.size());
  text[at] = static_cast<char>(*rc::gen::inRange(0, 256));
  absl::StatusOr<JoinFile> read = ParseJoinFile(text);
  if (!read.ok()) {
    RC_ASSERT(read.status().code() == absl::StatusCode::kInvalidArgument);
    RC_ASSERT(!read.status().message().empty());
  }
}

}  // namespace
}  // namespace capstan::authn
