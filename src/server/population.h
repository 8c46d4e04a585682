// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "authn/caller.h"
#include "fleet/fleet.h"
#include "store/store.h"
#include "trust/authority.h"

namespace capstan::server {

// What a certificate on record is for.
inline constexpr char kWorkload[] = "workload";
inline constexpr char kAgent[] = "agent";

inline fleet::Key KeyOf(const std::string& spiffe_id, const std::string& instance,
                        const std::string& serial) {
  return {spiffe_id, instance, instance.empty() ? serial : ""};
}

inline fleet::Key KeyOf(const authn::Caller& caller, const std::string& instance) {
  return KeyOf(caller.id.ToString(), instance, "");
}

inline fleet::Leaf LeafOf(const store::PopulationRecord& record) {
  return {record.serial, record.authority, record.not_before, record.not_after, record.told};
}

inline fleet::Fleet::Purpose PurposeOf(const store::PopulationRecord& record) {
  return record.purpose == kAgent ? fleet::Fleet::Purpose::kAgent
                                  : fleet::Fleet::Purpose::kWorkload;
}

inline std::string Names(const std::vector<trust::AuthorityId>& authorities) {
  return absl::StrJoin(authorities, ", ", [](std::string* out, const trust::AuthorityId& id) {
    absl::StrAppend(out, id.hex());
  });
}

inline absl::Status NoCa() {
  return absl::FailedPreconditionError(
      "there is no CA yet: the control plane waits for its plug-in CA");
}

}  // namespace capstan::server
