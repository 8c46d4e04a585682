// SPDX-License-Identifier: Apache-2.0
// Every way from a presented leaf to a root. Not for other rooms.
#pragma once

#include <string>
#include <vector>

#include "x509/certificate.h"

namespace capstan::x509 {

// A certificate of a path and where it came from.
struct PathLink {
  Certificate certificate;
  int position = -1;  // in the presented chain; -1: only among the roots
  bool is_root = false;
};
using Path = std::vector<PathLink>;  // leaf first

// A search for issuers that went no further.
struct DeadEnd {
  Path path;  // leaf first; no issuer was found for the last
  // Certificates that have the issuer's name but did not make the signature.
  std::vector<Certificate> namesakes;
  bool gave_up = false;  // the work was bounded before the search was done
};

struct Paths {
  std::vector<Path> complete;  // shortest first, each ending in a root
  DeadEnd longest;             // meaningful where `complete` is empty
};

// By name *and* signature: roots of equal names are normal, and the key ids that should tell them
// apart are only hints. Bounded: a hostile chain costs at most a fixed number of signatures.
Paths FindPaths(const std::vector<Certificate>& presented, const std::vector<Certificate>& roots);

// Whether two Names in DER are the same, as RFC 5280 section 7.1 compares them.
bool SameName(const std::string& a_der, const std::string& b_der);

}  // namespace capstan::x509
