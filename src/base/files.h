// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace capstan {

// The largest file any of our readers accepts unless it says otherwise.
inline constexpr size_t kMaxFileBytes = 16 << 20;

// Errors carry the path. NotFound: no such file. InvalidArgument: larger than `max_bytes`, or a
// directory.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t max_bytes = kMaxFileBytes);

// All of standard input, up to `max_bytes`.
absl::StatusOr<std::string> ReadStandardInput(size_t max_bytes = kMaxFileBytes);

enum class Overwrite { kRefuse, kReplace };

// Writes a temporary file beside `path`, syncs it and its folder, and renames: a reader sees the
// old bytes or the new ones, never a part, also after a crash. With kRefuse an existing file gives
// AlreadyExists and is left alone. `mode` is exact: the umask does not apply.
absl::Status WriteFileAtomically(const std::string& path, std::string_view bytes, mode_t mode,
                                 Overwrite overwrite);

// Makes `path` and its missing parents, mode 0700. An existing folder that others may enter gives
// FailedPrecondition with the command that mends it.
absl::Status MakePrivateDirectory(const std::string& path);

bool FileExists(const std::string& path);

// The names in a folder, sorted, without "." and "..".
absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path);

}  // namespace capstan
