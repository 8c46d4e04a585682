// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace capstan::log {

enum class Level { kDebug, kInfo, kWarn, kError, kOff };  // kOff: for Configure() alone
enum class Format { kText, kJson };

// One named value beside a message. Never a secret or a token.
struct Field {
  template <typename T>
  Field(std::string_view k, const T& v) : key(k), value(absl::StrCat(v)) {}
  std::string_view key;
  std::string value;
};
using Fields = std::initializer_list<Field>;

// Where lines go, once per process, before the first line. Default: text, info, standard error.
void Configure(Format format, Level least);

// text: 2025-05-12T16:48:20.480476Z<TAB>info<TAB>message<TAB>key=value …  (values quoted when they
//       hold blanks), the layout of istiod's own log;
// json: {"time":…,"level":…,"message":…,"key":"value",…} on one line.
// Thread-safe; a line is written in one piece.
void Write(Level level, std::string_view message, Fields fields = {});

inline void Debug(std::string_view message, Fields fields = {}) {
  Write(Level::kDebug, message, fields);
}
inline void Info(std::string_view message, Fields fields = {}) {
  Write(Level::kInfo, message, fields);
}
inline void Warn(std::string_view message, Fields fields = {}) {
  Write(Level::kWarn, message, fields);
}
inline void Error(std::string_view message, Fields fields = {}) {
  Write(Level::kError, message, fields);
}

absl::StatusOr<Level> ParseLevel(std::string_view name);    // debug, info, warn, error
absl::StatusOr<Format> ParseFormat(std::string_view name);  // text, json

// The line without its newline, for tests.
std::string Render(Format format, std::string_view time, Level level, std::string_view message,
                   Fields fields);

}  // namespace capstan::log
