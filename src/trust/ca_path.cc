// SPDX-License-Identifier: Apache-2.0
#include "trust/ca_path.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace capstan::trust {
namespace {

// Longer chains are not seen; more certificates than this are a mistake or an attack.
constexpr size_t kMaxDepth = 10;

bool Signed(const x509::Certificate& issuer, const x509::Certificate& subject) {
  return issuer.subject_der() == subject.issuer_der() && subject.IsSignedBy(issuer.public_key());
}

bool ValidAt(const x509::Certificate& certificate, absl::Time now) {
  return certificate.not_before() <= now && now <= certificate.not_after();
}

// Of several signers (a renewed CA, a cross-signed one) one that is valid now comes first.
template <typename Range, typename Get>
auto BestSigner(const Range& candidates, Get certificate_of, const x509::Certificate& subject,
                absl::Time now) {
  auto best = candidates.end();
  for (auto it = candidates.begin(); it != candidates.end(); ++it) {
    const x509::Certificate& candidate = certificate_of(*it);
    if (candidate == subject || !Signed(candidate, subject)) continue;
    if (ValidAt(candidate, now)) return it;
    if (best == candidates.end()) best = it;
  }
  return best;
}

absl::Status CheckLink(const FileCertificate& link, size_t cas_below, absl::Time now) {
  const x509::Certificate& certificate = link.certificate;
  if (!certificate.is_ca()) {
    return absl::InvalidArgumentError(
        absl::StrCat(link.Named(),
                     " is not a CA (no basicConstraints CA:TRUE): it cannot sign; "
                     "put an intermediate CA there"));
  }
  if (std::optional<uint32_t> usage = certificate.key_usage();
      usage.has_value() && (*usage & x509::kKeyCertSign) == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(link.Named(),
                     " may not sign certificates: its keyUsage lacks keyCertSign; have "
                     "it issued again with it"));
  }
  if (std::optional<int> length = certificate.path_length();
      length.has_value() && static_cast<size_t>(*length) < cas_below) {
    return absl::InvalidArgumentError(absl::StrCat(
        link.Named(), " allows ", *length, " intermediate CAs below it (pathlen:", *length,
        ") and the chain has ", cas_below, "; have it issued with a longer path length"));
  }
  if (now < certificate.not_before()) {
    return absl::InvalidArgumentError(absl::StrCat(
        link.Named(), " is not valid before ",
        absl::FormatTime(certificate.not_before(), absl::UTCTimeZone()), " and it is ",
        absl::FormatTime(now, absl::UTCTimeZone()), "; wait, or check this machine's clock"));
  }
  if (now > certificate.not_after()) {
    return absl::InvalidArgumentError(absl::StrCat(
        link.Named(), " expired at ",
        absl::FormatTime(certificate.not_after(), absl::UTCTimeZone()), "; put a valid one there"));
  }
  return absl::OkStatus();
}

absl::Status NoWayUp(const FileCertificate& from, const std::string& root_file) {
  const x509::Certificate& certificate = from.certificate;
  if (Signed(certificate, certificate)) {
    return absl::InvalidArgumentError(
        absl::StrCat(from.Named(), " signs itself and is not in ", root_file, ": add it there"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("the chain does not build: the issuer \"", certificate.Issuer(), "\" of ",
                   from.Named(), " is neither in the chain nor a root of ", root_file,
                   " (a certificate of that name with another key does not count); put the root it "
                   "chains to into ",
                   root_file));
}

}  // namespace

std::string FileCertificate::Named() const {
  std::string position = of > 1 ? absl::StrCat("certificate ", number, " ") : "the certificate ";
  return absl::StrCat(file, ": ", position, "(subject \"", certificate.Subject(), "\", serial ",
                      certificate.serial().ToHex(), ")");
}

absl::StatusOr<Authority> BuildAuthority(const FileCertificate& signing,
                                         const std::vector<FileCertificate>& pool,
                                         const Bundle& bundle, const std::string& root_file,
                                         absl::Time now) {
  std::vector<FileCertificate> path = {signing};
  while (!bundle.Contains(path.back().certificate)) {
    const x509::Certificate& last = path.back().certificate;
    if (path.size() > kMaxDepth) {
      return absl::InvalidArgumentError(
          absl::StrCat("the chain of ", signing.Named(), " is longer than ", kMaxDepth));
    }
    auto root = BestSigner(
        bundle.roots(), [](const x509::Certificate& c) -> const x509::Certificate& { return c; },
        last, now);
    if (root != bundle.roots().end()) {
      path.push_back({*root, root_file});
      break;
    }
    auto parent = BestSigner(
        pool, [](const FileCertificate& c) -> const x509::Certificate& { return c.certificate; },
        last, now);
    auto same = [&](const FileCertificate& seen) {
      return seen.certificate == parent->certificate;
    };
    if (parent == pool.end() || std::any_of(path.begin(), path.end(), same)) {
      return NoWayUp(path.back(), root_file);
    }
    path.push_back(*parent);
  }
  for (size_t i = 0; i < path.size(); ++i) {
    CAPSTAN_RETURN_IF_ERROR(CheckLink(path[i], i, now));
  }
  Authority authority{
      AuthorityId::Of(signing.certificate), signing.certificate, {}, path.back().certificate};
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    authority.intermediates.push_back(path[i].certificate);
  }
  return authority;
}

}  // namespace capstan::trust
