// SPDX-License-Identifier: Apache-2.0
#include "rpc/fields.h"

#include <algorithm>

namespace capstan::rpc {

void SetTime(absl::Time time, google::protobuf::Timestamp* out) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  out->set_seconds(seconds);
  out->set_nanos(
      static_cast<int32_t>((time - absl::FromUnixSeconds(seconds)) / absl::Nanoseconds(1)));
}

std::string FieldText(std::string_view text, size_t most) {
  std::string clean(text.substr(0, most));
  std::replace_if(
      clean.begin(), clean.end(),
      [](char c) { return static_cast<unsigned char>(c) >= 0x80 || (c < ' ' && c != '\n'); }, '?');
  return clean;
}

}  // namespace capstan::rpc
