// SPDX-License-Identifier: Apache-2.0
#include "rpc/control_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "base/files.h"
#include "rpc/control_client.h"
#include "rpc/server_fixture.h"

namespace capstan::rpc {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::Must;

class ControlServiceTest : public testing::ServerFixture {
 protected:
  ControlServiceTest() {
    std::filesystem::create_directories(folder_);
    std::filesystem::permissions(folder_, std::filesystem::perms::owner_all);
    server_->Shutdown();
  }
  ~ControlServiceTest() override {
    server_->Shutdown();
    std::filesystem::remove_all(folder_);
  }

  void Listen() { Start({.listen = "127.0.0.1:0", .operator_socket = socket_}); }
  absl::Status TryToListen(const std::string& socket) {
    return Server::Start({.listen = "127.0.0.1:0", .operator_socket = socket}, plane_, clock_)
        .status();
  }
  std::unique_ptr<ControlClient> Client() { return Must(ControlClient::Create(socket_)); }

  const std::string folder_ =
      ::testing::TempDir() + "capstan_control_" + std::to_string(::getpid());
  const std::string socket_ = folder_ + "/capstand.sock";
};

TEST_F(ControlServiceTest, CarriesEveryCall) {
  Listen();
  auto client = Client();
  EXPECT_EQ(client->GetStatus()->trust_domain(), "cluster.local");
  EXPECT_EQ(client->ListFleet()->workloads_size(), 0);
  control::v1::CreateTokenRequest request;
  request.set_spiffe_id("spiffe://cluster.local/ns/default/sa/sleep");
  EXPECT_THAT(client->CreateToken(request)->token(), ::testing::StartsWith("cjt_"));
}

TEST_F(ControlServiceTest, ARefusalKeepsItsCodeAndItsWords) {
  Listen();
  EXPECT_EQ(Client()->Reload().status(),
            absl::FailedPreconditionError("ca-key.pem: is not the key of ca-cert.pem"));
  EXPECT_EQ(Client()->CreateToken({}).status(), absl::InvalidArgumentError("not a SPIFFE ID"));
}

TEST_F(ControlServiceTest, CarriesARotation) {
  using Steer = control::v1::SteerRotationRequest;
  Listen();
  auto client = Client();
  EXPECT_EQ(client->GetRotation()->number(), 0);
  control::v1::StartRotationRequest request;
  EXPECT_EQ(client->PlanRotation(request).status(),
            absl::InvalidArgumentError("one of ca_files and generate is needed"));
  control::v1::RotationPlan plan;
  plan.set_population(7);
  plane_.SetPlan(plan);
  (*request.mutable_ca_files())["ca-key.pem"] = std::string("\0\xff key", 6);
  EXPECT_EQ(client->PlanRotation(request)->population(), 7);
  EXPECT_EQ(client->StartRotation(request)->number(), 1);
  ASSERT_EQ(plane_.starts().size(), 1u);
  EXPECT_EQ(plane_.starts()[0].ca_files().at("ca-key.pem"), std::string("\0\xff key", 6));
  EXPECT_EQ(client->GetRotation()->state(), "running");
  EXPECT_EQ(client->StartRotation(request).status(),
            absl::FailedPreconditionError("rotation 1 is under way"));
  Steer steer;
  steer.set_action(Steer::PAUSE);
  EXPECT_EQ(client->SteerRotation(steer)->state(), "paused");
  EXPECT_EQ(client->ListRotations()->rotations(0).state(), "paused");
}

TEST_F(ControlServiceTest, TheSocketIsPrivate) {
  Listen();
  struct stat found {};
  ASSERT_EQ(::stat(socket_.c_str(), &found), 0);
  EXPECT_TRUE(S_ISSOCK(found.st_mode));
  EXPECT_EQ(found.st_mode & 0777, 0600u);
}

TEST_F(ControlServiceTest, AnOpenFolderIsRefused) {
  std::filesystem::permissions(folder_, std::filesystem::perms(0755));
  const absl::Status status = TryToListen(socket_);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr(folder_));
}

TEST_F(ControlServiceTest, ALiveSocketIsNotTaken) {
  Listen();
  const absl::Status status = TryToListen(socket_);
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(status.message()), HasSubstr("another server listens"));
  EXPECT_TRUE(Client()->GetStatus().ok()) << "the first goes on";
}

TEST_F(ControlServiceTest, ADeadServersSocketIsReplaced) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ::close(fd);
  ASSERT_TRUE(FileExists(socket_));
  Listen();
  EXPECT_TRUE(Client()->GetStatus().ok());
}

TEST_F(ControlServiceTest, AFileInItsPlaceIsLeftAlone) {
  ASSERT_TRUE(WriteFileAtomically(socket_, "precious", 0600, Overwrite::kRefuse).ok());
  EXPECT_EQ(TryToListen(socket_).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(*ReadFile(socket_), "precious");
}

TEST_F(ControlServiceTest, APathTooLongForASocketIsRefused) {
  const std::string path = folder_ + "/" + std::string(108 - folder_.size() - 1, 'x');
  EXPECT_EQ(path.size(), 108u);
  EXPECT_EQ(TryToListen(path).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ControlClient::Create(path).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(TryToListen(path.substr(0, 107)).ok());
}

TEST_F(ControlServiceTest, TheSocketGoesWithTheServer) {
  Listen();
  server_->Shutdown();
  EXPECT_FALSE(FileExists(socket_));
}

TEST_F(ControlServiceTest, TheClientSaysWhatToDoWhenNobodyListens) {
  const absl::Status none = Client()->GetStatus().status();
  EXPECT_EQ(none.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(none.message()),
              AllOf(HasSubstr(socket_), HasSubstr("Start capstand"), HasSubstr("--socket")));
  ASSERT_TRUE(WriteFileAtomically(socket_, "", 0600, Overwrite::kRefuse).ok());
  EXPECT_FALSE(Client()->GetStatus().ok());
}

TEST_F(ControlServiceTest, TheClientComesThroughARestart) {
  Listen();
  auto client = Client();
  EXPECT_TRUE(client->GetStatus().ok());
  server_->Shutdown();
  EXPECT_EQ(client->GetStatus().status().code(), absl::StatusCode::kUnavailable);
  Listen();
  EXPECT_TRUE(Client()->GetStatus().ok());
}

}  // namespace
}  // namespace capstan::rpc
