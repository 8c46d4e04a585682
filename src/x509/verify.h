// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "x509/certificate.h"
#include "x509/crl.h"

namespace capstan::x509 {

enum class Purpose { kAny, kServer, kClient };

struct VerifyOptions {
  Purpose purpose = Purpose::kAny;
  // With CRLs every CA of the chain needs one, as Envoy demands.
  std::vector<Crl> crls;
};

// One step of an explanation, for people; not stable.
struct VerifyStep {
  bool ok = false;
  int position = -1;  // in the presented chain; -1: about the whole
  std::string text;   // "certificate 1 (CN=Intermediate CA,O=Istio) is signed by root CN=Root
                      // CA,O=Istio (SKI …)"
};

struct Verdict {
  // OK; FailedPrecondition: not trusted, in one sentence why; InvalidArgument: nothing was
  // presented, or there is no root.
  absl::Status status;
  std::vector<Certificate> chain;  // the built chain, leaf first, root last; empty unless OK
  std::vector<VerifyStep> steps;   // every check made, in order, the failing one last
};

// Whether `presented` (leaf first; the rest in any order, more than needed is fine) chains to one
// of `roots` at `now`: RFC 5280 section 6.1 with OpenSSL's strict checks. Roots of equal names are
// told apart by key. An expired root does not anchor. The clock is `now` alone.
Verdict Verify(const std::vector<Certificate>& presented, const std::vector<Certificate>& roots,
               absl::Time now, const VerifyOptions& options = {});

// Verify() for an X509-SVID (SPIFFE X509-SVID section 5): besides, the leaf is not a CA, cannot
// sign certificates or CRLs, and carries exactly one URI SAN with a path.
Verdict VerifySvid(const std::vector<Certificate>& presented, const std::vector<Certificate>& roots,
                   absl::Time now, const VerifyOptions& options = {});

}  // namespace capstan::x509
