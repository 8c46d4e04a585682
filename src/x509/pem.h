// SPDX-License-Identifier: Apache-2.0
// The textual encodings of RFC 7468, read as leniently around the blocks and as strictly inside
// them as Go does. Not for other rooms: they use the parsers of what the blocks hold.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "base/secret.h"

namespace capstan::x509 {

struct PemBlock {
  std::string label;         // "CERTIFICATE"
  int line = 0;              // of the BEGIN line, from 1
  bool has_headers = false;  // RFC 1421 headers ("Proc-Type: 4,ENCRYPTED"): the body is not decoded
  bool encrypted = false;    // and they say so
  Secret body;               // decoded; may be a private key
  absl::Status decoded;      // why the body is empty, if it does not decode
};

// Every block of the text, in order. Text outside blocks, CRLF, a byte order mark and blanks at the
// ends of lines are skipped. InvalidArgument, with the line: a block that does not end, or ends as
// another kind: a torn text is never half read. A body that is no base64 is in the block's
// `decoded`: it matters to the reader of that kind alone.
absl::StatusOr<std::vector<PemBlock>> ScanPem(std::string_view text);

bool LooksLikePem(std::string_view text);

// A block of 64 characters per line, with a last newline.
std::string ToPemBlock(std::string_view label, std::string_view bytes);

}  // namespace capstan::x509
