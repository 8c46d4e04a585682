// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "store/store.h"
#include "trust/authority.h"

namespace capstan::server {

// How far ahead expiries of an authority's leaves are written down, in blocks, so that no leaf
// costs a write and a crash never under-reports: `max_ttl` and a margin, and never beyond its own
// end.
absl::Time ReservedUntil(const trust::Authority& authority, absl::Duration max_ttl, absl::Time now);

// The durable promise that nothing an authority signed outlives a certain time. Thread-safe.
class Reservation {
 public:
  Reservation(store::Store& store, trust::Authority authority, absl::Duration max_ttl,
              absl::Time until)
      : store_(store),
        authority_(std::move(authority)),
        max_ttl_(max_ttl),
        until_(absl::ToUnixMillis(until)) {}

  // To be called before a leaf that ends at `not_after` is signed. Writes only when a new block is
  // needed. The store's error where the leaf is not covered: it must not be signed then.
  absl::Status Cover(absl::Time not_after, absl::Time now);
  absl::Time until() const { return absl::FromUnixMillis(until_.load()); }

 private:
  store::Store& store_;
  const trust::Authority authority_;
  const absl::Duration max_ttl_;
  absl::Mutex extending_;
  std::atomic<int64_t> until_;  // milliseconds since 1970; grows only, after the store has it
};

}  // namespace capstan::server
