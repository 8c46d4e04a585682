// SPDX-License-Identifier: Apache-2.0
#include "authn/certificate.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "base/strings.h"
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

}  // namespace

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
