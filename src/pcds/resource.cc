// SPDX-License-Identifier: Apache-2.0
#include "pcds/resource.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace capstan::pcds {

std::string Resource::version() const {
  return absl::StrCat(bundle.sequence, ".", issuer_epoch);
}

Resource ResourceOf(const trust::TrustState& trust) {
  Resource resource{trust.version, trust.issuer_epoch, {}};
  for (const x509::Certificate& root : trust.bundle.roots()) {
    resource.roots.push_back(root.ToPem());
  }
  const size_t count = resource.roots.size();
  if (count > 1) {
    const auto first = resource.roots.begin();
    std::rotate(first, first + trust.issuer_epoch % static_cast<int64_t>(count),
                resource.roots.end());
  } else if (count == 1 && trust.issuer_epoch % 2 == 0) {
    resource.roots.push_back(resource.roots.front());
  }
  return resource;
}

}  // namespace capstan::pcds
