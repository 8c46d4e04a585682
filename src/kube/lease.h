// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kube/client.h"

namespace capstan::kube {

// A Lease, as those who elect a leader by one use it. The times are their writer's, by a clock that
// nobody else knows: good for telling that they changed, and for people.
struct Lease {
  std::string resource_version;  // "": it is not there
  std::string holder;            // "": nobody
  absl::Duration duration;       // for which a renewal holds, in seconds
  std::string acquired;
  std::string renewed;
  int64_t transitions = 0;  // how often it changed hands
};

// As a Lease holds a time.
std::string LeaseTime(absl::Time time);

Lease LeaseOf(const Json& object);
// NotFound: there is none.
absl::StatusOr<Lease> ReadLease(Client& client, const ObjectName& name);
// Creates it where it has no version. What else the object holds stays. AlreadyExists, Aborted,
// NotFound: somebody was first.
absl::StatusOr<Lease> WriteLease(Client& client, const ObjectName& name, const Lease& lease);

}  // namespace capstan::kube
