// SPDX-License-Identifier: Apache-2.0
// Every leaf and bundle that the plan will let meet, put before the verifier that verifies callers.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "rotation/preflight_checks.h"
#include "x509/verify.h"

namespace capstan::rotation::preflight {
namespace {

struct Sample {
  const trust::Authority& authority;
  std::string of;  // "the new issuer"
  std::vector<x509::Certificate> presented;
  bool is_leaf = false;  // else the authority's own chain, for want of its key
};

struct NamedBundle {
  const trust::Bundle& bundle;
  std::string_view name;
};

absl::StatusOr<x509::Certificate> SignOnTrial(const trust::Authority& authority,
                                              x509::Signer& signer, const Scope& scope) {
  CAPSTAN_ASSIGN_OR_RETURN(x509::LeafTemplate leaf, x509::LeafTemplate::For(authority.certificate));
  CAPSTAN_ASSIGN_OR_RETURN(x509::PrivateKey subject,
                           x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256));
  x509::SubjectAltNames sans;
  sans.uris = {scope.input.sample_id.ToString()};
  const absl::Time not_before =
      std::max(scope.now - scope.input.backdate, authority.certificate.not_before());
  const absl::Time not_after =
      std::min(scope.now + scope.input.max_ttl, authority.certificate.not_after());
  CAPSTAN_ASSIGN_OR_RETURN(
      std::string der, leaf.SignDer(x509::SerialNumber::FromBytes("\x01"), not_before, not_after,
                                    sans, subject.public_key(), signer));
  return x509::Certificate::ParseDer(der);
}

Sample SampleOf(const trust::Authority& authority, std::string of, const Scope& scope,
                Findings& findings) {
  Sample sample{authority, std::move(of), authority.intermediates};
  auto signer = scope.input.signers.find(authority.id);
  if (signer == scope.input.signers.end() || signer->second == nullptr) {
    if (sample.presented.empty()) sample.presented.push_back(authority.certificate);
    return sample;
  }
  absl::StatusOr<x509::Certificate> leaf = SignOnTrial(authority, *signer->second, scope);
  if (!leaf.ok()) {
    findings.push_back({Severity::kError, "trial-failed",
                        absl::StrCat(sample.of, " cannot sign a leaf: ", leaf.status().message()),
                        scope.Named(authority.certificate),
                        "make a new intermediate with a key of RSA 2048 to 4096, P-256 or P-384"});
    if (sample.presented.empty()) sample.presented.push_back(authority.certificate);
    return sample;
  }
  sample.presented.insert(sample.presented.begin(), *leaf);
  sample.is_leaf = true;
  return sample;
}

// In both roles: every workload is now a server, now a client.
absl::Status Meet(const Sample& sample, const trust::Bundle& bundle, absl::Time now) {
  if (!sample.is_leaf) return x509::Verify(sample.presented, bundle.roots(), now).status;
  for (x509::Purpose purpose : {x509::Purpose::kServer, x509::Purpose::kClient}) {
    x509::VerifyOptions options;
    options.purpose = purpose;
    absl::Status met = x509::VerifySvid(sample.presented, bundle.roots(), now, options).status;
    if (!met.ok()) {
      return Annotate(met, purpose == x509::Purpose::kServer ? "as a server" : "as a client");
    }
  }
  return absl::OkStatus();
}

void MustVerify(const Sample& sample, const NamedBundle& bundle, const Scope& scope,
                Findings& findings) {
  const absl::Status met = Meet(sample, bundle.bundle, scope.now);
  if (met.ok()) return;
  findings.push_back(
      {Severity::kError, "pair-refused",
       absl::StrCat("a leaf of ", sample.of, " is refused by who trusts ", bundle.name, ": ",
                    met.message()),
       scope.Named(sample.authority.certificate),
       "mend what the verifier names before rotating: with this set these two would meet"});
}

void MustNotVerify(const Sample& sample, const NamedBundle& bundle, const Scope& scope,
                   Findings& findings) {
  if (!Meet(sample, bundle.bundle, scope.now).ok()) return;
  findings.push_back(
      {Severity::kNote, "pair-crosses",
       absl::StrCat("a leaf of ", sample.of, " is accepted by who trusts ", bundle.name,
                    " too (a cross-signed intermediate, or a root of the same key): nothing "
                    "breaks, but a handshake cannot show that trust moved, and dropping the old "
                    "root does not end trust in its key"),
       scope.Named(sample.authority.certificate),
       "to be rid of the old key, use a root and an intermediate of new keys"});
}

void TryOld(const trust::Authority& old, const Scope& scope, Findings& findings) {
  const bool signs = old.id == scope.input.now_is.trust.issuer;
  const Sample sample =
      SampleOf(old, signs ? "the present issuer" : absl::StrCat("authority ", old.id.hex()), scope,
               findings);
  MustVerify(sample, {scope.old_bundle, "the roots that are there now"}, scope, findings);
  MustVerify(sample, {scope.both, "the old and the new roots"}, scope, findings);
  if (scope.new_bundle.Contains(old.root)) {
    MustVerify(sample, {scope.new_bundle, "the new roots alone"}, scope, findings);
  } else {
    MustNotVerify(sample, {scope.new_bundle, "the new roots alone"}, scope, findings);
  }
}

}  // namespace

void CheckPairs(const Scope& scope, Findings& findings) {
  for (const trust::Authority& old : scope.in_use) TryOld(old, scope, findings);
  const Sample sample = SampleOf(scope.wanted(), "the new issuer", scope, findings);
  if (scope.old_bundle.Contains(scope.wanted().root)) {
    MustVerify(sample, {scope.old_bundle, "the roots that are there now"}, scope, findings);
  } else if (!scope.old_bundle.empty()) {
    MustNotVerify(sample, {scope.old_bundle, "the old roots alone"}, scope, findings);
  }
  MustVerify(sample, {scope.both, "the old and the new roots"}, scope, findings);
  MustVerify(sample, {scope.new_bundle, "the new roots alone"}, scope, findings);
}

}  // namespace capstan::rotation::preflight
