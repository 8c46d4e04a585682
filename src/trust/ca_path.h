// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "trust/authority.h"
#include "trust/bundle.h"
#include "x509/certificate.h"

namespace capstan::trust {

// A certificate of a file, with words for messages: "cert-chain.pem: certificate 2 (subject "…")".
struct FileCertificate {
  x509::Certificate certificate;
  std::string file;
  int number = 1;  // in the file, from 1
  int of = 1;      // certificates in the file
  std::string Named() const;
};

// Builds the way from the signing certificate to a root of the bundle by name *and* signature
// (roots of the same name are normal), through certificates of `pool` in any order, and checks each
// link: CA bits, usages, path lengths, validity at `now`. `root_file` is named where a root is
// missing.
absl::StatusOr<Authority> BuildAuthority(const FileCertificate& signing,
                                         const std::vector<FileCertificate>& pool,
                                         const Bundle& bundle, const std::string& root_file,
                                         absl::Time now);

}  // namespace capstan::trust
