// SPDX-License-Identifier: Apache-2.0
#include "sds/edition.h"

#include "absl/strings/str_cat.h"

namespace capstan::sds {
namespace {

// PEM readers skip text outside the blocks (RFC 7468 section 2); Envoy compares bytes.
std::string Commented(const Edition& edition, const std::string& pem) {
  return edition.stamp.empty() ? pem : absl::StrCat("# capstan ", edition.stamp, "\n", pem);
}

}  // namespace

std::string RootsPem(const Edition& edition) {
  return Commented(edition, edition.material->roots_pem);
}

std::string ChainPem(const Edition& edition) {
  return Commented(edition, edition.material->chain_pem);
}

bool SameContent(Kind kind, const Material& a, const Material& b) {
  if (kind == Kind::kTrust) {
    return a.roots_pem == b.roots_pem && a.crls_pem == b.crls_pem;
  }
  return a.chain_pem == b.chain_pem && a.key_pem == b.key_pem;
}

bool HasLeaf(const Material& material) {
  return !material.chain_pem.empty();
}

}  // namespace capstan::sds
