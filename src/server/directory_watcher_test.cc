// SPDX-License-Identifier: Apache-2.0
#include "server/directory_watcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/random.h"
#include "server/ca_directory.h"

namespace capstan::server {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::IsEmpty;

// On a real directory and clock: what inotify tells is what is tested.
class DirectoryWatcherTest : public ::testing::Test {
 protected:
  DirectoryWatcherTest() { fs::create_directories(base_); }

  void Watch(absl::Duration rescan = absl::Minutes(10)) {
    Settler::Options options;
    options.rescan = rescan;
    options.quiet = absl::Milliseconds(60);
    options.between_looks = absl::Milliseconds(30);
    watcher_ = std::make_unique<DirectoryWatcher>(
        dir_.string(), options, RealClock(), [this](const absl::StatusOr<trust::CaFiles>& files) {
          absl::MutexLock lock(&mutex_);
          seen_.push_back(files.ok() ? *files : trust::CaFiles());
          Outcome outcome;
          outcome.changed = true;
          return absl::StatusOr<Outcome>(outcome);
        });
  }

  static void Write(const fs::path& path, const std::string& bytes) {
    std::ofstream(path) << bytes;
  }

  // Waits until the last thing seen is `files`.
  bool Sees(const trust::CaFiles& files) {
    absl::MutexLock lock(&mutex_);
    auto there = [&] {
      mutex_.AssertReaderHeld();
      return !seen_.empty() && seen_.back() == files;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&there), absl::Seconds(10));
  }

  const fs::path base_ =
      fs::path(::testing::TempDir()) / absl::StrCat("watch-", SystemRandom().Uuid());
  const fs::path dir_ = base_ / "cacerts";
  absl::Mutex mutex_;
  std::vector<trust::CaFiles> seen_;
  std::unique_ptr<DirectoryWatcher> watcher_;
};

TEST_F(DirectoryWatcherTest, PlainRewritesAndAppends) {
  fs::create_directory(dir_);
  Write(dir_ / "ca-cert.pem", "1");
  Write(dir_ / "unrelated", "1");
  Watch();
  EXPECT_TRUE(Sees({{"ca-cert.pem", "1"}}));
  Write(dir_ / "ca-cert.pem", "2");
  EXPECT_TRUE(Sees({{"ca-cert.pem", "2"}}));
  std::ofstream(dir_ / "ca-cert.pem", std::ios::app) << "3";
  EXPECT_TRUE(Sees({{"ca-cert.pem", "23"}}));
}

TEST_F(DirectoryWatcherTest, ADirectoryThatGoesAndComesBack) {
  fs::create_directory(dir_);
  Write(dir_ / "ca-cert.pem", "1");
  Watch();
  EXPECT_TRUE(Sees({{"ca-cert.pem", "1"}}));
  fs::remove_all(dir_);
  EXPECT_TRUE(Sees({}));
  fs::create_directory(dir_);
  Write(dir_ / "ca-cert.pem", "2");
  EXPECT_TRUE(Sees({{"ca-cert.pem", "2"}}));
}

TEST_F(DirectoryWatcherTest, ADirectoryThatIsNotThereYetNorItsParent) {
  fs::remove_all(base_);
  Watch();
  EXPECT_TRUE(Sees({}));
  fs::create_directories(dir_);
  Write(dir_ / "ca-cert.pem", "1");
  EXPECT_TRUE(Sees({{"ca-cert.pem", "1"}}));
}

TEST_F(DirectoryWatcherTest, AKubernetesMount) {
  fs::create_directories(dir_ / "..2025_1");
  Write(dir_ / "..2025_1" / "ca-cert.pem", "1");
  fs::create_directory_symlink("..2025_1", dir_ / "..data");
  fs::create_symlink("..data/ca-cert.pem", dir_ / "ca-cert.pem");
  Watch();
  EXPECT_TRUE(Sees({{"ca-cert.pem", "1"}}));
  for (int i = 2; i < 5; ++i) {
    std::string next = absl::StrCat("..2025_", i);
    fs::create_directory(dir_ / next);
    Write(dir_ / next / "ca-cert.pem", absl::StrCat(i));
    fs::create_directory_symlink(next, dir_ / "..data_tmp");
    fs::rename(dir_ / "..data_tmp", dir_ / "..data");
    fs::remove_all(dir_ / absl::StrCat("..2025_", i - 1));
    EXPECT_TRUE(Sees({{"ca-cert.pem", absl::StrCat(i)}}));
  }
}

TEST_F(DirectoryWatcherTest, ASwappedSymlinkToTheDirectoryAndFilesLinkedFromElsewhere) {
  fs::create_directories(base_ / "one");
  fs::create_directories(base_ / "elsewhere");
  Write(base_ / "elsewhere" / "real.pem", "1");
  fs::create_symlink(base_ / "elsewhere" / "real.pem", base_ / "one" / "ca-cert.pem");
  fs::create_directory_symlink("one", dir_);
  Watch();
  EXPECT_TRUE(Sees({{"ca-cert.pem", "1"}}));
  Write(base_ / "elsewhere" / "real.pem", "2");
  EXPECT_TRUE(Sees({{"ca-cert.pem", "2"}}));
  fs::create_directories(base_ / "two");
  Write(base_ / "two" / "ca-cert.pem", "3");
  fs::create_directory_symlink("two", base_ / "next");
  fs::rename(base_ / "next", dir_);
  EXPECT_TRUE(Sees({{"ca-cert.pem", "3"}}));
}

// What else happens in the folder around it must neither delay a look nor cause one.
TEST_F(DirectoryWatcherTest, ABusyNeighbourDoesNotMatter) {
  fs::create_directory(dir_);
  Write(dir_ / "ca-cert.pem", "1");
  Watch();
  EXPECT_TRUE(Sees({{"ca-cert.pem", "1"}}));
  std::atomic<bool> stop = false;
  std::thread neighbour([&] {
    while (!stop.load()) {
      std::ofstream(base_ / "answers", std::ios::app) << "200\n";
      std::ofstream(dir_ / "notes.txt") << "x";
      absl::SleepFor(absl::Milliseconds(5));
    }
  });
  absl::SleepFor(absl::Milliseconds(100));
  Write(dir_ / "ca-cert.pem", "2");
  EXPECT_TRUE(Sees({{"ca-cert.pem", "2"}}));
  stop = true;
  neighbour.join();
  absl::MutexLock lock(&mutex_);
  EXPECT_EQ(seen_.size(), 2u);
}

TEST_F(DirectoryWatcherTest, AFileThatIsWrittenSlowlyIsSeenWhole) {
  fs::create_directory(dir_);
  Watch();
  EXPECT_TRUE(Sees({}));
  std::ofstream slow(dir_ / "ca-cert.pem");
  for (int i = 0; i < 40; ++i) {
    slow << "part" << std::flush;
    absl::SleepFor(absl::Milliseconds(5));
  }
  slow.close();
  std::string whole;
  for (int i = 0; i < 40; ++i) whole += "part";
  EXPECT_TRUE(Sees({{"ca-cert.pem", whole}}));
  absl::MutexLock lock(&mutex_);
  EXPECT_EQ(seen_.size(), 2u);
}

TEST_F(DirectoryWatcherTest, ReloadAnswersWithTheOutcome) {
  fs::create_directory(dir_);
  Write(dir_ / "ca-cert.pem", "1");
  Watch();
  EXPECT_TRUE(Sees({{"ca-cert.pem", "1"}}));
  absl::StatusOr<Outcome> outcome = watcher_->ReloadNow();
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_TRUE(outcome->changed);
  absl::MutexLock lock(&mutex_);
  EXPECT_GE(seen_.size(), 2u);
}

TEST_F(DirectoryWatcherTest, StopsAtOnce) {
  Watch();
  watcher_.reset();
}

TEST(CaDirectoryTest, ReadsOnlyCaFiles) {
  const fs::path dir = fs::path(::testing::TempDir()) / absl::StrCat("ca-", SystemRandom().Uuid());
  EXPECT_THAT(*CaDirectory(dir.string()).Read(), IsEmpty());
  fs::create_directory(dir);
  std::ofstream(dir / "tls.crt") << "x";
  std::ofstream(dir / "notes.txt") << "x";
  EXPECT_THAT(*CaDirectory(dir.string()).Read(),
              ::testing::ElementsAre(::testing::Pair("tls.crt", "x")));
  EXPECT_NE(DigestOf({{"a", "bc"}}), DigestOf({{"ab", "c"}}));
  fs::create_directory(dir / "tls.key");
  EXPECT_FALSE(CaDirectory(dir.string()).Read().ok());
}

}  // namespace
}  // namespace capstan::server
