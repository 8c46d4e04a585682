// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include "absl/time/time.h"
#include "rotation/gate.h"
#include "rotation/observation.h"

namespace capstan::cluster {

// Places from which others take trust without telling capstand that they did.
class BootstrapPlaces {
 public:
  virtual ~BootstrapPlaces() = default;
  // Those that keep this gate shut: they do not hold its bundle yet, or not for long enough that
  // whoever looks there has it; ordered by name. `now` is monotonic. Any thread, also with the
  // keeper's lock held; does not block.
  virtual std::vector<rotation::Holder> Lacking(const rotation::Gate& gate, absl::Duration now) = 0;
};

}  // namespace capstan::cluster
