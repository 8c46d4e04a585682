// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "trust/ca_set.h"

namespace capstan::sim {

// The CAs that simulated meshes rotate between: three roots of one subject, A, B and C, with two
// authorities each. Made once in a process, with real keys; nothing that a run decides or prints
// follows from those.
struct Ca {
  std::string name;  // "A1"
  int root = 0;      // 0: A, 1: B, 2: C
  trust::CaSet set;  // trusts its own root only
};

inline constexpr int kRoots = 3;

const std::vector<Ca>& AllCas();
// By name; it must be there.
const Ca& CaNamed(const std::string& name);
// Null: none of ours.
const Ca* FindCa(const std::string& authority_hex);
// -1: none of ours.
int RootOf(const std::string& authority_hex);

// A set of roots: bit 0 for A, and so on.
using Roots = unsigned;
Roots RootsOf(const trust::Bundle& bundle);
inline bool Holds(Roots roots, int root) {
  return (roots >> root & 1) != 0;
}
Roots ParseRoots(const std::string& name);                      // what NameOf() gave
std::string NameOf(Roots roots);                                // "A+B"
std::string NameOfAuthority(const std::string& authority_hex);  // "A1"

}  // namespace capstan::sim
