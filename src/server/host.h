// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace capstan::server {

// The host of "HOST:PORT" or "[IPv6]:PORT", without brackets; the whole text where there is no
// port.
std::string HostOf(std::string_view address);

// The port of "HOST:PORT". InvalidArgument: none, or no number from 0 to 65535.
absl::StatusOr<int> PortOf(std::string_view address);

bool IsIpAddress(const std::string& host);

}  // namespace capstan::server
