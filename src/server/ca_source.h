// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "server/trust_keeper.h"
#include "trust/ca_set.h"

namespace capstan::server {

// Where a CA is that somebody else writes, and that is followed. Thread-safe.
class CaSource {
 public:
  virtual ~CaSource() = default;
  // As --cacerts has it: "/etc/cacerts", "secret:istio-system/cacerts".
  virtual const std::string& name() const = 0;
  // For the record of a wish: "directory" or "secret".
  virtual std::string kind() const = 0;

  // The CA files that are there now; none where the place itself is not there. An error for what is
  // there and cannot be read.
  virtual absl::StatusOr<trust::CaFiles> Read() = 0;
  // FailedPrecondition: it is somebody else's to write; says what to do instead.
  virtual absl::Status CheckWritable() = 0;
  // Replaces every CA file by `files`.
  virtual absl::Status Write(const trust::CaFiles& files) = 0;
  // Whether it shows others what is in force, and is kept at that: a wish that is not written there
  // by somebody else is never seen in it. Then CheckWritable() says whether it is in our hands.
  virtual bool shows_what_is_in_force() const { return false; }
};

// Looks at a source and offers what it holds, as soon as it is settled and whenever it changes.
class CaFollower {
 public:
  // Takes settled content, one at a time. An error: offered again later.
  using Offer = std::function<absl::StatusOr<Outcome>(const absl::StatusOr<trust::CaFiles>& files)>;

  // Stops: nothing is offered any more.
  virtual ~CaFollower() = default;
  // Offers what is there, known or not, and waits for the outcome. Any thread. Unavailable: it did
  // not come to rest in time, or the follower stops.
  virtual absl::StatusOr<Outcome> ReloadNow() = 0;
};

}  // namespace capstan::server
