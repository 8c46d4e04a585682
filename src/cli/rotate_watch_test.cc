// SPDX-License-Identifier: Apache-2.0
#include "cli/rotate_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "cli/test_rotation.h"
#include "cli/wrap.h"

namespace capstan::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::WaitingRotation;

std::vector<std::string> Lines(const std::string& frame) {
  return absl::StrSplit(frame, '\n', absl::SkipEmpty());
}

TEST(WatchFrame, At80ColumnsShowsEverything) {
  control::v1::Rotation rotation = WaitingRotation();
  rotation.mutable_progress()->set_certificates_per_second(12.5);
  rotation.mutable_progress()->mutable_eta()->set_seconds(1772366400 + 200);
  EXPECT_EQ(WatchFrame(rotation, {.columns = 80, .rows = 24}, ""),
            "Rotation 3: waiting, 12m                                    2026-03-01T12:00:00Z\n"
            "✓ root-a   ● both-trusted   ○ new-issuer   ○ root-b\n"
            "both roots are trusted, the old authority signs\n"
            "\n"
            "gate  \"trust\" is shut until every consumer has acknowledged the bundle with the\n"
            "      new root\n"
            "      waiting for 1 absent, 1 laggard; spiffe://td/ns/a/sa/httpbin/one: Envoy x\n"
            "      (pid 7) has not acknowledged the bundle of sequence 4\n"
            "next  switch-issuer: let the new authority sign, and every leaf be re-issued\n"
            "\n"
            "acknowledged  ███████████████████████████████████████████░░░░░░░░░░░  8/10   80%\n"
            "proven        █████████████████████████████████████░░░░░░░░░░░░░░░░░  7/10   70%\n"
            "re-issued     ░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░  0/10    0%\n"
            "              12.5 a second, done in 3m20s\n"
            "\n"
            "laggard    spiffe://td/ns/a/sa/httpbin/one\n"
            "           Envoy x (pid 7) has not acknowledged the bundle of sequence 4; it\n"
            "           refused ROOTCA: Failed to load trusted CA\n"
            "absent     spiffe://td/ns/a/sa/sleep/two\n"
            "           its agent is not connected; last seen at 2026-03-01T09:00:00Z;\n"
            "           matters until 2026-03-01T23:00:00Z\n"
            "\n"
            "\n"
            "q or Ctrl-C leaves; the rotation goes on.\n");
}

TEST(WatchFrame, FitsAnyScreen) {
  control::v1::Rotation rotation = WaitingRotation();
  for (int i = 0; i < 30; ++i) *rotation.mutable_gate()->add_holders() = rotation.gate().holders(0);
  for (size_t columns : {1, 10, 20, 40, 80, 200}) {
    for (size_t rows : {1, 2, 5, 10, 19, 20, 21, 24, 60}) {
      for (bool unicode : {true, false}) {
        const auto lines =
            WatchFrame(rotation, {.columns = columns, .rows = rows, .unicode = unicode},
                       "capstand does not answer");
        EXPECT_LE(static_cast<size_t>(std::count(lines.begin(), lines.end(), '\n')), rows);
        for (const std::string& line : Lines(lines)) EXPECT_LE(TextWidth(line), columns) << line;
      }
    }
  }
}

TEST(WatchFrame, CountsWhoHasNoRoom) {
  control::v1::Rotation rotation = WaitingRotation();
  rotation.mutable_gate()->set_laggards(500);
  EXPECT_THAT(WatchFrame(rotation, {.columns = 80, .rows = 24}, ""),
              HasSubstr(" more: `capstan rotate explain` says what to do\n"));
}

TEST(WatchFrame, ColoursOnlyWhereWanted) {
  const control::v1::Rotation rotation = WaitingRotation();
  EXPECT_THAT(WatchFrame(rotation, {.color = false}, "trouble"), Not(HasSubstr("\033")));
  EXPECT_THAT(WatchFrame(rotation, {.color = true}, "trouble"),
              AllOf(HasSubstr("\033[33mRotation 3: waiting"), HasSubstr("\033[31mtrouble\033[0m")));
}

TEST(WatchFrame, PlainWhereTheTerminalIs) {
  EXPECT_THAT(WatchFrame(WaitingRotation(), {.unicode = false}, ""),
              AllOf(HasSubstr("[x] root-a   [>] both-trusted   [ ] new-issuer"),
                    HasSubstr("acknowledged  ####"), Not(HasSubstr("█"))));
}

TEST(WatchFrame, NothingThatCameFromOutsideMovesTheCursor) {
  control::v1::Rotation rotation = WaitingRotation();
  rotation.mutable_gate()->mutable_holders(0)->set_name("\x1b[2Jevil");
  rotation.mutable_gate()->mutable_holders(0)->set_why("\x1b[2Jevil\n\n");
  rotation.mutable_gate()->set_summary("\x1b[2J evil");
  rotation.set_next_step("\x1b[2J");
  EXPECT_THAT(WatchFrame(rotation, {}, "\x1b[2J"), Not(HasSubstr("\x1b")));
  EXPECT_THAT(WatchLine(rotation), Not(HasSubstr("\x1b")));
}

TEST(WatchLine, SaysItInOneLine) {
  EXPECT_EQ(WatchLine(WaitingRotation()),
            "2026-03-01T12:00:00Z rotation 3: waiting, both-trusted, next switch-issuer; waiting "
            "for 1 absent, 1 laggard; spiffe://td/ns/a/sa/httpbin/one: Envoy x (pid 7) has not "
            "acknowledged the bundle of sequence 4; acknowledged 8, proven 7, re-issued 0 of 10\n");
  control::v1::Rotation done = WaitingRotation();
  done.set_state("done");
  done.set_phase("root-b");
  EXPECT_EQ(WatchLine(done), "2026-03-01T12:00:00Z rotation 3: done, root-b; passed over: 1\n");
}

TEST(Changes, ToldAtOnceInWordsSlowlyInCounts) {
  Changes changes;
  control::v1::Rotation rotation = WaitingRotation();
  const auto later = [&](int seconds) {
    rotation.mutable_time()->set_seconds(rotation.time().seconds() + seconds);
    return changes.WorthALine(rotation);
  };
  EXPECT_TRUE(later(0));
  EXPECT_FALSE(later(60)) << "nothing changed";
  rotation.mutable_gate()->mutable_holders(0)->set_why("another reason");
  EXPECT_TRUE(later(1));
  rotation.mutable_progress()->set_acknowledged(9);
  EXPECT_FALSE(later(1)) << "a count, a second after a line";
  EXPECT_TRUE(later(10));
  rotation.mutable_gate()->clear_holders();
  rotation.mutable_gate()->clear_laggards();
  rotation.mutable_gate()->clear_absent();
  rotation.mutable_gate()->mutable_soak_left()->set_seconds(30);
  EXPECT_TRUE(later(1)) << "it soaks";
  rotation.mutable_gate()->mutable_soak_left()->set_seconds(29);
  EXPECT_FALSE(later(60)) << "it goes on soaking";
  rotation.set_phase("new-issuer");
  EXPECT_TRUE(later(0));
}

TEST(Wrap, CountsCharactersAndBreaksAtBlanks) {
  EXPECT_EQ(TextWidth("äb…"), 3u);
  EXPECT_EQ(Fit("äbcd", 4), "äbcd");
  EXPECT_EQ(Fit("äbcde", 4), "äbc…");
  EXPECT_EQ(Fit("abc", 1), "…");
  EXPECT_EQ(Fit("abc", 0), "");
  EXPECT_EQ(FitMiddle("äbcdefü", 7), "äbcdefü");
  EXPECT_EQ(FitMiddle("äbcdefü", 6), "äb…efü");
  EXPECT_EQ(FitMiddle("abc", 1), "…");
  EXPECT_EQ(FitMiddle("abc", 0), "");
  EXPECT_EQ(Paragraph("aa bb  cccccc d", 2, 7), "  aa bb\n  cccccc\n  d\n");
  EXPECT_EQ(Paragraph("", 2), "");
}

}  // namespace
}  // namespace capstan::cli
