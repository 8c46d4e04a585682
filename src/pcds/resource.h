// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trust/state.h"

namespace capstan::pcds {

// What stock agents (Istio's pilot-agent) are told of trust: the roots, and nothing else. Such an
// agent drops its leaf and asks for another whenever the bytes change, and only then; so the bytes
// say both which bundle is meant and which issuer: the roots of an equal bundle come in another
// order, or one of them twice, once another authority signs.
struct Resource {
  trust::BundleVersion bundle;
  int64_t issuer_epoch = 0;
  std::vector<std::string> roots;  // PEM, one certificate each
  // False: it only makes agents ask anew; who acknowledges it has said nothing of the bundle.
  bool whole = true;
  // "BUNDLE.EPOCH": the versions that clients repeat.
  std::string version() const;
};

Resource ResourceOf(const trust::TrustState& trust);

// Of the issuer's root alone: its bytes change when the issuer does and never for the bundle, which
// agents learn with the answers to their requests; those they go on to trust beside this.
Resource IssuerResourceOf(const trust::TrustState& trust, const x509::Certificate& issuer_root);

}  // namespace capstan::pcds
