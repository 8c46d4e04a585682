// SPDX-License-Identifier: Apache-2.0
// Helpers for absl::Status, the only error channel between rooms. Messages say what is wrong,
// where, and what to do; callers switch on codes, never on text.
#pragma once

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/strings.h"

namespace capstan {

// The same code and payload-free message, prefixed with "CONTEXT: ". OK stays OK.
absl::Status Annotate(const absl::Status& status, std::string_view context);

// InvalidArgument, FailedPrecondition and so on from pieces, as absl::StrCat joins them, come from
// absl itself (absl::InvalidArgumentError). ErrnoError adds the name of `error` (an errno value)
// and maps it to the nearest code: ENOENT is NotFound, EACCES is PermissionDenied, ENOSPC is
// ResourceExhausted.
absl::Status ErrnoError(int error, std::string_view what);

}  // namespace capstan

#define CAPSTAN_RETURN_IF_ERROR(expression)                   \
  do {                                                        \
    if (absl::Status status_ = (expression); !status_.ok()) { \
      return status_;                                         \
    }                                                         \
  } while (false)

#define CAPSTAN_CONCAT_INNER_(a, b) a##b
#define CAPSTAN_CONCAT_(a, b) CAPSTAN_CONCAT_INNER_(a, b)
#define CAPSTAN_ASSIGN_OR_RETURN(declaration, expression) \
  CAPSTAN_ASSIGN_OR_RETURN_(CAPSTAN_CONCAT_(status_or_, __LINE__), declaration, expression)
#define CAPSTAN_ASSIGN_OR_RETURN_(temporary, declaration, expression) \
  auto temporary = (expression);                                      \
  if (!temporary.ok()) {                                              \
    return std::move(temporary).status();                             \
  }                                                                   \
  declaration = *std::move(temporary)
