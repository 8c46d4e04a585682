// SPDX-License-Identifier: Apache-2.0
// ParseJoinFile: total; what it accepts survives writing; no error quotes a token.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "authn/join_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const auto join = capstan::authn::ParseJoinFile(input);
  if (!join.ok()) {
    const std::string message(join.status().message());
    if (message.empty() || message.find("cjt_") != std::string::npos) std::abort();
    return 0;
  }
  const auto again = capstan::authn::ParseJoinFile(capstan::authn::ToJson(*join));
  if (!again.ok() || again->address != join->address || again->spiffe_id != join->spiffe_id ||
      again->server_id != join->server_id || !(again->token == join->token) ||
      again->token_expires != join->token_expires ||
      again->bundle_version != join->bundle_version || again->bundle != join->bundle) {
    std::abort();
  }
  return 0;
}
