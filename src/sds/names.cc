// SPDX-License-Identifier: Apache-2.0
#include "sds/names.h"

namespace capstan::sds {

Names::Names(const spiffe::SpiffeId& id)
    : all_{{"default", Kind::kLeaf},
           {"ROOTCA", Kind::kTrust},
           {id.ToString(), Kind::kLeaf},
           // Last: were the identity a bare trust domain, its own name would stay the leaf.
           {id.trust_domain().IdString(), Kind::kTrust}} {}

std::optional<Kind> Names::KindOf(std::string_view name) const {
  const auto found = all_.find(name);
  if (found == all_.end()) {
    return std::nullopt;
  }
  return found->second;
}

}  // namespace capstan::sds
