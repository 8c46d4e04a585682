// SPDX-License-Identifier: Apache-2.0
// `capstan rotate` as it is typed, against a server with a fake control plane on a Unix socket.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/files.h"
#include "cli/commands.h"
#include "cli/terminal.h"
#include "cli/test_rotation.h"
#include "cli/usage.h"
#include "rpc/server_fixture.h"
#include "trust/testing.h"

namespace capstan::cli {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Steer = control::v1::SteerRotationRequest;
using testing::WaitingRotation;

class RotateTest : public rpc::testing::ServerFixture {
 protected:
  RotateTest() {
    fs::create_directories(folder_);
    fs::permissions(folder_, fs::perms::owner_all);
    server_->Shutdown();
    Start({.listen = "127.0.0.1:0", .operator_socket = socket_});
  }
  ~RotateTest() override {
    server_->Shutdown();
    fs::remove_all(folder_);
  }

  struct Result {
    int code;
    std::string out;
    std::string err;
  };
  Result Rotate(std::vector<std::string> arguments) {
    CLI::App app("", "capstan");
    AddRotateCommands(app, {});
    AddPkiCommands(app);
    return Run(app, std::move(arguments), {"--socket", socket_});
  }
  static Result Run(CLI::App& app, std::vector<std::string> arguments,
                    const std::vector<std::string>& more) {
    std::vector<const char*> argv = {"capstan", "rotate"};
    for (const std::string& argument : arguments) argv.push_back(argument.c_str());
    for (const std::string& argument : more) argv.push_back(argument.c_str());
    std::ostringstream err;
    std::ostringstream out;
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    const int code = RunProgram(app, static_cast<int>(argv.size()), argv.data(), out, err);
    const std::string printed = ::testing::internal::GetCapturedStdout();
    const std::string complained = ::testing::internal::GetCapturedStderr();
    return {code, out.str() + printed, err.str() + complained};
  }

  // A plug-in CA in Istio's layout.
  std::string WriteCa(const std::string& name) {
    const std::string directory = folder_ + "/" + name;
    fs::create_directories(directory);
    for (const auto& [file, bytes] : trust::testing::TestPki::Make().Files()) {
      EXPECT_TRUE(
          WriteFileAtomically(absl::StrCat(directory, "/", file), bytes, 0600, Overwrite::kReplace)
              .ok());
    }
    return directory;
  }

  const std::string folder_ = ::testing::TempDir() + "capstan_rotate_" + std::to_string(::getpid());
  const std::string socket_ = folder_ + "/capstand.sock";
};

TEST_F(RotateTest, PlanVerifiesHereAndAsksThere) {
  control::v1::RotationPlan plan;
  plan.set_population(12);
  plane_.SetPlan(plan);
  const Result planned = Rotate({"plan", "--to", WriteCa("b")});
  EXPECT_EQ(planned.code, kDone) << planned.err;
  EXPECT_THAT(planned.out, HasSubstr("12 hold an unexpired certificate"));
  EXPECT_THAT(plane_.starts(), IsEmpty());
  plan.add_findings()->set_severity("error");
  plane_.SetPlan(plan);
  EXPECT_EQ(Rotate({"plan", "--generate"}).code, kNo);
  EXPECT_EQ(Rotate({"plan", "--from-upstream"}).code, kNo);
}

TEST_F(RotateTest, ABrokenCaCostsNothing) {
  const std::string ca = WriteCa("b");
  fs::remove(ca + "/ca-key.pem");
  const Result missing = Rotate({"start", "--to", ca});
  EXPECT_EQ(missing.code, kUsage);
  EXPECT_THAT(missing.err, AllOf(HasSubstr("--to " + ca), HasSubstr("ca-key.pem")));
  EXPECT_THAT(Rotate({"start", "--to", folder_ + "/none"}).err, HasSubstr("no CA files: expected"));
  EXPECT_THAT(plane_.starts(), IsEmpty());
}

TEST_F(RotateTest, CrlsAreOnlyParsedHere) {
  const std::string ca = WriteCa("b");
  const auto other = trust::testing::TestPki::Make("elsewhere");
  const auto write = [&](const std::string& bytes) {
    ASSERT_TRUE(WriteFileAtomically(ca + "/ca-crl.pem", bytes, 0600, Overwrite::kReplace).ok());
  };
  write(trust::testing::MakeCrl(other.root).ToPem());
  EXPECT_EQ(Rotate({"start", "--to", ca}).code, kDone) << "capstand knows who signed it";
  EXPECT_EQ(plane_.starts()[0].ca_files().count("ca-crl.pem"), 1u);
  write("garbage");
  EXPECT_THAT(Rotate({"plan", "--to", ca}).err, HasSubstr("ca-crl.pem"));
}

TEST_F(RotateTest, StartSendsFilesAndPolicy) {
  const std::string ca = WriteCa("b");
  const Result started = Rotate({"start", "--to", ca, "--soak", "10m", "--absent", "wait",
                                 "--require", "proven", "--budget", "12.5"});
  EXPECT_EQ(started.code, kDone) << started.err;
  EXPECT_THAT(started.out, AllOf(HasSubstr("Rotation 1 has started."),
                                 HasSubstr("capstan rotate watch --socket " + socket_)));
  ASSERT_EQ(plane_.starts().size(), 1u);
  const control::v1::StartRotationRequest request = plane_.starts()[0];
  EXPECT_EQ(request.ca_files().size(), 4u);
  EXPECT_EQ(request.ca_files().at("ca-key.pem"), *ReadFile(ca + "/ca-key.pem"));
  EXPECT_FALSE(request.emergency());
  EXPECT_EQ(request.policy().soak().seconds(), 600);
  EXPECT_EQ(request.policy().absent_deadline().seconds(), 315'576'000'000);
  EXPECT_TRUE(request.policy().require_proven());
  EXPECT_EQ(request.policy().issue_per_second(), 12.5);
  const Result again = Rotate({"start", "--generate"});
  EXPECT_EQ(again.code, kUsage);
  EXPECT_THAT(again.err, HasSubstr("rotation 1 is under way"));
}

TEST_F(RotateTest, ACanaryIsSent) {
  EXPECT_EQ(Rotate({"start", "--generate", "--canary", "namespace=web"}).code, kDone);
  ASSERT_EQ(plane_.starts().size(), 1u);
  EXPECT_EQ(plane_.starts()[0].canary(), "namespace=web");
}

TEST_F(RotateTest, AnEmergencyIsConfirmed) {
  const Result refused = Rotate({"start", "--generate", "--emergency"});
  EXPECT_EQ(refused.code, kUsage);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("EMERGENCY ROTATION"), HasSubstr("--yes")));
  EXPECT_THAT(plane_.starts(), IsEmpty());
  EXPECT_EQ(Rotate({"start", "--generate", "--emergency", "--yes"}).code, kDone);
  ASSERT_EQ(plane_.starts().size(), 1u);
  EXPECT_TRUE(plane_.starts()[0].emergency());
}

TEST_F(RotateTest, StatusAndExplainTellInTheirCodes) {
  EXPECT_EQ(Rotate({"status"}).code, kDone);
  plane_.SetRotation(WaitingRotation());
  for (const std::string command : {"status", "explain"}) {
    EXPECT_EQ(Rotate({command}).code, kWaiting);
    const Result json = Rotate({command, "-o", "json"});
    EXPECT_EQ(json.code, kWaiting);
    EXPECT_EQ(nlohmann::json::parse(json.out)["gate"]["holders"][1]["kind"], "absent");
  }
  EXPECT_THAT(Rotate({"explain"}).out, HasSubstr("Is it safe to remove the old root now?\n  NO"));
}

TEST_F(RotateTest, SteersWithReasons) {
  plane_.SetRotation(WaitingRotation());
  EXPECT_EQ(Rotate({"pause", "--reason", "freeze"}).code, kDone);
  EXPECT_EQ(Rotate({"resume"}).code, kDone);
  const Result excluded =
      Rotate({"exclude", "spiffe://td/ns/a/sa/sleep/two", "--reason", "switched off"});
  EXPECT_EQ(excluded.code, kDone);
  EXPECT_THAT(excluded.out, HasSubstr("Passed over from now on"));
  EXPECT_EQ(Rotate({"rollback"}).code, kDone);
  const Result late = Rotate({"abort"});
  EXPECT_EQ(late.code, kUsage);
  EXPECT_THAT(late.err, HasSubstr("no rotation is under way"));
  const std::vector<Steer> steers = plane_.steers();
  ASSERT_EQ(steers.size(), 4u);
  EXPECT_EQ(steers[0].action(), Steer::PAUSE);
  EXPECT_EQ(steers[0].reason(), "freeze");
  EXPECT_EQ(steers[2].name(), "spiffe://td/ns/a/sa/sleep/two");
  EXPECT_EQ(steers[2].reason(), "switched off");
  EXPECT_EQ(steers[3].action(), Steer::ROLLBACK);
  EXPECT_EQ(Rotate({"status"}).code, kRolledBack);
}

TEST_F(RotateTest, WatchEndsWithTheRotation) {
  plane_.SetRotation(WaitingRotation());
  std::thread ends([this] {
    WaitPlainly(absl::Milliseconds(300));
    control::v1::Rotation done = WaitingRotation();
    done.set_state("done");
    plane_.SetRotation(done);
  });
  const Result watched = Rotate({"watch"});
  ends.join();
  EXPECT_EQ(watched.code, kDone);
  EXPECT_THAT(watched.out, AllOf(HasSubstr("rotation 3: waiting, both-trusted"),
                                 HasSubstr("rotation 3: done"), Not(HasSubstr("\033"))));
}

TEST_F(RotateTest, WatchStopsWhenTheTimeIsUp) {
  plane_.SetRotation(WaitingRotation());
  const Result watched = Rotate({"watch", "--timeout", "200ms", "-o", "json"});
  EXPECT_EQ(watched.code, kWaiting);
  EXPECT_THAT(watched.err, HasSubstr("rotation 3 has not ended within 200ms; it goes on"));
  EXPECT_EQ(nlohmann::json::parse(watched.out)["number"], "3") << "one line";
}

TEST_F(RotateTest, WatchLivesThroughARestart) {
  plane_.SetRotation(WaitingRotation());
  std::thread restarts([this] {
    WaitPlainly(absl::Milliseconds(300));
    server_->Shutdown();
    WaitPlainly(absl::Milliseconds(1500));
    control::v1::Rotation rotation = WaitingRotation();
    rotation.set_state("rolled-back");
    plane_.SetRotation(rotation);
    Start({.listen = "127.0.0.1:0", .operator_socket = socket_});
  });
  const Result watched = Rotate({"watch"});
  restarts.join();
  EXPECT_EQ(watched.code, kRolledBack);
  EXPECT_THAT(watched.err,
              AllOf(HasSubstr("no capstand listens here"), HasSubstr("capstand answers again")));
}

TEST_F(RotateTest, HistoryHasTheRotation) {
  plane_.SetRotation(WaitingRotation());
  EXPECT_THAT(Rotate({"history", "--journal"}).out,
              AllOf(HasSubstr("Rotation 3 did not wait for"), HasSubstr("The journal is empty.")));
  EXPECT_THAT(Rotate({"history"}).out, Not(HasSubstr("journal")));
}

TEST_F(RotateTest, WithoutCapstandSaysWhatToDo) {
  server_->Shutdown();
  const Result status = Rotate({"status"});
  EXPECT_EQ(status.code, kFailed);
  EXPECT_THAT(status.err, HasSubstr("Start capstand"));
}

TEST_F(RotateTest, RefusesCommandLinesThatMeanNothing) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"plan"}, "one of --to DIR"},
      {{"plan", "--to", "x", "--generate"}, "one of --to DIR"},
      {{"plan", "--from-upstream", "--generate"}, "one of --to DIR"},
      {{"plan", "--to", "x", "--intermediate"}, "--intermediate goes with --generate"},
      {{"plan", "--generate", "--soak", "soon"}, "--soak \"soon\" is no duration, such as 30s"},
      {{"plan", "--generate", "--absent", "-1h"}, "--absent \"-1h\" is no duration"},
      {{"plan", "--generate", "--require", "hope"}, "--require"},
      {{"plan", "--generate", "--budget", "-1"}, "--budget is a number"},
      {{"start", "--generate", "--canary", "web"}, "namespace=NAME, or percent=N"},
      {{"plan", "--generate", "--canary", "percent=200"}, "no such percentage"},
      {{"start", "--generate", "--timeout", "0s"}, "--timeout \"0s\" is no duration"},
      {{"exclude", "--reason", "x"}, "NAME"},
      {{"exclude", "x"}, "--reason"},
      {{"explane"}, "did you mean explain?"},
      {{"start", "--generat"}, "did you mean --generate?"},
  };
  for (const auto& [arguments, expected] : cases) {
    const Result result = Rotate(arguments);
    EXPECT_EQ(result.code, kUsage) << expected;
    EXPECT_THAT(result.err, HasSubstr(expected));
  }
  EXPECT_THAT(plane_.starts(), IsEmpty());
}

TEST_F(RotateTest, EveryCommandExplainsItself) {
  for (const std::string command : {"plan", "start", "status", "watch", "explain", "pause",
                                    "resume", "rollback", "abort", "exclude", "history"}) {
    const Result help = Rotate({command, "--help"});
    EXPECT_EQ(help.code, kDone) << command;
    EXPECT_THAT(help.out,
                AllOf(HasSubstr("examples:\n  capstan rotate " + command), HasSubstr("--output")));
  }
  for (const std::string command : {"status", "watch", "explain"}) {
    EXPECT_THAT(Rotate({command, "--help"}).out,
                AllOf(HasSubstr("10 running"), HasSubstr("13 rolled back or aborted")));
  }
}

}  // namespace
}  // namespace capstan::cli
