// SPDX-License-Identifier: Apache-2.0
#include "server/join_tokens.h"

#include "absl/strings/str_cat.h"
#include "authn/token.h"
#include "base/status.h"

namespace capstan::server {
namespace {

constexpr absl::Duration kDefaultTtl = absl::Minutes(10);

std::string UtcTime(absl::Time time) {
  return absl::FormatTime(time, absl::UTCTimeZone());
}

absl::Status Used(const store::TokenRecord& record) {
  return absl::UnauthenticatedError(absl::StrCat(
      "the join token was used at ", UtcTime(record.consumed_at),
      " and is good for one identity once; make a new one with `capstan token create`"));
}

}  // namespace

absl::Status CheckWorkloadId(const spiffe::SpiffeId& id, const spiffe::TrustDomain& trust_domain) {
  if (id.trust_domain() != trust_domain) {
    return absl::PermissionDeniedError(
        absl::StrCat("\"", id.ToString(), "\" is not of the trust domain ", trust_domain.name(),
                     ", the only one signed for here"));
  }
  if (id.path().empty()) {
    return absl::PermissionDeniedError(
        absl::StrCat("\"", id.ToString(), "\" names a trust domain, not a workload"));
  }
  if (id.IsReserved()) {
    return absl::PermissionDeniedError(absl::StrCat(
        "\"", id.ToString(), "\" is one of Capstan's own names; no workload can have it"));
  }
  return absl::OkStatus();
}

absl::StatusOr<NewJoinToken> MakeJoinToken(store::Store& store,
                                           const spiffe::TrustDomain& trust_domain,
                                           std::string_view spiffe_id, absl::Duration ttl,
                                           int64_t sequence, Random& random, absl::Time now) {
  CAPSTAN_ASSIGN_OR_RETURN(spiffe::SpiffeId id, spiffe::SpiffeId::Parse(spiffe_id));
  if (absl::Status allowed = CheckWorkloadId(id, trust_domain); !allowed.ok()) {
    return absl::InvalidArgumentError(allowed.message());
  }
  if (ttl <= absl::ZeroDuration()) ttl = kDefaultTtl;
  if (ttl < absl::Seconds(1) || ttl > kMaxTokenTtl) {
    return absl::InvalidArgumentError(absl::StrCat("a join token lives between 1s and ",
                                                   absl::FormatDuration(kMaxTokenTtl), ", not ",
                                                   absl::FormatDuration(ttl)));
  }
  NewJoinToken made{authn::NewToken(random), now + ttl};
  store::TokenRecord record;
  record.hash = authn::HashToken(made.token);
  record.spiffe_id = id.ToString();
  record.sequence = sequence;
  record.created_at = now;
  record.expires_at = made.expires;
  CAPSTAN_RETURN_IF_ERROR(store.AddToken(record));
  return made;
}

absl::StatusOr<authn::Caller> AuthenticateToken(store::Store& store, const Secret& token,
                                                absl::Time now) {
  if (!authn::LooksLikeToken(token)) {
    return absl::UnauthenticatedError(
        "what was shown as a bearer token is no join token of capstand");
  }
  const std::string hash = authn::HashToken(token);
  absl::StatusOr<store::TokenRecord> record = store.FindToken(hash);
  if (absl::IsNotFound(record.status())) {
    return absl::UnauthenticatedError("the join token is not known here, or expired long ago");
  }
  if (!record.ok()) return Annotate(record.status(), "the join token cannot be looked up");
  if (record->consumed()) {
    if (now > record->consumed_at + kTokenRepeat) return Used(*record);
  } else if (now >= record->expires_at) {
    return absl::UnauthenticatedError(absl::StrCat("the join token expired at ",
                                                   UtcTime(record->expires_at),
                                                   "; make a new one with `capstan token create`"));
  }
  CAPSTAN_ASSIGN_OR_RETURN(spiffe::SpiffeId id, spiffe::SpiffeId::Parse(record->spiffe_id));
  return authn::Caller{id, authn::Caller::Proof::kJoinToken, std::nullopt, "", hash};
}

absl::StatusOr<std::vector<std::string>> RepeatedAnswer(store::Store& store,
                                                        const std::string& token_hash,
                                                        const std::string& csr_key_hash,
                                                        absl::Time now) {
  absl::StatusOr<store::TokenRecord> record = store.FindToken(token_hash);
  if (!record.ok()) return Annotate(record.status(), "the join token cannot be looked up");
  if (!record->consumed()) return absl::NotFoundError("the join token is not used yet");
  if (now > record->consumed_at + kTokenRepeat || record->csr_key_hash != csr_key_hash)
    return Used(*record);
  return record->certificate;
}

}  // namespace capstan::server
