// SPDX-License-Identifier: Apache-2.0
#include "envoy/admin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "base/http_server.h"
#include "base/strings.h"

namespace capstan::envoy {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string TestData(std::string_view name) {
  return ReadFile(absl::StrCat(CAPSTAN_SOURCE_DIR, "/src/envoy/testdata/", name)).value_or("");
}

HttpServer::Handler Answer(std::string body, int status = 200) {
  return [body = std::move(body), status] { return HttpResponse{.status = status, .body = body}; };
}

// Answers as an Envoy does, from what a real one answered.
class AdminTest : public ::testing::Test {
 protected:
  void Start(std::map<std::string, HttpServer::Handler> handlers) {
    auto server = HttpServer::Start("127.0.0.1:0", std::move(handlers));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  std::string Address() const { return absl::StrCat("127.0.0.1:", server_->port()); }

  std::unique_ptr<HttpServer> server_;
};

TEST_F(AdminTest, ReadsSecretsStatsAndSamples) {
  Start({{"/config_dump", Answer(TestData("config_dump.json"))},
         {"/stats", Answer(TestData("stats.json"))},
         {"/stats/prometheus", Answer(TestData("stats.prometheus"))},
         {"/ready", Answer("LIVE\n")}});
  const AdminClient admin(Address());
  const auto secrets = admin.Secrets();
  ASSERT_TRUE(secrets.ok()) << secrets.status();
  EXPECT_THAT(*secrets, SizeIs(5));
  EXPECT_EQ(SumOf(admin.Stats("ssl\\.").value(), "ssl.handshake"), 7);
  EXPECT_FALSE(admin.Samples()->empty());
  EXPECT_TRUE(admin.Ready().ok());
  EXPECT_TRUE(AdminClient(absl::StrCat("http://", Address(), "/")).Ready().ok());
}

TEST_F(AdminTest, SaysWhatEnvoySaidWhenItIsNotReady) {
  Start({{"/ready", Answer("PRE_INITIALIZING\n", 503)}});
  const absl::Status status = AdminClient(Address()).Ready();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("PRE_INITIALIZING"));
}

TEST_F(AdminTest, MapsHttpStatus) {
  Start({{"/bad", Answer("error: invalid regex\nmore", 400)}, {"/broken", Answer("", 500)}});
  const AdminClient admin(Address());
  EXPECT_EQ(admin.Get("/nowhere").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(admin.Get("/bad").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(admin.Get("/bad").status().message()), HasSubstr("invalid regex"));
  EXPECT_EQ(admin.Get("/broken").status().code(), absl::StatusCode::kInternal);
}

TEST_F(AdminTest, BoundsTheAnswer) {
  Start({{"/long", Answer(std::string(2000, 'x'))}});
  EXPECT_EQ(AdminClient(Address(), {.max_bytes = 1999}).Get("/long").status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(AdminClient(Address(), {.max_bytes = 2000}).Get("/long").ok());
}

TEST(AdminClient, SaysThatNobodyAnswers) {
  const absl::Status refused = AdminClient("127.0.0.1:1").Ready();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("127.0.0.1:1"));
  EXPECT_EQ(AdminClient("unix:/nonexistent/socket").Ready().code(), absl::StatusCode::kUnavailable);
}

TEST(AdminClient, RefusesAddressesAndPathsThatAreNone) {
  for (const char* address :
       {"", "9901", "host", "host:", "host:0", "host:65536", "host:1x", "a b:1", "http://u@h:1",
        "[::g]:1", "unix:relative", "https://h:1", "127.0.0.1:1/path", "h:1?q"}) {
    EXPECT_EQ(AdminClient(address).Ready().code(), absl::StatusCode::kInvalidArgument) << address;
  }
  for (const char* path : {"", "stats", "/a b", "/a\r\nX: y"}) {
    EXPECT_EQ(AdminClient("127.0.0.1:1").Get(path).status().code(),
              absl::StatusCode::kInvalidArgument)
        << path;
  }
}

}  // namespace
}  // namespace capstan::envoy
