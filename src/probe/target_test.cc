// SPDX-License-Identifier: Apache-2.0
#include "probe/target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace capstan::probe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string Joined(const std::vector<ProbeTarget>& targets) {
  return absl::StrJoin(targets, ",", [](std::string* out, const ProbeTarget& target) {
    absl::StrAppend(out, ToString(target));
  });
}

TEST(ProbeTargetTest, ReadsWhatItWrites) {
  const std::string text =
      "127.0.0.1:15006,sni=httpbin.default,alpn=istio,alpn=h2,[::1]:8443,localhost:1";
  const auto targets = ParseProbeTargets(text);
  ASSERT_TRUE(targets.ok()) << targets.status();
  EXPECT_THAT(*targets,
              ElementsAre(ProbeTarget{"127.0.0.1", 15006, "httpbin.default", {"istio", "h2"}},
                          ProbeTarget{"::1", 8443, "", {}}, ProbeTarget{"localhost", 1, "", {}}));
  EXPECT_EQ(Joined(*targets), text);
  EXPECT_THAT(*ParseProbeTargets(""), IsEmpty());
  EXPECT_THAT(*ParseProbeTargets(" a:1 , sni=x "), ElementsAre(ProbeTarget{"a", 1, "x", {}}));
}

TEST(ProbeTargetTest, SaysWhichPartIsWrong) {
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"localhost", "\"localhost\" names no port"},
      {"localhost:", "port that is not 1 to 65535"},
      {"localhost:0", "port that is not 1 to 65535"},
      {"localhost:65536", "port that is not 1 to 65535"},
      {"localhost:http", "port that is not 1 to 65535"},
      {":443", "names no host"},
      {"[]:443", "names no host"},
      {"::1:443", "IPv6 address without brackets"},
      {"sni=a,b:1", "\"sni=a\" comes before any HOST:PORT"},
      {"a:1,sni=", "gives no server name"},
      {"a:1,sni=x,sni=y", "\"sni=y\" is the second server name"},
      {"a:1,alpn=", "gives no protocol"},
      {absl::StrCat("a:1,alpn=", std::string(256, 'x')), "gives no protocol"},
      {"a:1,b:2,a:1", "\"a:1\" is there twice"},
      {"a b:1", "holds blanks"},
      {"a:1,port=2", "names no port"},
      {absl::StrCat(std::string(300, 'x'), ":1"), "names no host"},
  };
  for (const auto& [text, why] : wrong) {
    const absl::Status status = ParseProbeTargets(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(why)) << text;
  }
  std::vector<std::string> many;
  for (int port = 1; port <= 17; ++port) many.push_back(absl::StrCat("a:", port));
  EXPECT_THAT(std::string(ParseProbeTargets(absl::StrJoin(many, ",")).status().message()),
              HasSubstr("at most 16"));
}

RC_GTEST_PROP(ProbeTargetTest, AnyTextIsReadOrRefusedWithAReason, (const std::string& text)) {
  const auto targets = ParseProbeTargets(text);
  if (!targets.ok()) {
    RC_ASSERT(!targets.status().message().empty());
    return;
  }
  RC_ASSERT(*ParseProbeTargets(Joined(*targets)) == *targets);
}

}  // namespace
}  // namespace capstan::probe
