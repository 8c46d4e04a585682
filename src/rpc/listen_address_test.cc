// SPDX-License-Identifier: Apache-2.0
#include "rpc/listen_address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "rpc/server_fixture.h"

namespace capstan::rpc {
namespace {

using ::testing::HasSubstr;

TEST(ListenAddress, IsAnIpAndAPort) {
  EXPECT_TRUE(CheckListenAddress("127.0.0.1:0").ok());
  EXPECT_TRUE(CheckListenAddress("0.0.0.0:0").ok());
  for (const char* bad : {"", ":", ":15012", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x",
                          "127.0.0.1:65536", "127.0.0.1:-1", "localhost:15012"}) {
    EXPECT_EQ(CheckListenAddress(bad).code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(ListenAddress, AnAddressOfAnotherMachineIsNamed) {
  const absl::Status status = CheckListenAddress("192.0.2.1:0");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("192.0.2.1:0: Cannot assign"));
}

class ListenTest : public testing::ServerFixture {};

TEST_F(ListenTest, APortIsNotSharedWithAnotherServer) {
  const std::string taken = "127.0.0.1:" + std::to_string(server_->port());
  const absl::Status status = Server::Start({.listen = taken}, plane_, clock_).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()),
              ::testing::AllOf(HasSubstr(taken), HasSubstr("in use")));
}

TEST_F(ListenTest, ShuttingDownTwiceIsOnce) {
  server_->Shutdown();
  server_->Shutdown();
}

}  // namespace
}  // namespace capstan::rpc
