// SPDX-License-Identifier: Apache-2.0
// docs/rotation.md has a row for every finding of the pre-flight, and for no other.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/files.h"
#include "base/strings.h"
#include "rotation/preflight.h"

namespace capstan::rotation {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

// The rows of the table in the section of that heading, each as its cells.
std::vector<std::vector<std::string>> RowsOf(const std::string& page, const std::string& heading) {
  std::vector<std::vector<std::string>> rows;
  bool here = false;
  for (const auto line : absl::StrSplit(page, '\n')) {
    if (absl::StartsWith(line, "#")) here = line == heading;
    if (!here || !absl::StartsWith(line, "| `")) continue;
    std::vector<std::string> cells = absl::StrSplit(line, " | ");
    rows.push_back(std::move(cells));
  }
  return rows;
}

TEST(PreflightDocs, EveryCodeHasItsRowAndEveryRowACode) {
  const absl::StatusOr<std::string> page =
      ReadFile(absl::StrCat(CAPSTAN_SOURCE_DIR, "/docs/rotation.md"));
  ASSERT_TRUE(page.ok()) << page.status();
  std::vector<std::string> documented;
  for (const std::vector<std::string>& row : RowsOf(*page, "### The pre-flight")) {
    EXPECT_THAT(row, SizeIs(4)) << row[0];  // code, severity, meaning, remedy
    EXPECT_THAT(row, Not(::testing::Contains(""))) << row[0];
    const std::vector<std::string> codes = absl::StrSplit(row[0], '`');
    for (size_t i = 1; i < codes.size(); i += 2) documented.push_back(codes[i]);
  }
  std::sort(documented.begin(), documented.end());
  EXPECT_THAT(documented, ::testing::ElementsAreArray(FindingCodes()));
}

TEST(PreflightDocs, CodesAreInOrderAndEachIsFoundSomewhere) {
  const std::vector<std::string_view> codes = FindingCodes();
  EXPECT_TRUE(std::is_sorted(codes.begin(), codes.end()));
  std::string sources;
  for (const char* file :
       {"rotation/preflight_collisions.cc", "rotation/preflight_keys.cc",
        "rotation/preflight_pairs.cc", "rotation/preflight_shape.cc", "rotation/preflight_sizes.cc",
        "rotation/preflight_validity.cc", "rotation/preflight_way.cc", "server/canary_view.cc"}) {
    const absl::StatusOr<std::string> source =
        ReadFile(absl::StrCat(CAPSTAN_SOURCE_DIR, "/src/", file));
    ASSERT_TRUE(source.ok()) << source.status();
    sources += *source;
  }
  for (const std::string_view code : codes) {
    EXPECT_THAT(sources, HasSubstr(absl::StrCat("\"", code, "\""))) << "nobody finds it";
  }
}

}  // namespace
}  // namespace capstan::rotation
