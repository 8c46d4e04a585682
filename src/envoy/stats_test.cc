// SPDX-License-Identifier: Apache-2.0
#include "envoy/stats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/strings.h"

namespace capstan::envoy {
namespace {

using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

std::string TestData(std::string_view name) {
  absl::StatusOr<std::string> text =
      ReadFile(absl::StrCat(CAPSTAN_SOURCE_DIR, "/src/envoy/testdata/", name));
  EXPECT_TRUE(text.ok()) << text.status();
  return text.value_or("");
}

// testdata/capture.py made 7 accepted connections and 2 without a certificate.
TEST(ParseStatsJson, CountsWhatARealEnvoySaw) {
  const auto counters = ParseStatsJson(TestData("stats.json"));
  ASSERT_TRUE(counters.ok()) << counters.status();
  const TlsCounts tls = CountTls(*counters, "listener.");
  EXPECT_EQ(tls.handshakes, 7);
  EXPECT_EQ(tls.full_handshakes(), 7);
  EXPECT_EQ(tls.verify_failures, 2);
  EXPECT_EQ(tls.connection_errors, 0);
  EXPECT_EQ(CountTls(*counters, "cluster.").handshakes, 0);
  EXPECT_EQ(SumOf(*counters, "ssl.handshake"), 7);
  EXPECT_EQ(counters->count("sds.ROOTCA.version_text"), 0) << "a text is no counter";
}

TEST(CountTls, LeavesResumedHandshakesOut) {
  const Counters counters{
      {"listener.a.ssl.handshake", 20},
      {"listener.a.ssl.session_reused", 19},
      {"cluster.b.ssl.handshake", 5},
      {"cluster.b.ssl.fail_verify_san", 3},
      {"cluster.b.ssl.fail_verify_error", 4},
      {"cluster.b.ssl.connection_error", 2},
      {"cluster.b.client_ssl_socket_factory.upstream_context_secrets_not_ready", 1}};
  EXPECT_EQ(CountTls(counters).full_handshakes(), 6);
  EXPECT_EQ(CountTls(counters, "listener.").full_handshakes(), 1);
  EXPECT_EQ(CountTls(counters).verify_failures, 7);
  EXPECT_EQ(CountTls(counters).connection_errors, 2);
  EXPECT_EQ(CountTls(counters).secrets_not_ready, 1);
}

TEST(Without, LeavesOutWhatStartsSo) {
  const Counters counters = Without({{"listener.inbound.ssl.handshake", 1},
                                     {"listener.inbound.probe.ssl.handshake", 10},
                                     {"listener.probe.ssl.handshake", 100},
                                     {"listener.probes.ssl.handshake", 1000},
                                     {"cluster.sds.ssl.connection_error", 1},
                                     {"cluster.sds.upstream_cx_connect_fail", 1}},
                                    {"listener.probe.", "cluster.sds."});
  EXPECT_EQ(CountTls(counters).handshakes, 1011);
  EXPECT_EQ(CountTls(counters).connection_errors, 0);
  EXPECT_EQ(SumOf(counters, "upstream_cx_connect_fail"), 0);
}

TEST(SumOf, MatchesWholeNames) {
  const Counters counters{{"a.handshake", 1}, {"a.no_handshake", 10}, {"handshake", 100}};
  EXPECT_EQ(SumOf(counters, "handshake"), 101);
}

TEST(ParseStatsJson, RefusesOtherInput) {
  EXPECT_THAT(std::string(ParseStatsJson("{}").status().message()), HasSubstr("format=json"));
  EXPECT_THAT(std::string(ParseStatsJson("server.live: 1\n").status().message()),
              HasSubstr("byte 1"));
  EXPECT_THAT(*ParseStatsJson(R"({"stats":[1,{"name":"x"},{"name":"y","value":-1},{"value":1}]})"),
              SizeIs(0));
}

TEST(ParsePrometheus, ReadsIstiosCounterWithItsLabels) {
  const auto samples = ParsePrometheus(TestData("stats.prometheus"));
  ASSERT_TRUE(samples.ok()) << samples.status();
  int found = 0;
  for (const Sample& sample : *samples) {
    if (sample.name != "envoy_istiocustom_istio_requests_total") continue;
    ++found;
    EXPECT_EQ(sample.value, 7);
    EXPECT_THAT(
        sample.labels,
        UnorderedElementsAre(
            Pair("reporter", "destination"),
            Pair("source_principal", "spiffe://cluster.local/ns/sleep/sa/sleep"),
            Pair("destination_principal", "spiffe://cluster.local/ns/httpbin/sa/httpbin"),
            Pair("response_code", "200"), Pair("connection_security_policy", "mutual_tls")));
  }
  EXPECT_EQ(found, 1);
}

TEST(ParsePrometheus, ReadsTheWholeGrammar) {
  const auto samples = ParsePrometheus(
      "# HELP a text\n\na{l=\"x\\\"\\\\\\n}\",m=\"\",} 1.5 1700000000\nb 2e3\r\nc{} NaN\nd +Inf");
  ASSERT_TRUE(samples.ok()) << samples.status();
  ASSERT_THAT(*samples, SizeIs(4));
  EXPECT_EQ((*samples)[0].labels.at("l"), "x\"\\\n}");
  EXPECT_EQ((*samples)[0].value, 1.5);
  EXPECT_EQ((*samples)[1].value, 2000);
  EXPECT_TRUE(std::isnan((*samples)[2].value));
  EXPECT_TRUE(std::isinf((*samples)[3].value));
}

TEST(ParsePrometheus, NamesTheLineItCannotRead) {
  for (const char* bad : {"a", "a{", "a{b}", "a{b=c} 1", "a{b=\"c} 1", "a{b=\"c\\", "{} 1", "a 1 x",
                          "a{b=\"c\" d=\"e\"} 1"}) {
    const auto samples = ParsePrometheus(absl::StrCat("ok 1\n", bad));
    ASSERT_FALSE(samples.ok()) << bad;
    EXPECT_THAT(std::string(samples.status().message()), HasSubstr("line 2")) << bad;
  }
}

}  // namespace
}  // namespace capstan::envoy
