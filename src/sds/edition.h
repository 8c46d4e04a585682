// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "sds/material.h"
#include "sds/names.h"

namespace capstan::sds {

// A secret in bytes that one consumer has not seen before. Envoy ignores a secret whose bytes it
// was given last, also when it refused them, and still acknowledges it: so whatever must really be
// looked at becomes a new edition, which differs at least in the comment line ahead of its PEM.
struct Edition {
  Kind kind = Kind::kTrust;
  uint64_t number = 0;  // never used twice for a consumer; 0: none
  // "<consumer's tag>.<number>": the comment, and the xDS version. Empty: no comment.
  std::string stamp;
  std::shared_ptr<const Material> material;
  std::string why;  // it was made
};

// The PEM texts to serve, each with the edition's comment line ahead.
std::string RootsPem(const Edition& edition);
std::string ChainPem(const Edition& edition);

// Whether an Envoy holding `a` has nothing to gain from `b`: versions do not matter, contents do.
bool SameContent(Kind kind, const Material& a, const Material& b);

bool HasLeaf(const Material& material);

}  // namespace capstan::sds
