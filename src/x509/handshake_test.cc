// SPDX-License-Identifier: Apache-2.0
#include "x509/handshake.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "base/strings.h"
#include "x509/test_openssl.h"
#include "x509/test_pki.h"

namespace capstan::x509 {
namespace {

using testing::Ca;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::Leaf;
using testing::MakeIntermediate;
using testing::MakeLeaf;
using testing::MakeRoot;
using testing::Workshop;

// The real clock: the openssl program looks at it.
absl::Time Today() {
  return RealClock().Now();
}

testing::CaOptions CaOfToday(const std::string& name) {
  return {.common_name = name,
          .not_before = Today() - absl::Hours(1),
          .not_after = Today() + absl::Hours(1)};
}

Leaf LeafOfToday(const Ca& ca, absl::Duration life = absl::Hours(1)) {
  return MakeLeaf(ca, {.not_before = Today() - absl::Minutes(10), .not_after = Today() + life});
}

// "openssl s_server" on a free port of loopback, until this is destroyed.
class Server {
 public:
  Server(const Workshop& workshop, const std::string& arguments) {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid_ = fork();
    if (pid_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      const std::string command =
          absl::StrCat("cd '", workshop.folder(),
                       "' && exec openssl s_server -accept 127.0.0.1:0 -cert leaf.pem ",
                       "-key leaf.key ", arguments, " 2>server.err </dev/zero");
      execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      _exit(127);
    }
    close(ends[1]);
    output_ = ends[0];
    port_ = ReadPort();
    EXPECT_NE(port_, 0) << workshop.Read("server.err");
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    close(output_);
  }
  int port() const { return port_; }

 private:
  // It prints "ACCEPT 127.0.0.1:PORT" once it listens.
  int ReadPort() {
    std::string text;
    char c = 0;
    int port = 0;
    while (read(output_, &c, 1) == 1) {
      if (c != '\n') {
        text.push_back(c);
        continue;
      }
      const std::vector<std::string> words = absl::StrSplit(text, ':');
      if (text.rfind("ACCEPT", 0) == 0 && absl::SimpleAtoi(words.back(), &port)) {
        return port;
      }
      text.clear();
    }
    return 0;
  }

  pid_t pid_ = -1;
  int output_ = -1;
  int port_ = 0;
};

class HandshakeTest : public ::testing::Test {
 protected:
  HandshakeTest() {
    workshop_.Write("root.pem", root_.certificate.ToPem());
    workshop_.Write("int.pem", intermediate_.certificate.ToPem());
    workshop_.Write("leaf.pem", leaf_.certificate.ToPem());
    workshop_.Write("leaf.key", leaf_.key.ToPkcs8Pem().Reveal());
  }

  HandshakeOptions To(int port) const {
    return {.host = "127.0.0.1", .port = port, .timeout = absl::Seconds(10)};
  }
  HandshakeOptions To(int port, const Leaf& client) const {
    HandshakeOptions options = To(port);
    options.client_chain = {client.certificate};
    options.client_key = client.key;
    return options;
  }
  static HandshakeResult Run(const HandshakeOptions& options) {
    auto result = Handshake(options);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *std::move(result) : HandshakeResult{};
  }

  Workshop workshop_;
  Ca root_ = MakeRoot(CaOfToday("Root CA"));
  Ca intermediate_ = MakeIntermediate(root_, CaOfToday("Intermediate CA"));
  Leaf leaf_ = LeafOfToday(intermediate_);
  Leaf friend_ = LeafOfToday(root_);
  Leaf stranger_ = LeafOfToday(MakeRoot(CaOfToday("Stranger")));
  // Another root of the very same name.
  Leaf twin_ = LeafOfToday(MakeRoot(CaOfToday("Root CA")));

  static constexpr char kDemand[] = "-Verify 5 -verify_return_error -CAfile root.pem ";
};

TEST_F(HandshakeTest, KeepsTheChainAsItWasSent) {
  // In an order nobody should send, with a certificate twice.
  workshop_.Write("odd.pem", root_.certificate.ToPem() + intermediate_.certificate.ToPem() +
                                 intermediate_.certificate.ToPem());
  for (const std::string version : {"-tls1_2", "-tls1_3"}) {
    const Server server(workshop_, version + " -cert_chain odd.pem");
    const HandshakeResult result = Run(To(server.port()));
    EXPECT_THAT(result.served_chain,
                ElementsAre(leaf_.certificate, root_.certificate, intermediate_.certificate,
                            intermediate_.certificate));
    EXPECT_FALSE(result.resumed);
    EXPECT_EQ(result.client, ClientVerdict::kSilent);
    EXPECT_EQ(result.detail, "the server asked for no certificate");
  }
}

TEST_F(HandshakeTest, AcceptanceIsATicketOrTheEndOfTls12) {
  for (const std::string version : {"-tls1_2", "-tls1_3"}) {
    const Server server(workshop_, kDemand + version);
    const HandshakeResult result = Run(To(server.port(), friend_));
    EXPECT_EQ(result.client, ClientVerdict::kAccepted) << result.detail;
    EXPECT_EQ(result.alert, std::nullopt);
    EXPECT_THAT(result.served_chain, ElementsAre(leaf_.certificate));
  }
}

TEST_F(HandshakeTest, DistrustIsAlert48) {
  for (const std::string version : {"-tls1_2", "-tls1_3"}) {
    for (const Leaf* client : {&stranger_, &twin_}) {
      for (const std::string request : {"", "GET / HTTP/1.0\r\n\r\n"}) {
        const Server server(workshop_, kDemand + version);
        HandshakeOptions options = To(server.port(), *client);
        options.early_request = request;
        const HandshakeResult result = Run(options);
        EXPECT_EQ(result.client, ClientVerdict::kUnknownCa) << version << result.detail;
        EXPECT_EQ(result.alert, 48);
        EXPECT_THAT(result.detail, HasSubstr("unknown CA"));
        EXPECT_THAT(result.served_chain, ElementsAre(leaf_.certificate));
      }
    }
  }
}

TEST_F(HandshakeTest, OtherRefusalsAreNotDistrust) {
  const Leaf expired = LeafOfToday(root_, -absl::Minutes(1));
  for (const std::string version : {"-tls1_2", "-tls1_3"}) {
    const Server server(workshop_, kDemand + version);
    const HandshakeResult result = Run(To(server.port(), expired));
    EXPECT_EQ(result.client, ClientVerdict::kRefused) << version << result.detail;
    EXPECT_EQ(result.alert, 45);  // certificate_expired
  }
}

TEST_F(HandshakeTest, SilenceIsNotAcceptance) {
  const Server server(workshop_, std::string(kDemand) + "-tls1_3 -num_tickets 0 -rev");
  HandshakeOptions options = To(server.port(), friend_);
  options.timeout = absl::Milliseconds(700);
  const HandshakeResult result = Run(options);
  EXPECT_EQ(result.client, ClientVerdict::kSilent);
  EXPECT_THAT(result.detail, HasSubstr("said nothing in time"));
}

TEST_F(HandshakeTest, ARequestMakesASilentServerSpeak) {
  const Server server(workshop_, std::string(kDemand) + "-tls1_3 -num_tickets 0 -rev");
  HandshakeOptions options = To(server.port(), friend_);
  options.early_request = "hello\n";
  const HandshakeResult result = Run(options);
  EXPECT_EQ(result.client, ClientVerdict::kAccepted) << result.detail;
  EXPECT_THAT(result.detail, HasSubstr("application data"));
}

TEST_F(HandshakeTest, WithoutACertificateNothingIsJudged) {
  const Server server(workshop_, std::string(kDemand) + "-tls1_3");
  const HandshakeResult result = Run(To(server.port()));
  EXPECT_EQ(result.client, ClientVerdict::kSilent);
  EXPECT_EQ(result.detail, "the server asked for a certificate, and none was offered");
  EXPECT_THAT(result.served_chain, ElementsAre(leaf_.certificate));
}

TEST_F(HandshakeTest, SendsServerNameAndAlpn) {
  workshop_.Write("other.pem", friend_.certificate.ToPem());
  workshop_.Write("other.key", friend_.key.ToPkcs8Pem().Reveal());
  const Server server(workshop_,
                      "-servername other.example -cert2 other.pem -key2 other.key -alpn h2");
  HandshakeOptions options = To(server.port());
  EXPECT_THAT(Run(options).served_chain, ElementsAre(leaf_.certificate));
  options.server_name = "other.example";
  options.alpn = {"http/1.1", "h2"};
  EXPECT_THAT(Run(options).served_chain, ElementsAre(friend_.certificate));
}

TEST_F(HandshakeTest, ARefusalBeforeAnyCertificateIsAnError) {
  const Server server(workshop_, "-tls1_1 -cipher DEFAULT:@SECLEVEL=0");
  const auto result = Handshake(To(server.port()));
  EXPECT_EQ(result.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(result.status().ToString(), HasSubstr("alert 70 (protocol version)"));
}

TEST_F(HandshakeTest, LooksAtWeakCertificatesToo) {
  workshop_.OpenSsl(
      "req -x509 -newkey rsa:1024 -sha1 -nodes -keyout leaf.key -subj /CN=weak -out leaf.pem");
  const Server server(workshop_, "-cipher DEFAULT:@SECLEVEL=0");
  const HandshakeResult result = Run(To(server.port()));
  ASSERT_EQ(result.served_chain.size(), 1u);
  EXPECT_EQ(result.served_chain.front().public_key().Description(), "RSA 1024");
}

TEST_F(HandshakeTest, RefusesImpossibleOptions) {
  HandshakeOptions options = To(1);
  options.client_chain = {friend_.certificate};
  EXPECT_EQ(Handshake(options).status().code(), absl::StatusCode::kInvalidArgument);
  options = To(1);
  options.alpn = {""};
  EXPECT_EQ(Handshake(options).status().code(), absl::StatusCode::kInvalidArgument);
  for (const int port : {0, -1, 65536}) {
    EXPECT_EQ(Handshake(To(port)).status().code(), absl::StatusCode::kInvalidArgument) << port;
  }
  const Server server(workshop_, "");
  options = To(server.port(), friend_);
  options.client_key = stranger_.key;
  EXPECT_EQ(Handshake(options).status().code(), absl::StatusCode::kInvalidArgument);
}

// A TCP server of this process that does with its one connection what it is told.
class PlainServer {
 public:
  explicit PlainServer(std::function<void(int)> serve) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener_, 1), 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, serve = std::move(serve)] {
      const int connection = accept(listener_, nullptr, nullptr);
      serve(connection);
      close(connection);
    });
  }
  ~PlainServer() {
    thread_.join();
    close(listener_);
  }
  int port() const { return port_; }

 private:
  int listener_ = -1;
  int port_ = 0;
  std::thread thread_;
};

TEST_F(HandshakeTest, TellsHowAServerFails) {
  const auto code_of = [&](std::function<void(int)> serve) {
    const PlainServer server(std::move(serve));
    HandshakeOptions options = To(server.port());
    options.timeout = absl::Milliseconds(500);
    return Handshake(options).status().code();
  };
  EXPECT_EQ(code_of([](int connection) {
              char hello[1];
              EXPECT_EQ(recv(connection, hello, 1, 0), 1);
              constexpr std::string_view kAnswer = "HTTP/1.1 400 Bad Request\r\n\r\n";
              EXPECT_GT(send(connection, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL), 0);
              char rest[4096];
              while (recv(connection, rest, sizeof(rest), 0) > 0) {
              }
            }),
            absl::StatusCode::kInternal);
  EXPECT_EQ(code_of([](int connection) {
              char hello[4096];
              while (recv(connection, hello, sizeof(hello), 0) > 0) {  // until we give up
              }
            }),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(code_of([](int connection) {
              char hello[4096];
              EXPECT_GT(recv(connection, hello, sizeof(hello), 0), 0);
            }),
            absl::StatusCode::kUnavailable);
}

TEST_F(HandshakeTest, NobodyListening) {
  const int port = [] {
    const PlainServer server([](int) {});
    const int free_port = server.port();
    const int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address{
        .sin_family = AF_INET, .sin_port = htons(free_port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    EXPECT_EQ(connect(s, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    close(s);
    return free_port;
  }();
  EXPECT_EQ(Handshake(To(port)).status().code(), absl::StatusCode::kUnavailable);
  HandshakeOptions nowhere = To(port);
  nowhere.host = "no-such-host.invalid";
  EXPECT_EQ(Handshake(nowhere).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace capstan::x509
