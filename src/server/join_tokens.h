// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "authn/caller.h"
#include "base/random.h"
#include "base/secret.h"
#include "spiffe/spiffe_id.h"
#include "store/store.h"

namespace capstan::server {

// A used token still answers for this long, and only for the same key: a lost answer can be asked
// for again.
inline constexpr absl::Duration kTokenRepeat = absl::Seconds(60);
inline constexpr absl::Duration kMaxTokenTtl = absl::Hours(24);

struct NewJoinToken {
  Secret token;  // given out once
  absl::Time expires;
};

// Makes a token for `id` and keeps its hash; `sequence` is of the bundle in its join file.
// InvalidArgument: an id that no workload may have, or a life that is not between a second and a
// day (<= 0: 10 minutes).
absl::StatusOr<NewJoinToken> MakeJoinToken(store::Store& store,
                                           const spiffe::TrustDomain& trust_domain,
                                           std::string_view spiffe_id, absl::Duration ttl,
                                           int64_t sequence, Random& random, absl::Time now);

// Who shows `token`. Unauthenticated: unknown, expired, or used for longer than kTokenRepeat.
absl::StatusOr<authn::Caller> AuthenticateToken(store::Store& store, const Secret& token,
                                                absl::Time now);

// The answer that a token gave before: for the same key and soon after. NotFound: the token is not
// used yet. Unauthenticated: it was used for another key, or too long ago.
absl::StatusOr<std::vector<std::string>> RepeatedAnswer(store::Store& store,
                                                        const std::string& token_hash,
                                                        const std::string& csr_key_hash,
                                                        absl::Time now);

// Whether a workload of `trust_domain` may be called `id`: Capstan's own names are not given out.
absl::Status CheckWorkloadId(const spiffe::SpiffeId& id, const spiffe::TrustDomain& trust_domain);

}  // namespace capstan::server
