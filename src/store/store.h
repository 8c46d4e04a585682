// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "trust/authority.h"
#include "trust/bundle.h"

namespace capstan::store {

// What the control plane says about trust. Certificates are PEM: a record outlives the program that
// wrote it.
struct TrustRecord {
  trust::BundleVersion version;
  std::string roots_pem;  // canonical
  int64_t issuer_epoch = 0;
  std::string issuer;  // AuthorityId in hex; "" before the first authority
  int64_t crl_number = 0;
  std::string crls_pem;
  std::string serving_authority;  // which authority signs the control plane's own certificate
  friend bool operator==(const TrustRecord&, const TrustRecord&) = default;
};

struct AuthorityRecord {
  std::string id;
  trust::AuthorityState state = trust::AuthorityState::kPrepared;
  std::string
      chain_pem;  // signing certificate, its intermediates, last the root (once where they are one)
  std::string sealed_key;                            // "" where the key is elsewhere
  absl::Time reserved_until = absl::InfinitePast();  // nothing that it signed outlives this
  absl::Time state_since = absl::InfinitePast();
  friend bool operator==(const AuthorityRecord&, const AuthorityRecord&) = default;
};

// A wish: what somebody wrote into the CA directory or asked for by command, accepted and journaled
// before anything is done.
struct DesiredRecord {
  std::string digest;  // trust::CaSet::ContentDigest
  std::string source;  // "directory", "built-in", "managed", "rollback", "abort"
  std::string roots_pem;
  std::string crls_pem;
  std::string issuer;  // an AuthorityRecord that is there
  absl::Time accepted_at = absl::InfinitePast();
  absl::Time applied_at = absl::InfinitePast();  // InfinitePast: steps are left
  bool applied() const { return applied_at != absl::InfinitePast(); }
  friend bool operator==(const DesiredRecord&, const DesiredRecord&) = default;
};

// A walk from one wish to another, from its beginning on; the one of the highest number is the one
// that runs, or ran last.
struct RotationRecord {
  int64_t number = 0;  // from 1
  std::string source;
  // What was there before, for the way back.
  std::string from_roots_pem;
  std::string from_crls_pem;
  std::string from_issuer;
  std::string to_roots_pem;
  std::string to_issuer;
  absl::Time started_at = absl::InfinitePast();
  absl::Time finished_at = absl::InfinitePast();  // InfinitePast: it runs
  std::string outcome = "done";                   // or "rolled-back", "aborted": what it ends in
  std::string phase;
  absl::Time phase_since = absl::InfinitePast();
  bool paused = false;
  bool emergency = false;
  absl::Duration soak;
  absl::Duration absent_deadline = absl::InfiniteDuration();
  bool require_proven = false;
  double issue_per_second = 0;  // re-issues that its plans direct; 0: as many as are signed at all
  std::string canary;           // trust::Canary; "": none
  std::string turned_why;       // why it turned back; "": it did not
  bool finished() const { return finished_at != absl::InfinitePast(); }
  friend bool operator==(const RotationRecord&, const RotationRecord&) = default;
};

// Who was passed over in a rotation; never forgotten.
struct ExemptionRecord {
  int64_t rotation = 0;
  std::string name;
  std::string why;
  absl::Time at;
  friend bool operator==(const ExemptionRecord&, const ExemptionRecord&) = default;
};

// What a workload's consumer had counted of failed handshakes when the canary of the latest
// rotation began.
struct BaselineRecord {
  std::string name;  // SPIFFE_ID#INSTANCE
  int64_t failed = 0;
  int64_t per_hour = 0;  // how many it added to them before
  friend bool operator==(const BaselineRecord&, const BaselineRecord&) = default;
};

// Leaves that may be out there without a record here: signed by others under a root of ours, or by
// us shortly before a crash.
struct UnseenRecord {
  std::string signer;  // "root:" and a fingerprint, or "authority:" and an AuthorityId, in hex
  absl::Time until;    // none of them outlives this
  std::string why;
  friend bool operator==(const UnseenRecord&, const UnseenRecord&) = default;
};

// Leaves of an authority that are given out before their records are written. Whoever finds one
// when it starts has lost records: the program ended in that moment.
struct UnwrittenRecord {
  std::string authority;
  absl::Time until;  // none of them outlives this
  friend bool operator==(const UnwrittenRecord&, const UnwrittenRecord&) = default;
};

// One line of what was decided and done, for people and for the record; never read back to decide.
struct JournalEntry {
  int64_t number = 0;  // given by the store, growing
  absl::Time at;
  std::string kind;  // "desired", "add-roots", "switch-issuer", …
  std::string why;
  std::string digest;    // of the wish that it serves
  int64_t sequence = 0;  // of the bundle after it
  int64_t issuer_epoch = 0;
  int64_t rotation = 0;  // that it belongs to; 0: none
  friend bool operator==(const JournalEntry&, const JournalEntry&) = default;
};

// One link of the trust history (trust/history.h): the document of a bundle version.
struct HistoryRecord {
  int64_t sequence = 0;  // of the version
  std::string document;
  friend bool operator==(const HistoryRecord&, const HistoryRecord&) = default;
};

// How many links are kept; the oldest make room.
inline constexpr int64_t kMostHistory = 1000;

// Everything but tokens, population, journal and history.
struct State {
  TrustRecord trust;
  std::vector<AuthorityRecord> authorities;  // by id
  std::optional<DesiredRecord> desired;
  std::vector<std::string> refused;         // digests that a rollback or abort refused; sorted
  std::optional<RotationRecord> rotation;   // the latest
  std::vector<ExemptionRecord> exemptions;  // of the latest, by name
  std::vector<UnseenRecord> unseen;         // by signer
  std::vector<UnwrittenRecord> unwritten;   // by authority
  std::vector<BaselineRecord> baselines;    // by name
  friend bool operator==(const State&, const State&) = default;
};

// What changes together. Absent members stay as they are.
struct Change {
  // The sequence, epoch and CRL number that this change was decided on; another one there: Aborted.
  TrustRecord expected;
  std::optional<TrustRecord> trust;
  std::vector<AuthorityRecord> authorities;  // added or replaced; reserved_until never goes back
  std::optional<DesiredRecord> desired;
  std::optional<std::string> refuse;        // one more digest
  std::optional<std::string> unrefuse;      // one less
  std::optional<RotationRecord> rotation;   // added, or replaces the one of its number
  std::vector<ExemptionRecord> exemptions;  // added
  std::vector<UnseenRecord> unseen;         // added or replaced; `until` never goes back
  bool forget_unwritten = false;            // all of them: they are in `unseen` from here on
  std::optional<std::vector<BaselineRecord>> baselines;  // instead of all there are
  std::vector<JournalEntry> journal;
  std::optional<HistoryRecord> history;  // of the bundle in `trust`
};

struct TokenRecord {
  std::string hash;  // SHA-256 of the token, raw
  std::string spiffe_id;
  absl::Time created_at;
  absl::Time expires_at;
  absl::Time consumed_at = absl::InfinitePast();  // the rest: once consumed
  std::string csr_key_hash;                       // SHA-256 of the CSR's SubjectPublicKeyInfo
  std::vector<std::string> certificate;           // the answer that was given
  int64_t sequence = 0;                           // of the bundle that its join file holds
  bool consumed() const { return consumed_at != absl::InfinitePast(); }
  friend bool operator==(const TokenRecord&, const TokenRecord&) = default;
};

// Who holds which leaf: one record for each instance of an identity and purpose ("workload": what
// its consumers show; "agent": its agent's own). Callers that name no instance get one for each
// serial.
struct PopulationRecord {
  std::string spiffe_id;
  std::string instance;
  std::string purpose;
  std::string serial;
  std::string authority;
  absl::Time not_before;
  absl::Time not_after;
  absl::Time last_seen;
  std::vector<std::string> consumers;  // ids of the last report
  // The sequence of the bundle that the leaf's answer carried to who takes its roots from there; 0:
  // to somebody else.
  int64_t told = 0;
  friend bool operator==(const PopulationRecord&, const PopulationRecord&) = default;
};

struct Consumption {
  std::string token_hash;
  std::string csr_key_hash;
  absl::Time at;
  std::vector<std::string> certificate;
  PopulationRecord record;
};

// The control plane's durable state. What returns OK is on the disk. Every call is one transaction:
// all of it or nothing, also when the machine dies meanwhile. Thread-safe.
//   Aborted             another writer was there first: load again
//   Unavailable         the store cannot be reached or is locked; later it may
//   ResourceExhausted   the disk is full
//   DataLoss            the store's bytes are damaged
class Store {
 public:
  virtual ~Store() = default;

  // A new store has a lineage, sequence 0, and nothing else.
  virtual absl::StatusOr<State> Load() = 0;
  virtual absl::Status Commit(const Change& change) = 0;
  // Moves an authority's reserved_until forward; an earlier time changes nothing. NotFound: no such
  // one.
  virtual absl::Status Reserve(std::string_view authority, absl::Time until) = 0;
  // Adds a mark, or moves it forward; an earlier time changes nothing.
  virtual absl::Status MarkUnwritten(std::string_view authority, absl::Time until) = 0;
  // Takes it away; OK where there is none.
  virtual absl::Status ClearUnwritten(std::string_view authority) = 0;
  // The last `limit` entries, oldest first.
  virtual absl::StatusOr<std::vector<JournalEntry>> Journal(int limit) = 0;
  // The last `limit` rotations, oldest first, and everybody passed over in them.
  struct RotationHistory {
    std::vector<RotationRecord> rotations;
    std::vector<ExemptionRecord> exemptions;  // by rotation and name
  };
  virtual absl::StatusOr<RotationHistory> Rotations(int limit) = 0;
  // The last kMostHistory links, oldest first.
  virtual absl::StatusOr<std::vector<HistoryRecord>> History() = 0;

  virtual absl::Status AddToken(const TokenRecord& token) = 0;
  // NotFound: never made, or forgotten since.
  virtual absl::StatusOr<TokenRecord> FindToken(std::string_view hash) = 0;
  // Marks the token as used and records the certificate it gave. FailedPrecondition: it was used
  // before.
  virtual absl::Status ConsumeToken(const Consumption& consumption) = 0;
  // Those that are neither used nor expired at `now`, by hash.
  virtual absl::StatusOr<std::vector<TokenRecord>> OpenTokens(absl::Time now) = 0;
  // Forgets tokens that expired before `before`. The number forgotten.
  virtual absl::StatusOr<int64_t> ForgetTokens(absl::Time before) = 0;

  virtual absl::Status PutPopulation(const std::vector<PopulationRecord>& records) = 0;
  virtual absl::StatusOr<std::vector<PopulationRecord>> LoadPopulation() = 0;
  // Forgets records whose leaf expired before `before`. The number forgotten.
  virtual absl::StatusOr<int64_t> ForgetPopulation(absl::Time before) = 0;
};

}  // namespace capstan::store
