// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "spiffe/spiffe_id.h"
#include "trust/authority.h"
#include "trust/bundle.h"
#include "x509/certificate.h"
#include "x509/sign.h"

namespace capstan::trust {

// The trust history: each version of the bundle, signed in the name of the authority that was
// active before it took effect. Who holds an old bundle follows it link by link, over a connection
// that need not be trusted, as TUF does with its root files.

// What a link says.
struct HistoryLink {
  BundleVersion version;
  int64_t previous = 0;  // sequence of the version before
  Bundle bundle;
  absl::Time time;  // when it was made; whole seconds
};

// A link with its proof, parsed and not verified.
struct HistoryDocument {
  HistoryLink link;
  // The certificate whose key signed, and the intermediates up to its root, without that.
  std::vector<x509::Certificate> signer;
  std::string signed_part;  // the bytes that the signature is over
  std::string signature;
};

// Makes the document of `link`, as text. The certificate for it is signed by `issuer`, the signer
// of `authority`, for minutes; its key is not kept. `random16` gives the serial number. The result
// was verified against the authority's root. FailedPrecondition: the authority cannot sign at that
// time; InvalidArgument: no root, a sequence that does not grow.
absl::StatusOr<std::string> MakeHistoryDocument(const HistoryLink& link,
                                                const spiffe::TrustDomain& trust_domain,
                                                const Authority& authority, x509::Signer& issuer,
                                                std::string_view random16);

// InvalidArgument: anything but the bytes of one document; more than 1 MiB, 100 roots or 10
// certificates of the signer's chain.
absl::StatusOr<HistoryDocument> ParseHistoryDocument(std::string_view text);

// Whether `document` follows the bundle `held` of version `held_version`: the same lineage, made
// for the version that is held (its predecessor is not newer, it itself is), and signed by a
// certificate of exactly spiffe://<td>/capstan/trust-history, not a CA, that chains to a root of
// `held` at the document's own time: that a root expired since breaks no link.
//   FailedPrecondition: it is of another lineage, not newer, or links are missing before it;
//   Unauthenticated: its signer is not one whom the held bundle vouches for.
absl::Status VerifyLink(const Bundle& held, const BundleVersion& held_version,
                        const HistoryDocument& document, const spiffe::TrustDomain& trust_domain);

// Every document, oldest first, each verified by the bundle of the one before it, and the first one
// by `held`: the links, the last of which is the newest trust. No document: no link. The error is
// that of the first one that does not parse or follow, and says which; nothing of a broken history
// is taken.
absl::StatusOr<std::vector<HistoryLink>> Follow(const Bundle& held,
                                                const BundleVersion& held_version,
                                                const std::vector<std::string>& documents,
                                                const spiffe::TrustDomain& trust_domain);

}  // namespace capstan::trust
