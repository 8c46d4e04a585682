// SPDX-License-Identifier: Apache-2.0
#include "authn/certificate.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "base/status.h"
#include "base/strings.h"
#include "trust/ca_crl.h"
#include "x509/verify.h"

namespace capstan::authn {
namespace {

std::string Rfc3339(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

std::string Named(const x509::Certificate& leaf) {
  absl::StatusOr<spiffe::SpiffeId> id = leaf.SpiffeId();
  return absl::StrCat("the certificate ", id.ok() ? absl::StrCat("of ", id->ToString(), " ") : "",
                      "(serial ", leaf.serial().ToHex(), ")");
}

absl::Status CheckValidity(const x509::Certificate& leaf, absl::Time now) {
  if (now >= leaf.not_after()) {  // as OpenSSL, and so Envoy, reads it
    return absl::UnauthenticatedError(absl::StrCat(
        Named(leaf), " expired at ", Rfc3339(leaf.not_after()), "; it is ", Rfc3339(now), " here"));
  }
  if (now < leaf.not_before()) {
    return absl::UnauthenticatedError(absl::StrCat(Named(leaf), " is not valid before ",
                                                   Rfc3339(leaf.not_before()), "; it is ",
                                                   Rfc3339(now), " here: compare the clocks"));
  }
  return absl::OkStatus();
}

absl::StatusOr<spiffe::SpiffeId> IdentityOf(const x509::Certificate& leaf,
                                            const spiffe::TrustDomain& trust_domain) {
  absl::StatusOr<spiffe::SpiffeId> id = leaf.SpiffeId();
  if (!id.ok()) {
    return absl::UnauthenticatedError(
        absl::StrCat(Named(leaf), " is no X509-SVID: ", id.status().message()));
  }
  if (id->trust_domain() != trust_domain) {
    return absl::UnauthenticatedError(absl::StrCat("the certificate is of ", id->ToString(),
                                                   ", but the trust domain here is ",
                                                   trust_domain.name()));
  }
  if (id->IsReserved()) {
    return absl::UnauthenticatedError(absl::StrCat(
        id->ToString(), " is reserved for the control plane: no client calls with it"));
  }
  return id;
}

std::string KeyIds(const trust::Bundle& bundle) {
  constexpr size_t kShown = 4;
  std::string text;
  size_t shown = 0;
  for (const x509::Certificate& root : bundle.roots()) {
    if (shown++ == kShown) {
      absl::StrAppend(&text, ", …");
      break;
    }
    absl::StrAppend(&text, text.empty() ? "" : ", ", absl::BytesToHexString(root.subject_key_id()));
  }
  return text.empty() ? "none" : text;
}

// Whether some certificate of the chain names a root of the bundle as its issuer: if none does, the
// whole chain belongs to another CA (or to one that has left), which is the first thing its owner
// must know.
bool ReachesBundle(const std::vector<x509::Certificate>& chain, const trust::Bundle& bundle) {
  return std::any_of(chain.begin(), chain.end(), [&](const x509::Certificate& certificate) {
    return std::any_of(bundle.roots().begin(), bundle.roots().end(),
                       [&](const x509::Certificate& root) {
                         return certificate == root || certificate.IsSignedBy(root.public_key());
                       });
  });
}

absl::Status UnknownIssuer(const std::vector<x509::Certificate>& chain,
                           const trust::Bundle& bundle) {
  const x509::Certificate& top = chain.back();
  const std::string key_id = absl::BytesToHexString(top.authority_key_id());
  return absl::UnauthenticatedError(
      absl::StrCat(Named(chain.front()), " does not chain to a root of the bundle: its issuer \"",
                   top.Issuer(), "\" (key id ", key_id.empty() ? "not given" : key_id,
                   ") is not known here; roots here: ", KeyIds(bundle)));
}

absl::Status CheckGrace(const x509::Certificate& leaf, absl::Duration grace, absl::Time now) {
  if (grace <= absl::ZeroDuration()) {
    return absl::UnauthenticatedError(
        absl::StrCat(Named(leaf), " has lapsed, and rejoin-grace is off here"));
  }
  if (now < leaf.not_before()) return CheckValidity(leaf, now);
  if (now - leaf.not_after() > grace) {
    return absl::UnauthenticatedError(
        absl::StrCat(Named(leaf), " expired at ", Rfc3339(leaf.not_after()),
                     ", longer ago than rejoin-grace (", absl::FormatDuration(grace), ")"));
  }
  return absl::OkStatus();
}

// Through the bundle, or through the root that an authority of ours had.
x509::Verdict VerifyLapsed(const std::vector<x509::Certificate>& chain, const trust::Bundle& bundle,
                           const std::vector<trust::Authority>& known, absl::Time at) {
  const x509::VerifyOptions options{.purpose = x509::Purpose::kClient};
  x509::Verdict verdict = x509::VerifySvid(chain, bundle.roots(), at, options);
  if (verdict.status.ok()) return verdict;
  for (const trust::Authority& authority : known) {
    // Of a root that has left only what our authority signed: others signed under it as well.
    if (!chain.front().IsSignedBy(authority.certificate.public_key())) continue;
    x509::Verdict through = x509::VerifySvid(chain, {authority.root}, at, options);
    if (through.status.ok()) return through;
    verdict = std::move(through);
  }
  return verdict;
}

bool IsListed(const x509::Certificate& certificate, const x509::Certificate& issuer,
              const std::vector<x509::Crl>& crls) {
  const x509::Crl* crl = trust::CrlOf(issuer, crls);
  if (crl == nullptr) return false;
  const std::vector<x509::SerialNumber> revoked = crl->revoked();
  return std::find(revoked.begin(), revoked.end(), certificate.serial()) != revoked.end();
}

absl::Status CheckNotRevoked(const std::vector<x509::Certificate>& chain,
                             const std::vector<trust::AuthorityId>& revoked,
                             const std::vector<x509::Crl>& crls) {
  for (size_t i = 1; i < chain.size(); ++i) {
    const trust::AuthorityId id = trust::AuthorityId::Of(chain[i]);
    if (std::find(revoked.begin(), revoked.end(), id) != revoked.end()) {
      return absl::UnauthenticatedError(
          absl::StrCat(Named(chain.front()), " is of authority ", id.hex(), ", which is revoked"));
    }
    if (IsListed(chain[i - 1], chain[i], crls)) {
      return absl::UnauthenticatedError(absl::StrCat(Named(chain.front()),
                                                     " is revoked: a CRL of \"", chain[i].Subject(),
                                                     "\" lists ", chain[i - 1].serial().ToHex()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Caller> AuthenticateLapsedCertificate(const std::vector<x509::Certificate>& chain,
                                                     const trust::Bundle& bundle,
                                                     const RejoinTerms& terms,
                                                     const spiffe::TrustDomain& trust_domain,
                                                     absl::Time now,
                                                     const std::vector<x509::Crl>& crls) {
  if (chain.empty()) {
    return absl::UnauthenticatedError("no client certificate was shown");
  }
  const x509::Certificate& leaf = chain.front();
  CAPSTAN_RETURN_IF_ERROR(CheckGrace(leaf, terms.grace, now));
  CAPSTAN_ASSIGN_OR_RETURN(spiffe::SpiffeId id, IdentityOf(leaf, trust_domain));
  // An expired one is judged as of the last second that it was good for.
  const absl::Time at = std::min(now, leaf.not_after() - absl::Seconds(1));
  const x509::Verdict verdict = VerifyLapsed(chain, bundle, terms.known, at);
  if (!verdict.status.ok()) {
    return absl::UnauthenticatedError(absl::StrCat(
        Named(leaf), " is of no CA that is or was known here: ", verdict.status.message()));
  }
  if (now < leaf.not_after() && bundle.Contains(verdict.chain.back())) {
    return absl::UnauthenticatedError(absl::StrCat(Named(leaf), " has not lapsed"));
  }
  CAPSTAN_RETURN_IF_ERROR(CheckNotRevoked(verdict.chain, terms.revoked, crls));
  Caller caller{.id = std::move(id), .proof = Caller::Proof::kLapsedCertificate};
  caller.certificate = leaf;
  caller.root_fingerprint = verdict.chain.back().fingerprint();
  return caller;
}

absl::StatusOr<Caller> AuthenticateCertificate(const std::vector<x509::Certificate>& chain,
                                               const trust::Bundle& bundle,
                                               const spiffe::TrustDomain& trust_domain,
                                               absl::Time now, const std::vector<x509::Crl>& crls) {
  if (chain.empty()) {
    return absl::UnauthenticatedError("no client certificate was shown");
  }
  const x509::Certificate& leaf = chain.front();
  if (absl::Status valid = CheckValidity(leaf, now); !valid.ok()) {
    return valid;
  }
  absl::StatusOr<spiffe::SpiffeId> id = IdentityOf(leaf, trust_domain);
  if (!id.ok()) {
    return id.status();
  }
  x509::VerifyOptions options{.purpose = x509::Purpose::kClient, .crls = crls};
  x509::Verdict verdict = x509::VerifySvid(chain, bundle.roots(), now, options);
  if (!verdict.status.ok()) {
    if (!ReachesBundle(chain, bundle)) {
      return UnknownIssuer(chain, bundle);
    }
    return absl::UnauthenticatedError(
        absl::StrCat(Named(leaf), " is not trusted: ", verdict.status.message()));
  }
  Caller caller{.id = *std::move(id), .proof = Caller::Proof::kCertificate};
  caller.certificate = leaf;
  caller.root_fingerprint = verdict.chain.back().fingerprint();
  return caller;
}

}  // namespace capstan::authn
