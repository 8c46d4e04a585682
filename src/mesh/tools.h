// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace capstan::mesh {

// The programs a mesh on this machine is made of.
struct Tools {
  std::string envoy;
  std::string python;    // an interpreter that has httpbin and gunicorn
  std::string programs;  // the folder of capstand, capstan-agent and capstan
};

// `tools_dir` is what tools/install.sh fills: envoy and venv/bin/python. NotFound names what is
// missing and how to get it.
absl::StatusOr<Tools> FindTools(const std::string& tools_dir, const std::string& programs_dir);

// The folder of the running program.
std::string OwnFolder();

}  // namespace capstan::mesh
