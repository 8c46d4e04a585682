// SPDX-License-Identifier: Apache-2.0
#include "mesh/tools.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/files.h"

namespace capstan::mesh {

absl::StatusOr<Tools> FindTools(const std::string& tools_dir, const std::string& programs_dir) {
  Tools tools{.envoy = absl::StrCat(tools_dir, "/envoy"),
              .python = absl::StrCat(tools_dir, "/venv/bin/python"),
              .programs = programs_dir};
  for (const std::string& path :
       {tools.envoy, tools.python, absl::StrCat(programs_dir, "/capstand"),
        absl::StrCat(programs_dir, "/capstan-agent"), absl::StrCat(programs_dir, "/capstan")}) {
    if (!FileExists(path)) {
      return absl::NotFoundError(absl::StrCat(
          path,
          " is not there: ./dev demo installs and builds what it needs, or name the folder of "
          "Envoy and Python with --tools"));
    }
  }
  return tools;
}

std::string OwnFolder() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path().string();
}

}  // namespace capstan::mesh
