// SPDX-License-Identifier: Apache-2.0
// `capstan pki` in a folder that vanishes. For tests.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_join.h"
#include "cli/commands.h"
#include "cli/usage.h"
#include "x509/certificate.h"
#include "x509/test_openssl.h"

namespace capstan::cli {

// Collects what is printed to a stream while it lives.
class Captured {
 public:
  explicit Captured(std::ostream& stream) : stream_(stream), old_(stream.rdbuf(text_.rdbuf())) {}
  ~Captured() { stream_.rdbuf(old_); }
  std::string text() const { return text_.str(); }

 private:
  std::ostringstream text_;
  std::ostream& stream_;
  std::streambuf* old_;
};

class PkiTest : public ::testing::Test {
 protected:
  struct Result {
    int code;
    std::string out;
    std::string err;
  };

  void SetUp() override {
    before_ = std::filesystem::current_path();
    std::filesystem::current_path(workshop_.folder());
  }
  void TearDown() override { std::filesystem::current_path(before_); }

  // Runs `capstan pki ARGUMENTS`.
  Result Pki(std::vector<std::string> arguments) {
    CLI::App app("capstan", "capstan");
    app.require_subcommand(1);
    AddPkiCommands(app);
    std::vector<const char*> argv = {"capstan", "pki"};
    for (const std::string& argument : arguments) argv.push_back(argument.c_str());
    Captured out(std::cout);
    Captured err(std::cerr);
    const int code =
        RunProgram(app, static_cast<int>(argv.size()), argv.data(), std::cout, std::cerr);
    return {code, out.text(), err.text()};
  }
  void MustPki(std::vector<std::string> arguments) {
    const Result result = Pki(arguments);
    ASSERT_EQ(result.code, kDone) << absl::StrJoin(arguments, " ") << "\n" << result.err;
  }

  void OpenSsl(const std::string& arguments) { workshop_.OpenSsl(arguments); }
  std::string Read(const std::string& path) { return workshop_.Read(path); }
  void Write(const std::string& path, std::string_view text) { workshop_.Write(path, text); }
  x509::Certificate Load(const std::string& path) {
    auto certificates = x509::ParsePemCertificates(Read(path));
    EXPECT_TRUE(certificates.ok()) << path << ": " << certificates.status();
    return certificates->front();
  }
  mode_t ModeOf(const std::string& path) {
    struct stat st;
    return stat(path.c_str(), &st) == 0 ? st.st_mode & 07777 : 0;
  }
  std::vector<std::string> Files() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(".")) {
      if (entry.is_regular_file()) names.push_back(entry.path().lexically_normal().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  // A root of 2048 bits, quick to make.
  void MakeRoot() { MustPki({"root-ca", "--rootca-keysz", "2048"}); }

 private:
  const x509::testing::Workshop workshop_;
  std::filesystem::path before_;
};

}  // namespace capstan::cli
