// SPDX-License-Identifier: Apache-2.0
// The syntax of OpenSSL's configuration files (config(5)), as far as request files need it:
// sections of NAME = VALUE lines, comments, quotes and backslashes. What OpenSSL would do beyond
// that (variables, includes, continued lines) is refused with the line, never misread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace capstan::x509 {

struct ConfEntry {
  std::string key;
  std::string value;  // without comment, quotes and escapes
  int line = 0;       // from 1
};

struct ConfSection {
  std::string name;
  int line = 0;
  std::vector<ConfEntry> entries;  // no key twice

  const ConfEntry* Find(std::string_view key) const;
};

// The sections in the order of the text, no name twice. InvalidArgument: "line N: …".
absl::StatusOr<std::vector<ConfSection>> ParseConf(std::string_view text);

// `value` as it is written to the right of the "=": OpenSSL and ParseConf read the same text back.
// InvalidArgument for what a line cannot hold: control characters, blanks at its ends, nothing.
absl::StatusOr<std::string> ToConfValue(std::string_view value);

// InvalidArgument "line N: MESSAGE".
absl::Status ErrorAtLine(int line, std::string_view message);

}  // namespace capstan::x509
