// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "absl/time/time.h"
#include "rotation/observation.h"
#include "trust/bundle.h"

namespace capstan::server {

// Places from which others take their first trust, and which capstand keeps up to date.
class BootstrapPlaces {
 public:
  virtual ~BootstrapPlaces() = default;
  // Those that do not hold this bundle yet, or not for long enough that whoever looks there has it;
  // ordered by name. `now` is monotonic. Any thread; does not block.
  virtual std::vector<rotation::Holder> Lacking(const trust::BundleVersion& bundle,
                                                absl::Duration now) = 0;
};

}  // namespace capstan::server
