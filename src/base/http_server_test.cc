// SPDX-License-Identifier: Apache-2.0
#include "base/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/metrics.h"

namespace capstan {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Ask(int port, const std::string& request_line) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    std::string request =
        absl::StrCat(request_line, " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    EXPECT_EQ(send(fd, request.data(), request.size(), 0), static_cast<ssize_t>(request.size()));
    char buffer[4096];
    for (ssize_t n; (n = recv(fd, buffer, sizeof(buffer), 0)) > 0;) answer.append(buffer, n);
  }
  close(fd);
  return answer;
}

TEST(HttpServer, AnswersExactPathsAndGetOnly) {
  Metrics metrics;
  metrics.Counter("capstan_requests_total", "Requests.", {{"code", "OK"}}).Increment();
  auto server = HttpServer::Start(
      "127.0.0.1:0",
      {{"/metrics", [&] { return HttpResponse{.body = metrics.Text()}; }},
       {"/readyz", [] { return HttpResponse{.status = 503, .body = "not yet\n"}; }}});
  ASSERT_TRUE(server.ok()) << server.status();
  int port = (*server)->port();
  std::string answer = Ask(port, "GET /metrics");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(answer, HasSubstr("capstan_requests_total{code=\"OK\"} 1"));
  EXPECT_THAT(Ask(port, "GET /readyz"), StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(Ask(port, "GET /metrics/x"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(Ask(port, "GET /"), StartsWith("HTTP/1.1 404 "));
  EXPECT_THAT(Ask(port, "POST /metrics"), StartsWith("HTTP/1.1 405 "));
}

TEST(HttpServer, SaysThatAnAddressIsTaken) {
  auto first = HttpServer::Start("127.0.0.1:0", {});
  ASSERT_TRUE(first.ok());
  auto second = HttpServer::Start(absl::StrCat("127.0.0.1:", (*first)->port()), {});
  EXPECT_TRUE(absl::IsUnavailable(second.status()));
}

}  // namespace
}  // namespace capstan
