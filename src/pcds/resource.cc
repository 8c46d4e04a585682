// SPDX-License-Identifier: Apache-2.0
#include "pcds/resource.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace capstan::pcds {

std::string Resource::version() const {
  return absl::StrCat(bundle.sequence, ".", issuer_epoch);
}

namespace {

Resource Arranged(const trust::TrustState& trust, std::vector<std::string> roots) {
  const size_t count = roots.size();
  if (count > 1) {
    std::rotate(roots.begin(), roots.begin() + trust.issuer_epoch % static_cast<int64_t>(count),
                roots.end());
  } else if (count == 1 && trust.issuer_epoch % 2 == 0) {
    roots.push_back(roots.front());
  }
  return {trust.version, trust.issuer_epoch, std::move(roots)};
}

}  // namespace

Resource ResourceOf(const trust::TrustState& trust) {
  std::vector<std::string> roots;
  for (const x509::Certificate& root : trust.bundle.roots()) roots.push_back(root.ToPem());
  return Arranged(trust, std::move(roots));
}

Resource IssuerResourceOf(const trust::TrustState& trust, const x509::Certificate& issuer_root) {
  Resource resource = Arranged(trust, {issuer_root.ToPem()});
  resource.whole = false;
  return resource;
}

}  // namespace capstan::pcds
