// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "spiffe/spiffe_id.h"

namespace capstan::sds {

enum class Kind { kTrust, kLeaf };

// Which secrets one identity is served under: `default` and the SPIFFE ID are its leaf, `ROOTCA`
// and `spiffe://<trust domain>` the roots. Every other name is unknown.
class Names {
 public:
  explicit Names(const spiffe::SpiffeId& id);

  std::optional<Kind> KindOf(std::string_view name) const;
  // What a wildcard subscription stands for.
  const std::map<std::string, Kind, std::less<>>& all() const { return all_; }

 private:
  std::map<std::string, Kind, std::less<>> all_;
};

}  // namespace capstan::sds
