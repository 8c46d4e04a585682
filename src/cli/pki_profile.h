// SPDX-License-Identifier: Apache-2.0
// What Istio's Makefile.selfsigned.mk makes: its variables, their defaults, and the request files
// it writes, byte for byte.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace capstan::cli {

struct CaProfile {
  std::string organization = "Istio";
  std::string common_name;
  int key_bits = 4096;    // *_KEYSZ
  bool crl_sign = false;  // cRLSign, which Istio's CAs lack: nobody accepts a CRL of theirs
};

// root-ca.conf. InvalidArgument: a value that no request file can hold.
absl::StatusOr<std::string> RootRequestFile(const CaProfile& profile);

// NAME/intermediate.conf: an issuer of leaves for one cluster, which is the locality of its name.
absl::StatusOr<std::string> IntermediateRequestFile(const CaProfile& profile, std::string_view name,
                                                    std::string_view san_dns);

}  // namespace capstan::cli
