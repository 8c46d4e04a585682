// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "sim/simulation.h"

namespace capstan::sim {

// A picture of a run, SVG 1.1: how many live workloads trust each root, and show a leaf under it,
// over time.
std::string ToSvg(const Options& options, const Result& result);

}  // namespace capstan::sim
