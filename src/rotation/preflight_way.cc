// SPDX-License-Identifier: Apache-2.0
// Whether there is a way at all, and what it rests on.
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "rotation/preflight_checks.h"
#include "trust/ca_crl.h"

namespace capstan::rotation::preflight {
namespace {

constexpr absl::Duration kCrlMargin = absl::Hours(24);

// As if the candidate's key were here: whether it is, is said apart.
Situation WithCandidate(const Scope& scope) {
  Situation situation = scope.input.now_is;
  auto [standing, added] = situation.authorities.insert(
      {scope.wanted().id,
       Standing{scope.wanted(), trust::AuthorityState::kPrepared, true, absl::InfinitePast()}});
  standing->second.has_key = true;
  return situation;
}

void CheckKeyInHand(const Scope& scope, Findings& findings) {
  auto signer = scope.input.signers.find(scope.wanted().id);
  if (signer != scope.input.signers.end() && signer->second != nullptr) return;
  findings.push_back(
      {Severity::kNote, "no-key",
       "the key of the new issuer is not in hand: the rotation will rest in both-trusted, with "
       "both "
       "roots trusted and the present issuer signing, and no leaf could be signed on trial",
       scope.Named(scope.wanted().certificate), "bring the key to go on from there"});
}

void CheckCrls(const Scope& scope, const Situation& situation, const Wish& wish,
               Findings& findings) {
  if (absl::Status way = CheckWish(situation, wish, scope.now); !way.ok()) {
    findings.push_back({Severity::kError, "crl", std::string(way.message()),
                        "the CRLs (ca-crl.pem)",
                        "as soon as a verifier has CRLs every CA of a chain needs a current one: "
                        "bring one of each CA that has leaves, or none at all"});
  }
  for (const x509::Crl& crl : wish.crls) {
    if (!crl.next_update().has_value() || *crl.next_update() > scope.now + kCrlMargin) continue;
    findings.push_back({Severity::kWarning, "crl-ends",
                        absl::StrCat("a CRL of the set ends at ", UtcTime(*crl.next_update()),
                                     ", and Envoy refuses every leaf of its CA from then on"),
                        absl::StrCat("the CRL of \"", crl.Issuer(), "\""),
                        "bring a newer one before that"});
  }
}

void CheckCrlsAreKept(const Scope& scope, Findings& findings) {
  if (scope.input.now_is.trust.crls.empty()) return;
  findings.push_back({Severity::kWarning, "crls-dropped",
                      absl::StrCat("there are ", scope.input.now_is.trust.crls.size(),
                                   " CRLs now and none comes with the new issuer: what they revoke "
                                   "is accepted again from the first step on"),
                      "the CRLs (ca-crl.pem)",
                      "bring CRLs of the old and the new CAs, if the revoked leaves still matter"});
}

void CheckCrlSign(const Scope& scope, Findings& findings) {
  for (const x509::Certificate& ca : trust::CasOf(scope.wanted())) {
    if (!ca.key_usage().has_value() || (*ca.key_usage() & x509::kCrlSign) != 0) continue;
    findings.push_back({Severity::kNote, "no-crl-sign",
                        "it may not sign CRLs (keyUsage without cRLSign): under this chain nothing "
                        "can ever be revoked by a CRL",
                        scope.Named(ca), "have it issued with cRLSign if you want CRLs later"});
  }
}

}  // namespace

void CheckTheWay(const Scope& scope, Findings& findings) {
  CheckKeyInHand(scope, findings);
  for (const std::string& said : scope.input.candidate.said) {
    findings.push_back({Severity::kWarning, "source", said, "the candidate's files", ""});
  }
  const Situation situation = WithCandidate(scope);
  Wish wish{scope.new_bundle, {}, scope.wanted().id};
  if (absl::Status way = CheckWish(situation, wish, scope.now); !way.ok()) {
    findings.push_back({Severity::kError, "no-way", std::string(way.message()),
                        scope.Named(scope.wanted().certificate),
                        "change what the message names; nothing can be rotated before"});
    return;
  }
  if (scope.input.candidate.crls.empty()) {
    CheckCrlsAreKept(scope, findings);
    CheckCrlSign(scope, findings);
    return;
  }
  wish.crls = scope.input.candidate.crls;
  CheckCrls(scope, situation, wish, findings);
}

}  // namespace capstan::rotation::preflight
