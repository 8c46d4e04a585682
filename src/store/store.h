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
  friend bool operator==(const AuthorityRecord&, const AuthorityRecord&) = default;
};

// A wish: what somebody wrote into the CA directory, accepted and journaled before anything is
// done.
struct DesiredRecord {
  std::string digest;  // trust::CaSet::ContentDigest
  std::string source;  // "directory" or "built-in"
  std::string roots_pem;
  std::string crls_pem;
  std::string issuer;  // an AuthorityRecord that is there
  absl::Time accepted_at = absl::InfinitePast();
  absl::Time applied_at = absl::InfinitePast();  // InfinitePast: steps are left
  bool applied() const { return applied_at != absl::InfinitePast(); }
  friend bool operator==(const DesiredRecord&, const DesiredRecord&) = default;
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
  friend bool operator==(const JournalEntry&, const JournalEntry&) = default;
};

// Everything but tokens, population and journal.
struct State {
  TrustRecord trust;
  std::vector<AuthorityRecord> authorities;  // by id
  std::optional<DesiredRecord> desired;
  std::vector<std::string> refused;  // digests that a rollback or abort refused; sorted
  friend bool operator==(const State&, const State&) = default;
};

// What changes together. Absent members stay as they are.
struct Change {
  // The sequence, epoch and CRL number that this change was decided on; another one there: Aborted.
  TrustRecord expected;
  std::optional<TrustRecord> trust;
  std::vector<AuthorityRecord> authorities;  // added or replaced; reserved_until never goes back
  std::optional<DesiredRecord> desired;
  std::optional<std::string> refuse;  // one more digest
  std::vector<JournalEntry> journal;
};

struct TokenRecord {
  std::string hash;  // SHA-256 of the token, raw
  std::string spiffe_id;
  absl::Time created_at;
  absl::Time expires_at;
  absl::Time consumed_at = absl::InfinitePast();  // the rest: once consumed
  std::string csr_key_hash;                       // SHA-256 of the CSR's SubjectPublicKeyInfo
  std::vector<std::string> certificate;           // the answer that was given
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
  // The last `limit` entries, oldest first.
  virtual absl::StatusOr<std::vector<JournalEntry>> Journal(int limit) = 0;

  virtual absl::Status AddToken(const TokenRecord& token) = 0;
  // NotFound: never made, or forgotten since.
  virtual absl::StatusOr<TokenRecord> FindToken(std::string_view hash) = 0;
  // Marks the token as used and records the certificate it gave. FailedPrecondition: it was used
  // before.
  virtual absl::Status ConsumeToken(const Consumption& consumption) = 0;
  // Forgets tokens that expired before `before`. The number forgotten.
  virtual absl::StatusOr<int64_t> ForgetTokens(absl::Time before) = 0;

  virtual absl::Status PutPopulation(const std::vector<PopulationRecord>& records) = 0;
  virtual absl::StatusOr<std::vector<PopulationRecord>> LoadPopulation() = 0;
  // Forgets records whose leaf expired before `before`. The number forgotten.
  virtual absl::StatusOr<int64_t> ForgetPopulation(absl::Time before) = 0;
};

}  // namespace capstan::store
