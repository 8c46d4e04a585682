// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "capstan/control/v1/control.pb.h"

namespace capstan::cli {

// What `capstan rotate explain` answers: why the rotation does not go on, who still depends on what
// is about to leave, whether it is safe to remove it, and what to do about everybody who keeps the
// gate shut. `all`: each of them, instead of the first of each kind.
std::string ExplainText(const control::v1::Rotation& rotation, bool all);

// The one-word answer to "is it safe to remove the old root now?", and because of what.
struct Verdict {
  enum class Answer { kYes, kNo, kRemoved, kNoneLeaves };
  Answer answer;
  std::string because;
};
Verdict SafeToRemove(const control::v1::Rotation& rotation);

}  // namespace capstan::cli
