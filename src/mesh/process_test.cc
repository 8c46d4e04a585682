// SPDX-License-Identifier: Apache-2.0
#include "mesh/process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/files.h"

namespace capstan::mesh {
namespace {

using ::testing::HasSubstr;

std::string LogPath() {
  return absl::StrCat(::testing::TempDir(), "process_test.", getpid());
}

TEST(Process, TellsHowItEnded) {
  auto process = Process::Start({.argv = {"sh", "-c", "exit 7"}, .log_path = LogPath()});
  ASSERT_TRUE(process.ok()) << process.status();
  ASSERT_TRUE(WaitFor(absl::Seconds(10), [&] { return (*process)->Ended().has_value(); }));
  EXPECT_EQ(*(*process)->Ended(), "exit code 7");
}

TEST(Process, AMissingProgramIsAnErrorAndNotAChildThatDies) {
  auto process = Process::Start({.argv = {"/no/such/program"}, .log_path = LogPath()});
  EXPECT_TRUE(absl::IsNotFound(process.status())) << process.status();
}

TEST(Process, StopEndsTheWholeGroupOfOneThatIgnoresSigterm) {
  auto process =
      Process::Start({.argv = {"sh", "-c", "trap '' TERM; sleep 1000 & echo child $!; wait; wait"},
                      .log_path = LogPath()});
  ASSERT_TRUE(process.ok()) << process.status();
  pid_t child = 0;
  ASSERT_TRUE(WaitFor(absl::Seconds(10), [&] {
    std::string said = ReadFile(LogPath()).value_or("");
    return sscanf(said.substr(said.find("child") + 1).c_str(), "hild %d", &child) == 1;
  }));
  (*process)->Stop(absl::Milliseconds(200));
  EXPECT_THAT(*(*process)->Ended(), HasSubstr("signal 9"));
  EXPECT_TRUE(WaitFor(absl::Seconds(10), [&] { return kill(child, 0) != 0; }));
  unlink(LogPath().c_str());
}

TEST(RunProgram, GivesTheOutputOrWhatWasSaid) {
  EXPECT_EQ(RunProgram({"echo", "hello"}).value(), "hello\n");
  absl::Status failed = RunProgram({"sh", "-c", "echo no such luck >&2; exit 3"}).status();
  EXPECT_THAT(std::string(failed.message()), HasSubstr("no such luck"));
  EXPECT_TRUE(
      absl::IsDeadlineExceeded(RunProgram({"sleep", "1000"}, absl::Milliseconds(100)).status()));
}

TEST(FreePort, CanBeListenedOn) {
  auto port = FreePort();
  ASSERT_TRUE(port.ok());
  EXPECT_GT(*port, 1023);
}

TEST(FreePort, IsNoneThatAnOutgoingConnectionTakes) {
  std::ifstream file("/proc/sys/net/ipv4/ip_local_port_range");
  int first = 0;
  ASSERT_TRUE(file >> first);
  for (int i = 0; i < 50; ++i) EXPECT_LT(FreePort().value(), first);
}

}  // namespace
}  // namespace capstan::mesh
