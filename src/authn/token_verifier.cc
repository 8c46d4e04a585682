// SPDX-License-Identifier: Apache-2.0
#include "authn/token_verifier.h"

#include <utility>

#include "base/log.h"
#include "base/status.h"

namespace capstan::authn {

absl::StatusOr<kube::ServiceAccount> TokenVerifier::Verify(const Secret& token) {
  const absl::StatusOr<Jwt> jwt = ParseJwt(token);
  if (!jwt.ok()) return absl::UnauthenticatedError(jwt.status().message());
  CAPSTAN_ASSIGN_OR_RETURN(Keys keys, KeysOtherThan(nullptr));
  // First what needs no other keys: who makes tokens up makes nobody fetch any.
  CAPSTAN_RETURN_IF_ERROR(CheckClaims(*jwt, keys->issuer, audiences_, options_.skew, clock_.Now()));
  absl::Status genuine = CheckSignature(*jwt, keys->keys);
  if (absl::IsNotFound(genuine)) {
    CAPSTAN_ASSIGN_OR_RETURN(keys, KeysOtherThan(keys));
    genuine = CheckSignature(*jwt, keys->keys);
  }
  if (absl::IsNotFound(genuine)) {
    MutexLock lock(mutex_);
    // Its key may be a new one, which nobody could say.
    if (!trouble_.ok()) return Annotate(trouble_, Std(genuine.message()));
    return absl::UnauthenticatedError(genuine.message());
  }
  CAPSTAN_RETURN_IF_ERROR(genuine);
  return AccountOf(*jwt);
}

absl::StatusOr<TokenVerifier::Keys> TokenVerifier::KeysOtherThan(const Keys& other_than) {
  {
    MutexLock lock(mutex_);
    const bool needed = keys_ == other_than;
    while (fetching_ && needed) changed_.wait(mutex_);
    const absl::Duration now = clock_.Monotonic();
    const bool wanted = keys_ == other_than || now - fetched_at_ >= options_.refresh;
    // Who can be judged by the keys at hand waits for others rarely.
    const absl::Duration pause = keys_ == other_than ? options_.least : options_.refresh / 5;
    if (fetching_ || !wanted || now - attempted_at_ < pause) {
      return keys_ != nullptr ? absl::StatusOr<Keys>(keys_) : trouble_;
    }
    fetching_ = true;
    attempted_at_ = now;
  }
  absl::StatusOr<TokenKeys> fetched = fetch_();
  MutexLock lock(mutex_);
  fetching_ = false;
  changed_.notify_all();
  Take(std::move(fetched));
  return keys_ != nullptr ? absl::StatusOr<Keys>(keys_) : trouble_;
}

void TokenVerifier::Take(absl::StatusOr<TokenKeys> fetched) {
  const absl::Status before = std::exchange(trouble_, fetched.status());
  if (fetched.ok()) {
    if (keys_ == nullptr || !before.ok()) {
      log::Info("the keys of a token issuer are known",
                {{"name", name_}, {"issuer", fetched->issuer}, {"keys", fetched->keys.size()}});
    }
    fetched_at_ = attempted_at_;
    keys_ = std::make_shared<const TokenKeys>(*std::move(fetched));
    return;
  }
  // Never for a judgement about a token.
  if (absl::IsUnauthenticated(trouble_)) {
    trouble_ = absl::FailedPreconditionError(trouble_.message());
  }
  if (!before.ok()) return;
  log::Error(keys_ != nullptr
                 ? "the keys of a token issuer cannot be fetched anew; the last ones stay in use"
                 : "the keys of a token issuer cannot be fetched; who shows its token gets no "
                   "certificate",
             {{"name", name_}, {"why", trouble_.message()}});
}

}  // namespace capstan::authn
