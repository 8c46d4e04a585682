// SPDX-License-Identifier: Apache-2.0
// An error that says when the caller may come back, as part of its absl::Status.
#pragma once

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace capstan {

// `status`, which is not OK, with the time after which the caller may come back, to the
// millisecond. Annotate() loses it.
absl::Status WithRetryAfter(absl::Status status, absl::Duration after);

// nullopt: it says nothing about that.
std::optional<absl::Duration> RetryAfterOf(const absl::Status& status);

}  // namespace capstan
