// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "x509/certificate.h"

namespace capstan::x509 {

// The extensions Capstan writes and reads in requests, as values. Absent members are not encoded.
struct Extensions {
  struct BasicConstraints {
    bool ca = false;
    std::optional<int> path_length;
    bool critical = true;
  };
  struct Usage {
    uint32_t bits = 0;  // of KeyUsage
    bool critical = true;
  };
  std::optional<BasicConstraints> basic_constraints;
  std::optional<Usage> key_usage;
  std::vector<std::string> extended_key_usage;  // "serverAuth", "clientAuth", … or dotted OIDs
  bool extended_key_usage_critical = false;
  bool subject_key_id = false;    // SKI = hash of the subject's key
  bool authority_key_id = false;  // AKI = the issuer's SKI
  SubjectAltNames sans;
};

}  // namespace capstan::x509
