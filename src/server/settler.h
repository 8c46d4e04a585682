// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"

namespace capstan::server {

// When to look at a followed directory, and when what was seen may be believed: after a moment of
// quiet, and when two looks a little apart saw the same bytes, so that a file that is being written
// or a folder that is being swapped is not taken for what it will be. A machine on monotonic time.
class Settler {
 public:
  struct Options {
    absl::Duration quiet = absl::Milliseconds(100);
    absl::Duration between_looks = absl::Milliseconds(50);
    // Where it never becomes quiet, the two looks alone decide from here on.
    absl::Duration patience = absl::Seconds(2);
    // Without any event: for file systems that give none.
    absl::Duration rescan = absl::Seconds(5);
    // What was refused is offered again: time alone may mend it (a certificate not yet valid).
    absl::Duration retry = absl::Seconds(30);
  };

  Settler(Options options, absl::Duration now) : options_(options), due_(now) {}

  // Something happened there.
  void Touched(absl::Duration now);
  // The next settled content is to be offered even if it is the one offered before.
  void Force(absl::Duration now);
  // When the next look is due.
  absl::Duration due() const { return due_; }
  // A look saw content of this digest. True: offer it, then say how that went.
  bool Looked(absl::Duration now, const std::string& digest);
  void Offered(absl::Duration now, bool accepted);
  bool settled() const { return !pending_.has_value(); }

 private:
  const Options options_;
  absl::Duration due_;
  absl::Duration restless_since_ = absl::InfiniteDuration();
  std::optional<std::string> pending_;  // seen once
  std::optional<std::string> offered_;
  absl::Duration retry_at_ = absl::InfiniteDuration();
};

}  // namespace capstan::server
