// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace capstan::cli {

struct GoPemBlock {
  std::string type;  // "CERTIFICATE"
  bool has_headers = false;
  std::string bytes;
};

// The PEM blocks that Go's encoding/pem finds in `text`: it skips what is torn or no base64 and
// takes the next. For printing what Go programs print of bad input; everything else in Capstan
// reads PEM with the x509 room, which refuses torn text.
std::vector<GoPemBlock> FindGoPemBlocks(std::string_view text);

}  // namespace capstan::cli
