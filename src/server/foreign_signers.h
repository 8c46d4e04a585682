// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "rotation/observation.h"

namespace capstan::server {

// Somebody else who signs under a root of ours (another cluster, the control plane that is being
// replaced), as the operator declared.
struct ForeignSigner {
  std::string name;  // what it is excluded by
  std::string root;  // how the SHA-256 fingerprint of its root begins, in hex
  friend bool operator==(const ForeignSigner&, const ForeignSigner&) = default;
};

// "NAME=FINGERPRINT", joined by commas.
absl::StatusOr<std::vector<ForeignSigner>> ParseForeignSigners(std::string_view text);
std::string ToString(const std::vector<ForeignSigner>& signers);

// Those that keep roots from leaving; `leaving`: fingerprints in hex. Nobody knows how long their
// leaves live: they do so until they are excluded, or declared no more.
std::vector<rotation::Holder> HoldersAmong(const std::vector<ForeignSigner>& signers,
                                           const std::set<std::string>& leaving);

}  // namespace capstan::server
