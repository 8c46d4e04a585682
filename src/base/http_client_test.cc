// SPDX-License-Identifier: Apache-2.0
#include "base/http_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "base/http_server.h"
#include "base/strings.h"

namespace capstan {
namespace {

using ::testing::HasSubstr;

class HttpClientTest : public ::testing::Test {
 protected:
  void Start(const std::map<std::string, HttpServer::Handler>& handlers) {
    auto server = HttpServer::Start("127.0.0.1:0", handlers);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }
  HttpRequest To(std::string_view path) const {
    HttpRequest request;
    request.url = absl::StrCat("http://127.0.0.1:", server_->port(), path);
    return request;
  }
  HttpClient client_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpClientTest, GivesAnyStatusAsAReply) {
  Start({{"/a", [] { return HttpResponse{.status = 200, .body = "here"}; }},
         {"/b", [] { return HttpResponse{.status = 503, .body = "not yet"}; }}});
  const auto here = client_.Call(To("/a?x=1"));
  ASSERT_TRUE(here.ok()) << here.status();
  EXPECT_EQ(here->status, 200);
  EXPECT_EQ(here->body, "here");
  EXPECT_EQ(client_.Call(To("/b"))->status, 503);
  EXPECT_EQ(client_.Call(To("/c"))->status, 404);
}

TEST_F(HttpClientTest, BoundsWhatItReads) {
  Start({{"/", [] { return HttpResponse{.status = 200, .body = std::string(1000, 'x')}; }}});
  HttpRequest request = To("/");
  request.max_bytes = 999;
  EXPECT_EQ(client_.Call(request).status().code(), absl::StatusCode::kResourceExhausted);
  request.max_bytes = 1000;
  EXPECT_TRUE(client_.Call(request).ok());
}

TEST_F(HttpClientTest, SaysWhereNobodyAnswers) {
  HttpRequest request;
  request.url = "http://127.0.0.1:1/path?token=hidden";
  const absl::Status status = client_.Call(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("GET http://127.0.0.1:1/path: "));
  request.url = "file:///etc/passwd";
  EXPECT_EQ(client_.Call(request).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(HttpClientTest, AStreamIsTakenPieceByPieceUntilEnough) {
  Start({{"/", [] { return HttpResponse{.status = 200, .body = std::string(100'000, 'x')}; }},
         {"/no", [] { return HttpResponse{.status = 403, .body = "no"}; }}});
  HttpStream stream(RealClock());
  size_t taken = 0;
  const auto all = stream.Run(To("/"), absl::Seconds(5), [&](std::string_view bytes) {
    taken += bytes.size();
    return true;
  });
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(taken, 100'000U);
  EXPECT_TRUE(stream.Run(To("/"), absl::Seconds(5), [](std::string_view) { return false; }).ok());

  const auto refused = stream.Run(To("/no"), absl::Seconds(5), [](std::string_view) {
    ADD_FAILURE() << "the body of an error is no part of the stream";
    return true;
  });
  EXPECT_EQ(refused->status, 403);
  EXPECT_EQ(refused->body, "no");
}

TEST_F(HttpClientTest, AStreamEndsWhenNothingComesAndWhenStopped) {
  std::atomic<bool> leave = false;
  Start({{"/", [&] {
            while (!leave) std::this_thread::yield();
            return HttpResponse{.status = 200};
          }}});
  HttpRequest request = To("/");
  request.timeout = absl::Milliseconds(50);
  HttpStream stream(RealClock());
  const auto take = [](std::string_view) { return true; };
  EXPECT_EQ(stream.Run(request, absl::Seconds(5), take).status().code(),
            absl::StatusCode::kDeadlineExceeded);

  request.timeout = absl::Seconds(60);
  std::thread stopper([&] { stream.Stop(); });
  EXPECT_EQ(stream.Run(request, absl::Seconds(60), take).status().code(),
            absl::StatusCode::kCancelled);
  stopper.join();
  leave = true;
}

TEST(UrlEscape, KeepsARegularExpressionWhole) {
  EXPECT_EQ(UrlEscape("^a.b|c\\.+&x=%"), "%5ea.b%7cc%5c.%2b%26x%3d%25");
}

}  // namespace
}  // namespace capstan
