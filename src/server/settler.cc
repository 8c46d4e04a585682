// SPDX-License-Identifier: Apache-2.0
#include "server/settler.h"

#include <algorithm>

namespace capstan::server {

void Settler::Touched(absl::Duration now) {
  restless_since_ = std::min(restless_since_, now);
  if (now - restless_since_ >= options_.patience) return;
  due_ = now + options_.quiet;
  pending_.reset();
}

void Settler::Force(absl::Duration now) {
  offered_.reset();
  pending_.reset();
  due_ = now;
}

bool Settler::Looked(absl::Duration now, const std::string& digest) {
  const bool known = offered_ == digest && now < retry_at_;
  if (!known && pending_ != digest) {
    pending_ = digest;
    due_ = now + options_.between_looks;
    return false;
  }
  pending_.reset();
  restless_since_ = absl::InfiniteDuration();
  due_ = now + options_.rescan;
  if (known) return false;
  offered_ = digest;
  return true;
}

void Settler::Offered(absl::Duration now, bool accepted) {
  retry_at_ = accepted ? absl::InfiniteDuration() : now + options_.retry;
}

}  // namespace capstan::server
