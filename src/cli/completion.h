// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace capstan::cli {

// Completion scripts for the commands, flags and fixed values of `app`, as they are now.
std::string BashCompletion(CLI::App& app);
std::string ZshCompletion(CLI::App& app);
std::string FishCompletion(CLI::App& app);

}  // namespace capstan::cli
