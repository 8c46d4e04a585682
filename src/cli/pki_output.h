// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "base/secret.h"
#include "x509/certificate.h"
#include "x509/csr.h"
#include "x509/key.h"

namespace capstan::cli {

struct OutputOptions {
  bool force = false;    // replace existing files
  bool dry_run = false;  // say what would be made, write nothing
  std::string format = "text";
};

// The files of one command. Nothing is written before everything is made and every name is known to
// be free; then all of it is written, or nothing: a failure on the way takes back what was done.
// "-" is standard output.
class PkiOutput {
 public:
  PkiOutput(OutputOptions options, std::ostream& out, std::ostream& err);

  // To be called for every file before the work begins. AlreadyExists: it is there and not to be
  // replaced. InvalidArgument: named twice, a folder, or "-" where the results are wanted as JSON.
  absl::Status Reserve(const std::string& path);
  // A folder that is made with the files where it is missing.
  void AddFolder(const std::string& path) { folders_.push_back(path); }

  // What a reserved path shall hold.
  void AddKey(const std::string& path, const x509::PrivateKey& key);
  void AddRequest(const std::string& path, const x509::Csr& csr);
  void AddRequestFile(const std::string& path, std::string_view text);
  void AddCertificate(const std::string& path, const x509::Certificate& certificate);
  void AddBundle(const std::string& path, const std::vector<x509::Certificate>& certificates);
  // An existing file's bytes once more.
  void AddCopy(const std::string& path, std::string_view bytes, std::string_view of);

  // Printed with the results, on standard error.
  void Warn(std::string text) { warnings_.push_back(std::move(text)); }

  // Writes the files and prints the results.
  absl::Status Finish();

 private:
  struct File {
    std::string path;
    std::string kind;  // "private key"
    mode_t mode = 0644;
    Secret bytes;
    std::string summary;   // for people
    nlohmann::json facts;  // for programs
    bool replaces = false;
  };

  File& Add(const std::string& path, std::string_view kind, std::string_view bytes);
  void PrintText() const;
  void PrintJson() const;
  std::string Action(const File& file) const;

  OutputOptions options_;
  std::ostream& out_;
  std::ostream& err_;
  std::vector<std::string> reserved_;
  std::vector<std::string> folders_;
  std::vector<File> files_;
  std::vector<std::string> warnings_;
};

std::string FormatUtc(absl::Time time);

}  // namespace capstan::cli
