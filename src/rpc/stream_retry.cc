// SPDX-License-Identifier: Apache-2.0
#include "rpc/stream_retry.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/jitter.h"

namespace capstan::rpc {

absl::Duration StreamRetry(const std::string& instance, int ended) {
  constexpr absl::Duration kFirst = absl::Seconds(1);
  constexpr absl::Duration kLongest = absl::Seconds(10);
  absl::Duration delay = kFirst;
  for (int i = 1; i < ended && delay < kLongest; ++i) delay *= 2;
  return std::min(delay, kLongest) * (0.25 + Jitter(instance, absl::StrCat("stream#", ended)));
}

}  // namespace capstan::rpc
