// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "base/random.h"
#include "issuance/issue.h"
#include "keystore/sealed_keys.h"
#include "rotation/step.h"
#include "server/published.h"
#include "server/reservation.h"
#include "server/serving.h"
#include "store/store.h"
#include "trust/ca_set.h"
#include "trust/state.h"

namespace capstan::server {

// All that issuing a leaf needs of one moment: issuer, its chain and the bundle belong together.
struct Signing {
  std::shared_ptr<issuance::Issuer> issuer;
  std::shared_ptr<Reservation> reservation;
  std::vector<std::string> chain_pem;  // the intermediates, one each, last the bundle as one
};

// What a look at a CA source led to.
struct Outcome {
  bool changed = false;
  std::vector<std::string> steps;  // what was done, in order
  std::vector<std::string> warnings;
};

struct TrustKeeperOptions {
  issuance::Policy policy;
  ServingNames serving_names;
  absl::Duration serving_ttl = absl::Hours(24);
};

// The one owner of what is trusted and who signs: takes wishes, walks the rotation's steps to them,
// each one in the store before it is seen, and publishes the result as snapshots. A store that
// refuses stops the walk where it is: what was published stays, and signs. Thread-safe.
class TrustKeeper {
 public:
  // `store`, `clock` and `random` outlive it. `changed` is called after every publication.
  TrustKeeper(TrustKeeperOptions options, store::Store& store, keystore::SealedKeys keys,
              Clock& clock, Random& random, std::function<void()> changed);

  // Reads the state and publishes it; then walks on where a crash left off. A state without an
  // authority is OK: trust() stays null until the first Offer().
  absl::Status Start();

  // A set that was verified, from `source` ("directory", "built-in"). Nothing happens when its
  // content is that of the last wish. FailedPrecondition: it cannot be reached from here, or was
  // refused before. The store's error: not, or not wholly, done; Maintain() goes on.
  absl::StatusOr<Outcome> Offer(const trust::CaSet& set, const std::string& source);

  // To be called every now and then: renews the control plane's own certificate, and finishes a
  // wish that the store interrupted.
  absl::Status Maintain();

  // Null before Start() or the first Offer() succeeded.
  std::shared_ptr<const trust::TrustState> trust() const { return trust_.Get(); }
  std::shared_ptr<const Signing> signing() const { return signing_.Get(); }
  std::shared_ptr<const Serving> serving() const { return serving_.Get(); }

  // For the status: what is, and the last wish.
  std::optional<rotation::Situation> situation() const;
  std::optional<store::DesiredRecord> desired() const;
  // CAs that may have signed CRLs of a new set.
  std::vector<x509::Certificate> KnownCas() const;

 private:
  absl::StatusOr<Outcome> OfferLocked(const trust::CaSet& set, const std::string& source)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckAgainstKnown(const trust::CaSet& set) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Accept(const trust::CaSet& set, const std::string& source)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RefreshReservations() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Walk(Outcome& outcome) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Perform(const rotation::Step& step) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status FinishWish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Commit(store::Change change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::shared_ptr<x509::Signer>> SignerOf(const trust::AuthorityId& id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Serving> NewServing(const trust::AuthorityId& id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status EnsureServing() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status PublishSigning() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PublishTrust() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  store::AuthorityRecord RecordOfAuthority(const rotation::Standing& standing) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  store::JournalEntry Entry(std::string kind, std::string why,
                            const rotation::Situation& after) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const TrustKeeperOptions options_;
  store::Store& store_;
  const keystore::SealedKeys keys_;
  Clock& clock_;
  Random& random_;
  const std::function<void()> changed_;

  mutable absl::Mutex mutex_;
  store::TrustRecord recorded_ ABSL_GUARDED_BY(mutex_);  // as the store has it
  std::optional<rotation::Situation> situation_ ABSL_GUARDED_BY(mutex_);
  std::optional<store::DesiredRecord> desired_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> refused_ ABSL_GUARDED_BY(mutex_);
  std::map<trust::AuthorityId, std::string> sealed_ ABSL_GUARDED_BY(mutex_);
  std::map<trust::AuthorityId, std::shared_ptr<Reservation>> reservations_ ABSL_GUARDED_BY(mutex_);

  Published<trust::TrustState> trust_;
  Published<Signing> signing_;
  Published<Serving> serving_;
};

}  // namespace capstan::server
