// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace capstan {

// When a set of leaves is replaced: not all at `start`, but over `window` from it, soonest to
// expire first. The control plane plans it, every agent finds its own slot in it.
struct Window {
  absl::Time start;
  absl::Duration length = absl::ZeroDuration();  // zero: all at `start`
  // Where the set is divided, by PlaceOf(), into parts of equally many leaves: the last place of
  // each part, never falling. Empty: one part.
  std::vector<absl::Time> bounds;
  absl::Time end() const { return start + length; }
  friend bool operator==(const Window&, const Window&) = default;
};

// Where a leaf stands in the queue: its NotAfter, and a fraction of a second that is a function of
// the serial. X.509 counts whole seconds; a fleet that was issued in the same one divides all the
// same.
absl::Time PlaceOf(absl::Time not_after, std::string_view serial);

// The moment at which a leaf is to be replaced, in [start, end] of `window`. A leaf whose place is
// in the n-th part of the set has its slot in the n-th part of the window, and one that fits into
// several, since their bounds are the same, in any of these. Where in there is a function of
// `identity` and `serial`: the same whoever asks and however often.
absl::Time SlotOf(const Window& window, absl::Time not_after, std::string_view identity,
                  std::string_view serial);

}  // namespace capstan
