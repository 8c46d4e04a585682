// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace capstan {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace capstan
