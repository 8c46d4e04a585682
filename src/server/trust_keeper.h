// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
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
#include "rotation/canary.h"
#include "rotation/machine.h"
#include "rotation/observer.h"
#include "server/foreign_signers.h"
#include "server/issuers.h"
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
  int64_t sequence = 0;                // of that bundle
};

// What a look at a CA source led to.
struct Outcome {
  bool changed = false;
  std::vector<std::string> steps;  // what was done at once, in order; the rest waits for its gates
  std::vector<std::string> warnings;
};

struct TrustKeeperOptions {
  issuance::Policy policy;
  ServingNames serving_names;
  absl::Duration serving_ttl = absl::Hours(24);
  rotation::Policy rotation;  // of rotations that bring none of their own
  // For how long others' leaves are assumed to be out there when material that existed before is
  // adopted; zero: it never signed elsewhere.
  absl::Duration foreign_leaf_ttl = absl::ZeroDuration();
  // Who else signs, for as long as it is said here.
  std::vector<ForeignSigner> foreign_signers = {};
  // How long the key of a retired authority is kept; InfiniteDuration(): for ever.
  absl::Duration retired_key_retention = absl::Hours(24 * 7);
  // The key of a root that is trusted is kept for as long as it is: intermediates are made with it.
  bool keep_root_keys = false;
};

// A CA that somebody wishes.
struct Offered {
  std::string source;                      // "directory", "built-in", "managed"
  std::optional<rotation::Policy> policy;  // nullopt: the configured one
  bool emergency = false;                  // no gates
  bool again = false;                      // also what a rollback or an abort refused
  // For whom it signs first. A rotation that runs already keeps its own.
  std::optional<trust::Canary> canary = std::nullopt;
};

// What an operator may do to a rotation that runs.
enum class Steering { kPause, kResume, kRollback, kAbort };

// A rotation as it stands.
struct RotationView {
  store::RotationRecord record;
  std::vector<store::ExemptionRecord> exempt;
  rotation::Decision decision;  // the last one, without its step
  rotation::Observation seen;   // that it was made on
};

// The one owner of what is trusted and who signs: takes wishes, walks the rotation's steps to them
// through their gates, each one in the store before it is seen, and publishes the result as
// snapshots. A store that refuses stops the walk where it is: what was published stays, and signs.
// Thread-safe.
class TrustKeeper {
 public:
  // `store`, `observer`, `clock` and `random` outlive it; `observer` is asked with the keeper's
  // lock held. `changed` is called after every publication.
  TrustKeeper(TrustKeeperOptions options, store::Store& store, keystore::SealedKeys keys,
              rotation::Observer& observer, Clock& clock, Random& random,
              std::function<void()> changed);

  // Reads the state and publishes it. A state without an authority is OK: trust() stays null until
  // the first Offer(). The walk goes on at the first Advance().
  absl::Status Start();

  // A set that was verified. Nothing happens when its content is that of the last wish.
  // FailedPrecondition: it cannot be reached from here, or was refused before. The store's error:
  // not, or not wholly, done; Advance() goes on.
  absl::StatusOr<Outcome> Offer(const trust::CaSet& set, const Offered& offered);
  // What Offer() would say to it; changes nothing.
  absl::Status CheckOffer(const trust::CaSet& set, const Offered& offered) const;
  // What is, with the set's authority in it.
  rotation::Situation With(const trust::CaSet& set) const;

  // Takes every step whose gate is open. To be called whenever something was seen, and every now
  // and then.
  absl::Status Advance();

  // FailedPrecondition: it cannot be done now, and why.
  absl::Status Steer(Steering action, const std::string& reason = "");
  // Passes somebody over who keeps a gate shut, for the rest of this rotation. NotFound: nobody of
  // that name does.
  absl::Status Exclude(const std::string& name, const std::string& reason);

  // Advance(), and what time itself asks for: renews the control plane's own certificate, destroys
  // keys that were kept long enough.
  absl::Status Maintain();

  // The rotation that runs, or ran last; nullopt: there was none.
  std::optional<RotationView> rotation() const;

  // Null before Start() or the first Offer() succeeded.
  std::shared_ptr<const trust::TrustState> trust() const;
  std::shared_ptr<const Issuers> issuers() const { return issuers_now_.Get(); }
  std::shared_ptr<const Signing> signing() const { return signing_.Get(); }
  // Of whoever signs for this identity: the canary's authority or the issuer.
  std::shared_ptr<const Signing> SigningFor(const spiffe::SpiffeId& id) const;
  std::shared_ptr<const Serving> serving() const { return serving_.Get(); }

  // Signs as an authority of ours, by its certificate's id. FailedPrecondition: its key is not
  // here.
  absl::StatusOr<std::shared_ptr<x509::Signer>> SignerFor(const trust::AuthorityId& id);

  // Who signs, and the bundle and CRLs of this moment, as a set with the key in it.
  // FailedPrecondition: there is no CA yet, or its key is not here.
  absl::StatusOr<trust::CaSet> InForce();

  // For the status: what is, and the last wish.
  std::optional<rotation::Situation> situation() const;
  std::optional<store::DesiredRecord> desired() const;
  std::optional<rotation::Wish> wish() const;  // what desired() says
  // CAs that may have signed CRLs of a new set.
  std::vector<x509::Certificate> KnownCas() const;
  // Whose leaves under these roots (fingerprints in hex) no record here tells of.
  std::vector<rotation::Holder> OthersUnder(const std::set<std::string>& roots) const;

  // Signs for an authority whatever its state, if its key is at hand: for probe certificates, which
  // no reservation covers. NotFound: there is no such authority; FailedPrecondition: no key.
  absl::StatusOr<std::shared_ptr<issuance::Issuer>> IssuerFor(const trust::AuthorityId& id);

 private:
  absl::Status CheckNew(const trust::CaSet& set, bool again) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckAgainstKnown(const trust::CaSet& set) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  rotation::Situation WithLocked(const trust::CaSet& set) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Accept(const trust::CaSet& set, const Offered& offered)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void BeginRotation(const rotation::Situation& now_is, const rotation::Wish& wish,
                     const Offered& offered, store::Change& change)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TakeOverUnwritten(const std::vector<store::UnwrittenRecord>& marks)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status TellUnseen(bool forget_marks) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RefreshReservations() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool running() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<trust::CanaryIssuer> canary() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // trust_walk.cc
  absl::Status Walk(Outcome& outcome) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status TakeSteps(Outcome& outcome) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<rotation::Holder> Others(const rotation::Gate& gate, absl::Time now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  rotation::Observation Look(const rotation::Gate& gate, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FindRises(absl::Time now, rotation::Observation& seen) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<store::BaselineRecord> BaselinesNow() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SayWhatIsWaitedFor(const rotation::Decision& decision) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Perform(const rotation::Step& step,
                       const std::vector<rotation::Exemption>& passed_over)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status FinishWish(const std::vector<rotation::Exemption>& passed_over)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status TurnBack(const char* outcome, const std::string& why)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status WriteRotation(store::RotationRecord record, std::string kind, std::string why,
                             std::vector<store::ExemptionRecord> exemptions = {})
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Record(const std::vector<rotation::Exemption>& passed_over, store::Change& change) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Take(const store::Change& change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status DestroyOldKeys() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status DestroyKey(const trust::AuthorityId& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Status Commit(store::Change change) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<x509::PrivateKey> KeyOf(const trust::AuthorityId& id) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::shared_ptr<x509::Signer>> SignerOf(const trust::AuthorityId& id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Serving> NewServing(const trust::AuthorityId& id)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status EnsureServing() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status PublishSigning() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<std::shared_ptr<const Signing>> SigningOf(const trust::AuthorityId& id,
                                                           const Signing* present)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PublishTrust() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  store::AuthorityRecord RecordOfAuthority(const rotation::Standing& standing) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  store::JournalEntry Entry(std::string kind, std::string why,
                            const rotation::Situation& after) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const TrustKeeperOptions options_;
  store::Store& store_;
  const keystore::SealedKeys keys_;
  rotation::Observer& observer_;
  Clock& clock_;
  Random& random_;
  const std::function<void()> changed_;

  mutable absl::Mutex mutex_;
  store::TrustRecord recorded_ ABSL_GUARDED_BY(mutex_);  // as the store has it
  std::optional<rotation::Situation> situation_ ABSL_GUARDED_BY(mutex_);
  std::optional<store::DesiredRecord> desired_ ABSL_GUARDED_BY(mutex_);
  std::optional<rotation::Wish> wish_ ABSL_GUARDED_BY(mutex_);  // what desired_ says
  rotation::Machine machine_ ABSL_GUARDED_BY(mutex_);
  std::optional<store::RotationRecord> rotation_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, store::ExemptionRecord> exempt_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, store::UnseenRecord> unseen_ ABSL_GUARDED_BY(mutex_);  // by signer
  std::vector<store::UnseenRecord> untold_ ABSL_GUARDED_BY(mutex_);  // of these, not in the store
  std::map<std::string, rotation::Baseline> baselines_ ABSL_GUARDED_BY(mutex_);  // by name
  rotation::Decision decision_ ABSL_GUARDED_BY(mutex_);
  rotation::Observation seen_ ABSL_GUARDED_BY(mutex_);
  // What the walk waits for, as last logged.
  std::string said_ ABSL_GUARDED_BY(mutex_);
  std::string said_gate_ ABSL_GUARDED_BY(mutex_);
  absl::Duration said_at_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
  std::vector<std::string> refused_ ABSL_GUARDED_BY(mutex_);
  std::map<trust::AuthorityId, std::string> sealed_ ABSL_GUARDED_BY(mutex_);
  std::map<trust::AuthorityId, absl::Time> state_since_ ABSL_GUARDED_BY(mutex_);
  std::map<trust::AuthorityId, std::shared_ptr<Reservation>> reservations_ ABSL_GUARDED_BY(mutex_);
  std::map<trust::AuthorityId, std::shared_ptr<issuance::Issuer>> issuers_
      ABSL_GUARDED_BY(mutex_);  // what IssuerFor() made

  struct CanarySigning {
    trust::Canary canary;
    std::shared_ptr<const Signing> signing;
  };
  Published<Issuers> issuers_now_;
  Published<Signing> signing_;
  Published<CanarySigning> canary_signing_;  // null: there is no canary
  Published<Serving> serving_;
};

}  // namespace capstan::server
