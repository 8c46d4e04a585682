// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "x509/certificate.h"

namespace capstan::trust {

// A trust bundle: the canonical set of roots, deduplicated by fingerprint and ordered by it,
// whatever order, repetition, comments or line endings its text had. Equal when the sets are.
class Bundle {
 public:
  Bundle() = default;
  static Bundle Of(std::vector<x509::Certificate> roots);
  // PEM text. InvalidArgument: no certificate, one that does not parse, one that is not a CA.
  static absl::StatusOr<Bundle> ParsePem(std::string_view pem);

  const std::vector<x509::Certificate>& roots() const { return roots_; }
  bool empty() const { return roots_.empty(); }
  bool Contains(const x509::Certificate& root) const;
  bool Includes(const Bundle& other) const;  // every root of `other` is here
  std::string ToPem() const;                 // canonical: equal bundles give equal bytes
  std::string DigestHex() const;             // SHA-256 over the fingerprints in order

  friend Bundle Union(const Bundle& a, const Bundle& b);
  friend Bundle Difference(const Bundle& a, const Bundle& b);  // roots of a that b has not
  friend bool operator==(const Bundle&, const Bundle&) = default;

 private:
  std::vector<x509::Certificate> roots_;
};

Bundle Union(const Bundle& a, const Bundle& b);
Bundle Difference(const Bundle& a, const Bundle& b);

// Which bundle: the store's lineage (a UUID made with it) and a number that only grows within it.
struct BundleVersion {
  std::string lineage;
  int64_t sequence = 0;
  std::string ToString() const;  // "<lineage>/<sequence>"
  bool empty() const { return lineage.empty(); }
  friend auto operator<=>(const BundleVersion&, const BundleVersion&) = default;
};

}  // namespace capstan::trust
