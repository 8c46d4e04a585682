// SPDX-License-Identifier: Apache-2.0
#include "trust/bundle.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "x509/seal.h"

namespace capstan::trust {
namespace {

bool ByFingerprint(const x509::Certificate& a, const x509::Certificate& b) {
  return a.fingerprint() < b.fingerprint();
}

}  // namespace

Bundle Bundle::Of(std::vector<x509::Certificate> roots) {
  Bundle bundle;
  std::sort(roots.begin(), roots.end(), ByFingerprint);
  roots.erase(std::unique(roots.begin(), roots.end()), roots.end());
  bundle.roots_ = std::move(roots);
  return bundle;
}

absl::StatusOr<Bundle> Bundle::ParsePem(std::string_view pem) {
  CAPSTAN_ASSIGN_OR_RETURN(std::vector<x509::Certificate> roots, x509::ParsePemCertificates(pem));
  for (size_t i = 0; i < roots.size(); ++i) {
    if (!roots[i].is_ca()) {
      return absl::InvalidArgumentError(absl::StrCat("certificate ", i + 1, " (subject \"",
                                                     roots[i].Subject(),
                                                     "\") is not a CA: it cannot be a root"));
    }
  }
  return Of(std::move(roots));
}

bool Bundle::Contains(const x509::Certificate& root) const {
  return std::binary_search(roots_.begin(), roots_.end(), root, ByFingerprint);
}

bool Bundle::Includes(const Bundle& other) const {
  return std::includes(roots_.begin(), roots_.end(), other.roots_.begin(), other.roots_.end(),
                       ByFingerprint);
}

std::string Bundle::ToPem() const {
  return x509::ToPem(roots_);
}

std::string Bundle::DigestHex() const {
  std::string fingerprints;
  for (const x509::Certificate& root : roots_) fingerprints += root.fingerprint();
  return absl::BytesToHexString(x509::Sha256(fingerprints));
}

Bundle Union(const Bundle& a, const Bundle& b) {
  std::vector<x509::Certificate> roots = a.roots_;
  roots.insert(roots.end(), b.roots_.begin(), b.roots_.end());
  return Bundle::Of(std::move(roots));
}

Bundle Difference(const Bundle& a, const Bundle& b) {
  Bundle difference;
  std::set_difference(a.roots_.begin(), a.roots_.end(), b.roots_.begin(), b.roots_.end(),
                      std::back_inserter(difference.roots_), ByFingerprint);
  return difference;
}

std::string BundleVersion::ToString() const {
  return absl::StrCat(lineage, "/", sequence);
}

}  // namespace capstan::trust
