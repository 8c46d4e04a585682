// SPDX-License-Identifier: Apache-2.0
#include "agent/directive.h"

#include "base/status.h"

namespace capstan::agent {
namespace {

absl::Time FromProto(const google::protobuf::Timestamp& t) {
  return absl::FromUnixSeconds(t.seconds()) + absl::Nanoseconds(t.nanos());
}

}  // namespace

absl::StatusOr<std::optional<lifecycle::Directive>> DirectiveOf(
    const fleet::v1::TrustUpdate& update) {
  if (!update.has_renewal()) return std::nullopt;
  const fleet::v1::Renewal& renewal = update.renewal();
  CAPSTAN_ASSIGN_OR_RETURN(const trust::AuthorityId authority,
                           trust::AuthorityId::Parse(renewal.authority_id()));
  Window window{FromProto(renewal.start())};
  window.length =
      absl::Seconds(renewal.window().seconds()) + absl::Nanoseconds(renewal.window().nanos());
  for (const auto& bound : renewal.expiry_bounds()) window.bounds.push_back(FromProto(bound));
  return lifecycle::Directive{authority, window};
}

}  // namespace capstan::agent
