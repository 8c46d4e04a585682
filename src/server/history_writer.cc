// SPDX-License-Identifier: Apache-2.0
#include "server/history_writer.h"

#include <memory>
#include <string>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "trust/history.h"

namespace capstan::server {
namespace {

absl::StatusOr<std::string> DocumentOf(const rotation::Situation& before,
                                       const rotation::Situation& after,
                                       const spiffe::TrustDomain& trust_domain,
                                       const absl::StatusOr<std::shared_ptr<x509::Signer>>& signer,
                                       Random& random, absl::Time now) {
  CAPSTAN_RETURN_IF_ERROR(signer.status());
  const trust::HistoryLink link{after.trust.version, before.trust.version.sequence,
                                after.trust.bundle, now};
  return trust::MakeHistoryDocument(link, trust_domain,
                                    before.authorities.at(before.trust.issuer).authority, **signer,
                                    random.Bytes(16));
}

}  // namespace

bool NeedsHistory(const rotation::Situation& before, const rotation::Situation& after) {
  return before.trust.issuer_epoch > 0 &&
         before.trust.version.sequence != after.trust.version.sequence;
}

std::optional<store::HistoryRecord> HistoryOf(
    const rotation::Situation& before, const rotation::Situation& after,
    const spiffe::TrustDomain& trust_domain,
    const absl::StatusOr<std::shared_ptr<x509::Signer>>& signer, Random& random, absl::Time now) {
  absl::StatusOr<std::string> document =
      DocumentOf(before, after, trust_domain, signer, random, now);
  if (!document.ok()) {
    log::Error("this version of the bundle is no link of the trust history",
               {{"version", after.trust.version.ToString()},
                {"why", document.status().message()},
                {"effect", "an agent that sleeps through it needs a new join file"}});
    return std::nullopt;
  }
  return store::HistoryRecord{after.trust.version.sequence, *std::move(document)};
}

}  // namespace capstan::server
