// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "lifecycle/machine.h"
#include "spiffe/spiffe_id.h"
#include "trust/bundle.h"
#include "x509/certificate.h"
#include "x509/key.h"

namespace capstan::lifecycle {

// What was asked for, and what is known: an answer is measured against nothing else.
struct Expected {
  spiffe::SpiffeId id;
  x509::PublicKey key;
  absl::Duration ttl;  // as requested; <= 0: the control plane's default
  trust::Bundle bundle;
  absl::Time now;
};

// An answer that may be served.
struct CheckedAnswer {
  // As a TLS server sends it: the leaf and the intermediates to a root of the bundle, without that
  // root.
  std::vector<x509::Certificate> chain;
  Leaf leaf;
};

// Whether the certificates of an answer (IstioCertificateResponse.cert_chain: leaf first) may be
// served: the leaf is for our key and carries exactly our SPIFFE ID, is valid now and not for
// longer than asked for, and is an X509-SVID that chains to a root of *our* bundle. The roots that
// the answer brings along count for nothing.
//   FailedPrecondition: all of that, but for a root that our bundle does not hold: trust may be on
//   its way. InvalidArgument: anything else; says what is wrong.
absl::StatusOr<CheckedAnswer> CheckAnswer(const std::vector<std::string>& answer,
                                          const Expected& expected);

// The same for certificates that were parsed already, without the limit on the life that was asked
// for: a credential read back from disk.
absl::StatusOr<CheckedAnswer> CheckChain(const std::vector<x509::Certificate>& chain,
                                         const Expected& expected);

}  // namespace capstan::lifecycle
