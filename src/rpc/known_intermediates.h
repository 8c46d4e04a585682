// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "x509/certificate.h"

namespace capstan::rpc {

// The intermediates that callers showed on their way to a root. A TLS session that is resumed (from
// a ticket) brings the caller's leaf back without the rest of its chain; here is where the rest is
// found. Nothing here is trusted: a chain that was completed is verified like any other.
// Thread-safe, bounded.
class KnownIntermediates {
 public:
  // Remembers what of `chain`, which was verified, leads up from its leaf.
  void Learn(const std::vector<x509::Certificate>& chain);
  // Adds to a bare leaf what is known to lead up from it.
  void Complete(std::vector<x509::Certificate>& chain) const;

 private:
  bool Knows(const x509::Certificate& certificate) const;

  // Before and after a rotation, for some clusters. The oldest makes room.
  static constexpr size_t kMax = 32;
  mutable Mutex mutex_;
  std::deque<x509::Certificate> known_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace capstan::rpc
