// SPDX-License-Identifier: Apache-2.0
#include "rotation/preflight.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "rotation/preflight_checks.h"
#include "trust/ca_crl.h"

namespace capstan::rotation {
namespace preflight {
namespace {

using trust::AuthorityState;

constexpr size_t kShortHex = 16;

void AddOnce(const x509::Certificate& certificate, std::vector<x509::Certificate>& list) {
  if (std::find(list.begin(), list.end(), certificate) == list.end()) list.push_back(certificate);
}

bool HasLiveLeaves(const Standing& standing, absl::Time now) {
  return (standing.state == AuthorityState::kActive ||
          standing.state == AuthorityState::kRetiring) &&
         standing.reserved_until > now;
}

// Issuers first, then whoever else has leaves.
std::vector<trust::Authority> OthersInUse(const PreflightInput& input, absl::Time now) {
  std::vector<trust::Authority> others;
  for (const auto& [id, standing] : input.now_is.authorities) {
    if (id == input.candidate.authority.id) continue;
    const bool signs = input.now_is.trust.issuer_epoch > 0 && id == input.now_is.trust.issuer;
    if (signs) {
      others.insert(others.begin(), standing.authority);
    } else if (HasLiveLeaves(standing, now)) {
      others.push_back(standing.authority);
    }
  }
  return others;
}

std::vector<x509::Certificate> CandidatesCas(const PreflightInput& input,
                                             const trust::Bundle& old_bundle) {
  std::vector<x509::Certificate> cas;
  for (const x509::Certificate& ca : trust::CasOf(input.candidate.authority)) AddOnce(ca, cas);
  const trust::Bundle added = Difference(input.candidate.bundle, old_bundle);
  for (const x509::Certificate& root : added.roots()) AddOnce(root, cas);
  return cas;
}

}  // namespace

bool Scope::IsRoot(const x509::Certificate& ca) const {
  return both.Contains(ca) || ca == wanted().root;
}

std::string Scope::Named(const x509::Certificate& ca) const {
  const std::string_view role = IsRoot(ca)                   ? "root"
                                : ca == wanted().certificate ? "signing certificate"
                                                             : "intermediate";
  const std::string ski = absl::BytesToHexString(ca.subject_key_id());
  return absl::StrCat(role, " \"", ca.Subject(), "\" (",
                      ski.empty() ? "no SKI" : absl::StrCat("SKI ", ski.substr(0, kShortHex)),
                      ", fingerprint ", ca.FingerprintHex().substr(0, kShortHex), ")");
}

Scope ScopeOf(const PreflightInput& input, absl::Time now) {
  const trust::Bundle& old_bundle = input.now_is.trust.bundle;
  Scope scope{.input = input,
              .now = now,
              .old_bundle = old_bundle,
              .both = Union(old_bundle, input.candidate.bundle),
              .new_bundle = input.candidate.bundle,
              .in_use = OthersInUse(input, now),
              .candidate = CandidatesCas(input, old_bundle),
              .all = {}};
  scope.all = scope.candidate;
  for (const trust::Authority& authority : scope.in_use) {
    for (const x509::Certificate& ca : trust::CasOf(authority)) AddOnce(ca, scope.all);
  }
  for (const x509::Certificate& root : scope.both.roots()) AddOnce(root, scope.all);
  return scope;
}

std::string UtcTime(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", time, absl::UTCTimeZone());
}

}  // namespace preflight

std::vector<std::string_view> FindingCodes() {
  return {
      "bundle-size",
      "ca-names",
      "canary-selects-everybody",
      "canary-selects-nobody",
      "canary-untold",
      "chain-size",
      "critical-extension",
      "crl",
      "crl-ends",
      "crls-dropped",
      "ends-soon",
      "ends-sooner",
      "expired",
      "expired-twin",
      "join-file",
      "key-changes",
      "key-refused",
      "key-unusual",
      "name-constraints",
      "name-constraints-ip",
      "no-crl-sign",
      "no-key",
      "no-key-cert-sign",
      "no-key-usage",
      "no-way",
      "not-a-ca",
      "not-yet-valid",
      "not-yet-valid-there",
      "outlives-issuer",
      "pair-crosses",
      "pair-refused",
      "path-length",
      "same-key-other-root",
      "same-key-roots",
      "same-ski",
      "same-subject",
      "same-subject-no-ids",
      "serial",
      "signature-weak",
      "source",
      "trial-failed",
      "unreadable-name",
      "version",
  };
}

std::string_view SeverityName(Severity severity) {
  switch (severity) {
    case Severity::kError:
      return "error";
    case Severity::kWarning:
      return "warning";
    case Severity::kNote:
      return "note";
  }
  return "unknown";
}

Candidate CandidateOf(const trust::CaSet& set) {
  return {set.authority, set.bundle, set.crls, set.warnings};
}

std::vector<Finding> Preflight(const PreflightInput& input, absl::Time now) {
  const preflight::Scope scope = preflight::ScopeOf(input, now);
  std::vector<Finding> findings;
  CheckTheWay(scope, findings);
  CheckPairs(scope, findings);
  CheckKeys(scope, findings);
  CheckShape(scope, findings);
  CheckNameConstraints(scope, findings);
  CheckCollisions(scope, findings);
  CheckValidity(scope, findings);
  CheckSizes(scope, findings);
  CheckJoinFiles(scope, findings);
  std::stable_sort(findings.begin(), findings.end(),
                   [](const Finding& a, const Finding& b) { return a.severity < b.severity; });
  return findings;
}

bool HasErrors(const std::vector<Finding>& findings) {
  return std::any_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.severity == Severity::kError; });
}

}  // namespace capstan::rotation
