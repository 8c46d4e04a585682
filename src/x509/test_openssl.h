// SPDX-License-Identifier: Apache-2.0
// The openssl program as a second opinion, in a folder that vanishes. For tests.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

namespace capstan::x509::testing {

inline bool HasOpenSsl() {
  return std::system("openssl version >/dev/null 2>&1") == 0;
}

class Workshop {
 public:
  Workshop() {
    std::string pattern = (std::filesystem::temp_directory_path() / "x509_test_XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) {
      std::abort();
    }
    folder_ = pattern;
  }
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;
  ~Workshop() { std::filesystem::remove_all(folder_); }

  const std::string& folder() const { return folder_; }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  void Write(const std::string& name, std::string_view bytes) const {
    std::ofstream(Path(name), std::ios::binary) << bytes;
  }
  std::string Read(const std::string& name) const {
    std::ifstream stream(Path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  // Runs "openssl ARGUMENTS" in the folder; gives back what it printed, on either stream.
  std::string OpenSsl(const std::string& arguments) const { return Run("openssl " + arguments); }

  // The same for commands that must succeed, and for those that must not.
  std::string Run(const std::string& command) const {
    int status = 0;
    std::string output = Shell(command, status);
    EXPECT_EQ(status, 0) << command << "\n" << output;
    return output;
  }
  std::string RunFailing(const std::string& command) const {
    int status = 0;
    std::string output = Shell(command, status);
    EXPECT_NE(status, 0) << command << "\n" << output;
    return output;
  }

 private:
  std::string Shell(const std::string& command, int& status) const {
    const std::string line = "cd '" + folder_ + "' && ( " + command + " ) 2>&1 </dev/null";
    FILE* pipe = popen(line.c_str(), "r");
    std::string output;
    char buffer[4096];
    for (size_t n = 0; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) {
      output.append(buffer, n);
    }
    status = WEXITSTATUS(pclose(pipe));
    return output;
  }

  std::string folder_;
};

}  // namespace capstan::x509::testing
