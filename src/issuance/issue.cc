// SPDX-License-Identifier: Apache-2.0
#include "issuance/issue.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "issuance/check.h"
#include "issuance/go_duration.h"

namespace capstan::issuance {
namespace {

// Every signature of a key in this process costs as much to verify as to make (ECDSA) or a fraction
// of it (RSA); one in this many is verified.
constexpr uint64_t kSignatureSample = 64;

std::string UtcTime(absl::Time time) {
  return absl::FormatTime(time, absl::UTCTimeZone());
}

absl::Status CheckIsValid(std::string_view what, const x509::Certificate& ca, absl::Time now) {
  if (now >= ca.not_after()) {
    return absl::FailedPreconditionError(absl::StrCat(what, " has expired at ",
                                                      UtcTime(ca.not_after()), ": \"", ca.Subject(),
                                                      "\"; put a valid CA in its place"));
  }
  if (now < ca.not_before()) {
    return absl::FailedPreconditionError(absl::StrCat(
        what, " is not valid before ", UtcTime(ca.not_before()), ": \"", ca.Subject(), "\""));
  }
  return absl::OkStatus();
}

// The first end in the chain: nothing signed is good for longer.
absl::Time EndOf(const trust::Authority& authority) {
  absl::Time end = std::min(authority.certificate.not_after(), authority.root.not_after());
  for (const x509::Certificate& link : authority.intermediates) {
    end = std::min(end, link.not_after());
  }
  return end;
}

}  // namespace

absl::Status CheckCanSign(const trust::Authority& authority, absl::Time now) {
  CAPSTAN_RETURN_IF_ERROR(CheckIsValid("signing certificate", authority.certificate, now));
  for (const x509::Certificate& link : authority.intermediates) {
    CAPSTAN_RETURN_IF_ERROR(CheckIsValid("an intermediate of the signing chain", link, now));
  }
  return CheckIsValid("the root of the signing chain", authority.root, now);
}

absl::StatusOr<Plan> PlanLeaf(const spiffe::SpiffeId& id, absl::Duration requested_ttl,
                              const Policy& policy, const trust::Authority& authority,
                              absl::Time now) {
  CAPSTAN_RETURN_IF_ERROR(CheckCanSign(authority, now));
  const absl::Time end = EndOf(authority);
  absl::Duration ttl = requested_ttl;
  if (ttl <= absl::ZeroDuration()) ttl = std::min(policy.default_ttl, end - now);
  if (ttl > policy.max_ttl) {
    return absl::InvalidArgumentError(absl::StrCat("requested TTL ", GoDuration(ttl),
                                                   " is greater than the max allowed TTL ",
                                                   GoDuration(policy.max_ttl)));
  }
  return Plan{id, now - policy.backdate, std::min(now + ttl, end)};
}

absl::StatusOr<Plan> PlanProbe(const spiffe::TrustDomain& trust_domain, const Policy& policy,
                               const trust::Authority& authority, absl::Time now) {
  CAPSTAN_RETURN_IF_ERROR(CheckCanSign(authority, now));
  const absl::Time end = EndOf(authority);
  return Plan{.id = spiffe::SpiffeId::ForProbe(trust_domain),
              .not_before = now - policy.backdate,
              .not_after = std::min(now + kProbeLife, end),
              .for_clients_only = true};
}

Issuer::Issuer(trust::Authority authority, std::shared_ptr<x509::Signer> signer,
               x509::LeafTemplate leaf, x509::LeafTemplate client)
    : authority_(std::move(authority)),
      signer_(std::move(signer)),
      leaf_(std::move(leaf)),
      client_(std::move(client)) {}

absl::StatusOr<std::unique_ptr<Issuer>> Issuer::Create(trust::Authority authority,
                                                       std::shared_ptr<x509::Signer> signer) {
  if (!(signer->public_key() == authority.certificate.public_key())) {
    return absl::InvalidArgumentError(
        absl::StrCat("the key at hand is not that of the authority ", authority.id.hex()));
  }
  CAPSTAN_ASSIGN_OR_RETURN(x509::LeafTemplate leaf, x509::LeafTemplate::For(authority.certificate));
  CAPSTAN_ASSIGN_OR_RETURN(x509::LeafTemplate client,
                           x509::LeafTemplate::For(authority.certificate, {"clientAuth"}));
  return std::unique_ptr<Issuer>(
      new Issuer(std::move(authority), std::move(signer), std::move(leaf), std::move(client)));
}

absl::StatusOr<Issued> Issuer::Sign(const Plan& plan, const x509::Csr& csr, Random& random) {
  const x509::SerialNumber serial = x509::NewSerial(random.Bytes(16));
  x509::SubjectAltNames sans;
  sans.uris = {plan.id.ToString()};
  sans.critical = true;
  const x509::LeafTemplate& leaf_template = plan.for_clients_only ? client_ : leaf_;
  CAPSTAN_ASSIGN_OR_RETURN(std::string der,
                           leaf_template.SignDer(serial, plan.not_before, plan.not_after, sans,
                                                 csr.public_key(), *signer_));
  const bool verify_signature =
      signed_.fetch_add(1, std::memory_order_relaxed) % kSignatureSample == 0 ||
      plan.for_clients_only;
  absl::StatusOr<x509::Certificate> leaf = x509::Certificate::ParseDer(der);
  absl::Status checked =
      leaf.ok() ? CheckLeaf(*leaf, plan, csr.public_key(), serial, authority_, verify_signature)
                : leaf.status();
  if (!checked.ok()) {
    return absl::InternalError(absl::StrCat(
        "a certificate that was just signed did not pass its check and was thrown away: ",
        checked.message()));
  }
  return Issued{*std::move(leaf), authority_.id};
}

}  // namespace capstan::issuance
