// SPDX-License-Identifier: Apache-2.0
// The checks of RFC 5280 section 6.1 in plain words, one step each. Not for other rooms.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "x509/path_builder.h"
#include "x509/verify.h"

namespace capstan::x509 {

// "certificate 1 (CN=Intermediate CA,O=Istio)", "root CN=Root CA,O=Istio (SKI 1a2b3c4d)".
std::string Describe(const PathLink& link);
std::string Describe(const Certificate& certificate);

// Explains a path that ends in a root, up to the first check that fails. What these checks do not
// look at (name constraints, policies, unknown critical extensions) is OpenSSL's to judge.
std::vector<VerifyStep> CheckPath(const Path& path, absl::Time now, const VerifyOptions& options);

// Explains why there is no path.
std::vector<VerifyStep> ExplainDeadEnd(const DeadEnd& end, const std::vector<Certificate>& roots);

}  // namespace capstan::x509
