// SPDX-License-Identifier: Apache-2.0
// Material for tests, where a PEM text is any text: the machines compare it and never read it.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "sds/events.h"
#include "sds/material.h"

namespace capstan::sds {

inline spiffe::SpiffeId TestId() {
  return *spiffe::SpiffeId::Parse("spiffe://cluster.local/ns/foo/sa/httpbin");
}

inline std::shared_ptr<Material> MaterialOf(int64_t sequence, std::string roots, std::string leaf) {
  auto material = std::make_shared<Material>(Material{.id = TestId()});
  material->bundle_version = {"lineage", sequence};
  material->roots_pem = std::move(roots);
  if (!leaf.empty()) {
    material->chain_pem = "chain of " + leaf;
    material->key_pem = Secret("key of " + leaf);
    material->leaf_serial = leaf;
  }
  return material;
}

}  // namespace capstan::sds
