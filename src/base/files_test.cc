// SPDX-License-Identifier: Apache-2.0
#include "base/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

namespace capstan {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class FilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "files_test." + std::to_string(getpid());
    std::filesystem::remove_all(folder_);
    ASSERT_TRUE(MakePrivateDirectory(folder_).ok());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string Path(const std::string& name) { return folder_ + "/" + name; }
  static mode_t Mode(const std::string& path) {
    struct stat st;
    return stat(path.c_str(), &st) == 0 ? st.st_mode & 07777 : 0;
  }
  std::string folder_;
};

TEST_F(FilesTest, ReadsWhatWasWrittenWithTheModeAskedForWhateverTheUmask) {
  mode_t before = umask(0);
  ASSERT_TRUE(WriteFileAtomically(Path("key"), "secret", 0600, Overwrite::kRefuse).ok());
  umask(before);
  EXPECT_EQ(ReadFile(Path("key")).value(), "secret");
  EXPECT_EQ(Mode(Path("key")), 0600u);
}

TEST_F(FilesTest, RefusesToOverwriteAndLeavesTheOldBytes) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "old", 0600, Overwrite::kRefuse).ok());
  absl::Status refused = WriteFileAtomically(Path("a"), "new", 0600, Overwrite::kRefuse);
  EXPECT_TRUE(absl::IsAlreadyExists(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("--force"));
  EXPECT_EQ(ReadFile(Path("a")).value(), "old");
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "new", 0600, Overwrite::kReplace).ok());
  EXPECT_EQ(ReadFile(Path("a")).value(), "new");
}

TEST_F(FilesTest, LeavesNoTemporaryFiles) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "1", 0600, Overwrite::kRefuse).ok());
  EXPECT_FALSE(WriteFileAtomically(Path("a"), "2", 0600, Overwrite::kRefuse).ok());
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "3", 0600, Overwrite::kReplace).ok());
  EXPECT_FALSE(WriteFileAtomically(Path("missing/a"), "4", 0600, Overwrite::kReplace).ok());
  EXPECT_THAT(ListDirectory(folder_).value(), ElementsAre("a"));
}

TEST_F(FilesTest, BoundsWhatItReads) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "12345", 0600, Overwrite::kRefuse).ok());
  EXPECT_TRUE(ReadFile(Path("a"), 5).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(ReadFile(Path("a"), 4).status()));
  EXPECT_TRUE(absl::IsNotFound(ReadFile(Path("b")).status()));
  EXPECT_FALSE(ReadFile(folder_).ok());
}

TEST_F(FilesTest, MakesFoldersThatOthersCannotEnterAndRefusesOpenOnes) {
  ASSERT_TRUE(MakePrivateDirectory(Path("x/y")).ok());
  EXPECT_EQ(Mode(Path("x/y")), 0700u);
  EXPECT_TRUE(MakePrivateDirectory(Path("x/y")).ok());
  chmod(Path("x/y").c_str(), 0750);
  absl::Status refused = MakePrivateDirectory(Path("x/y"));
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("chmod 700"));
}

}  // namespace
}  // namespace capstan
