// SPDX-License-Identifier: Apache-2.0
// What a rotation would meet, looked at before its first step. Pure: everything is an argument and
// nothing is changed; signing on trial makes leaves that nobody ever sees.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "rotation/step.h"
#include "spiffe/spiffe_id.h"
#include "trust/authority.h"
#include "trust/bundle.h"
#include "trust/ca_set.h"
#include "x509/crl.h"
#include "x509/sign.h"

namespace capstan::rotation {

enum class Severity {
  kError,    // the rotation would break something, or cannot be done
  kWarning,  // it will hurt somebody, now or later, unless something is done
  kNote,     // good to know
};
std::string_view SeverityName(Severity severity);  // "error", "warning", "note"

struct Finding {
  Severity severity = Severity::kNote;
  std::string code;    // stable, for scripts: "pair-refused"; one of FindingCodes()
  std::string what;    // one sentence
  std::string where;   // the certificate, bundle, file or agent
  std::string remedy;  // what to do; "" where nothing need be done
  friend bool operator==(const Finding&, const Finding&) = default;
};

// What is to become of the trust that is: verified by whoever read it.
struct Candidate {
  trust::Authority authority;     // to be the issuer
  trust::Bundle bundle;           // to be the whole bundle at the end
  std::vector<x509::Crl> crls;    // to go with it
  std::vector<std::string> said;  // what the reader tolerated (CaSet::warnings)
};
Candidate CandidateOf(const trust::CaSet& set);

// A join file that nobody has used yet. It pins the roots of the bundle it was made with.
struct JoinFileFact {
  std::string name;
  int64_t bundle_sequence = 0;
  absl::Time expires = absl::InfiniteFuture();
};

struct PreflightInput {
  Situation now_is;
  Candidate candidate;
  // Whose keys are in hand, to sign leaves on trial: the issuer that is, the candidate's, others
  // with leaves in use. Without one, its chain alone is tried.
  std::map<trust::AuthorityId, std::shared_ptr<x509::Signer>> signers;
  absl::Duration max_ttl = absl::Hours(24 * 90);  // of the issuance policy
  absl::Duration backdate = absl::Minutes(2);     // how far back leaves begin
  spiffe::SpiffeId sample_id;                     // an identity of the trust domain
  std::vector<absl::Duration> clock_offsets;      // the agents' clocks minus this one
  std::vector<JoinFileFact> join_files;
  // Since which bundle every wanted root has been in the bundle; nullopt: since the present one,
  // if they all are.
  std::optional<int64_t> new_roots_since;
};

// Everything there is to say, errors first, in an order that depends on the input alone.
std::vector<Finding> Preflight(const PreflightInput& input, absl::Time now);

bool HasErrors(const std::vector<Finding>& findings);

// Every code that a finding of a rotation has, those of its canary too, in order; docs/rotation.md
// says what each means.
std::vector<std::string_view> FindingCodes();

}  // namespace capstan::rotation
