// SPDX-License-Identifier: Apache-2.0
// Times and durations of messages, and how they are shown.
#pragma once

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include <string>

#include "absl/time/time.h"

namespace capstan::cli {

absl::Time ToTime(const google::protobuf::Timestamp& time);
absl::Duration ToDuration(const google::protobuf::Duration& duration);

// What is longer than the longest that a message can hold (ten thousand years) becomes that.
google::protobuf::Duration FromDuration(absl::Duration duration);

// "2026-03-01T12:00:00Z"
std::string Utc(absl::Time time);

// "23h59m", "2m": two units at most, without a sign.
std::string TwoUnits(absl::Duration duration);

}  // namespace capstan::cli
