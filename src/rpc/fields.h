// SPDX-License-Identifier: Apache-2.0
// Values as fields of a message.
#pragma once

#include <google/protobuf/timestamp.pb.h>

#include <string>
#include <string_view>

#include "absl/time/time.h"

namespace capstan::rpc {

void SetTime(absl::Time time, google::protobuf::Timestamp* out);

// Text of others, its first `most` bytes: a string field must hold valid UTF-8, so that whatever is
// no ASCII text becomes "?".
std::string FieldText(std::string_view text, size_t most);

}  // namespace capstan::rpc
