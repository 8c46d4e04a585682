// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace capstan {

// A number in [0, 1) that is a function of its arguments alone: the same certificate always gets
// the same offset, whoever asks and however often (drawing anew at each poll collapses the spread).
// Stable across versions and machines.
double Jitter(std::string_view identity, std::string_view serial);

}  // namespace capstan
