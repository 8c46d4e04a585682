// SPDX-License-Identifier: Apache-2.0
#include "lifecycle/check_answer.h"

#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "x509/verify.h"

namespace capstan::lifecycle {
namespace {

constexpr size_t kMostElements = 32;
constexpr size_t kMostBytes = 256 << 10;
constexpr size_t kMostCertificates = 128;
// How far NotAfter may lie beyond what was asked for: the control plane's clock is not ours.
constexpr absl::Duration kTtlSlack = absl::Minutes(5);

std::string Utc(absl::Time t) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", t, absl::UTCTimeZone());
}

absl::StatusOr<std::vector<x509::Certificate>> Parse(const std::vector<std::string>& answer) {
  if (answer.empty()) {
    return absl::InvalidArgumentError("the control plane's answer holds no certificate");
  }
  size_t bytes = 0;
  for (const std::string& element : answer) bytes += element.size();
  if (answer.size() > kMostElements || bytes > kMostBytes) {
    return absl::InvalidArgumentError(absl::StrCat("the control plane's answer is too large: ",
                                                   answer.size(), " elements, ", bytes, " bytes"));
  }
  std::vector<x509::Certificate> certificates;
  for (size_t i = 0; i < answer.size(); ++i) {
    auto parsed = x509::ParsePemCertificates(answer[i]);
    if (!parsed.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "element ", i, " of the control plane's answer: ", parsed.status().message()));
    }
    certificates.insert(certificates.end(), parsed->begin(), parsed->end());
  }
  if (certificates.size() > kMostCertificates) {
    return absl::InvalidArgumentError(absl::StrCat("the control plane's answer holds ",
                                                   certificates.size(), " certificates, more than ",
                                                   kMostCertificates));
  }
  return certificates;
}

absl::Status CheckLeaf(const x509::Certificate& leaf, const Expected& expected) {
  if (!(leaf.public_key() == expected.key)) {
    return absl::InvalidArgumentError(
        "the certificate is for another key than the one it was requested with");
  }
  auto id = leaf.SpiffeId();
  if (!id.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the certificate is no X509-SVID: ", id.status().message()));
  }
  if (id->trust_domain() != expected.id.trust_domain()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the certificate is of trust domain ", id->trust_domain().name(), " (",
                     id->ToString(), "), not of ", expected.id.trust_domain().name()));
  }
  if (*id != expected.id) {
    return absl::InvalidArgumentError(absl::StrCat("the certificate is for ", id->ToString(),
                                                   ", not for ", expected.id.ToString()));
  }
  const x509::SubjectAltNames& sans = leaf.sans();
  if (!sans.dns.empty() || !sans.ips.empty() || !sans.emails.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the certificate carries names beside ", expected.id.ToString(), " (",
                     sans.dns.size(), " DNS, ", sans.ips.size(), " IP, ", sans.emails.size(),
                     " e-mail), which nobody asked for"));
  }
  if (leaf.not_after() <= expected.now) {
    return absl::InvalidArgumentError(absl::StrCat("the certificate expired at ",
                                                   Utc(leaf.not_after()), "; it is ",
                                                   Utc(expected.now), " here: compare the clocks"));
  }
  if (leaf.not_before() > expected.now) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the certificate is not valid before ", Utc(leaf.not_before()), "; it is ",
        Utc(expected.now), " here: this machine's clock is behind the control plane's"));
  }
  return absl::OkStatus();
}

absl::StatusOr<CheckedAnswer> CheckTrust(const std::vector<x509::Certificate>& chain,
                                         const Expected& expected) {
  x509::Verdict verdict = x509::VerifySvid(chain, expected.bundle.roots(), expected.now);
  if (!verdict.status.ok()) {
    // Would it be fine if what it brings along were trusted? Only to say which of the two is wrong.
    std::vector<x509::Certificate> brought;
    for (const x509::Certificate& c : chain) {
      if (c.is_ca() && c.IsSelfSigned()) brought.push_back(c);
    }
    const x509::Verdict otherwise = x509::VerifySvid(chain, brought, expected.now);
    if (!brought.empty() && otherwise.status.ok()) {
      const x509::Certificate& root = otherwise.chain.back();
      return absl::FailedPreconditionError(
          absl::StrCat("the certificate chains to the root ", root.Subject(), " (SHA-256 ",
                       root.FingerprintHex().substr(0, 16),
                       "…), which is not in the trust bundle: refused until the bundle brings it"));
    }
    return absl::InvalidArgumentError(absl::StrCat(
        "the certificate does not verify against the trust bundle: ", verdict.status.message()));
  }
  std::vector<x509::Certificate> served = std::move(verdict.chain);
  const trust::AuthorityId authority = trust::AuthorityId::Of(served[1]);
  served.pop_back();
  const x509::Certificate leaf = served.front();
  return CheckedAnswer{
      .chain = std::move(served),
      .leaf = {leaf.serial().ToHex(), authority, leaf.not_before(), leaf.not_after()}};
}

}  // namespace

absl::StatusOr<CheckedAnswer> CheckAnswer(const std::vector<std::string>& answer,
                                          const Expected& expected) {
  CAPSTAN_ASSIGN_OR_RETURN(const std::vector<x509::Certificate> chain, Parse(answer));
  CAPSTAN_RETURN_IF_ERROR(CheckLeaf(chain.front(), expected));
  const absl::Time latest = expected.now + expected.ttl + kTtlSlack;
  if (expected.ttl > absl::ZeroDuration() && chain.front().not_after() > latest) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the certificate is good until ", Utc(chain.front().not_after()), ", longer than the ",
        absl::FormatDuration(expected.ttl), " that were asked for"));
  }
  return CheckTrust(chain, expected);
}

absl::StatusOr<CheckedAnswer> CheckChain(const std::vector<x509::Certificate>& chain,
                                         const Expected& expected) {
  if (chain.empty()) return absl::InvalidArgumentError("there is no certificate");
  CAPSTAN_RETURN_IF_ERROR(CheckLeaf(chain.front(), expected));
  return CheckTrust(chain, expected);
}

}  // namespace capstan::lifecycle
