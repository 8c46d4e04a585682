// SPDX-License-Identifier: Apache-2.0
#include "server/host.h"

#include <arpa/inet.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace capstan::server {

std::string HostOf(std::string_view address) {
  if (address.starts_with('[')) {
    size_t end = address.find(']');
    return std::string(address.substr(1, end == std::string_view::npos ? end : end - 1));
  }
  size_t colon = address.rfind(':');
  // More than one colon and no brackets: an IPv6 address without a port.
  if (colon == std::string_view::npos || address.find(':') != colon) return std::string(address);
  return std::string(address.substr(0, colon));
}

absl::StatusOr<int> PortOf(std::string_view address) {
  size_t colon = address.rfind(':');
  int port = 0;
  if (colon == std::string_view::npos || HostOf(address).size() == address.size() ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", address, "\" is not HOST:PORT (an IPv6 host stands in brackets)"));
  }
  return port;
}

bool IsIpAddress(const std::string& host) {
  in6_addr ignored;
  return inet_pton(AF_INET, host.c_str(), &ignored) == 1 ||
         inet_pton(AF_INET6, host.c_str(), &ignored) == 1;
}

}  // namespace capstan::server
