// SPDX-License-Identifier: Apache-2.0
#include "kube/lease.h"

#include <string_view>

#include "base/status.h"

namespace capstan::kube {
namespace {

int64_t NumberIn(const Json& spec, std::string_view field) {
  const Json* value = Member(spec, field);
  return value != nullptr && value->is_number_integer() ? value->get<int64_t>() : 0;
}

}  // namespace

std::string LeaseTime(absl::Time time) {
  return absl::FormatTime("%Y-%m-%d%ET%H:%M:%E6SZ", time, absl::UTCTimeZone());
}

Lease LeaseOf(const Json& object) {
  Lease lease;
  lease.resource_version = Metadata(object, "resourceVersion");
  const Json* spec = Member(object, "spec");
  if (spec == nullptr) return lease;
  lease.holder = TextAt(*spec, {"holderIdentity"});
  lease.duration = absl::Seconds(NumberIn(*spec, "leaseDurationSeconds"));
  lease.acquired = TextAt(*spec, {"acquireTime"});
  lease.renewed = TextAt(*spec, {"renewTime"});
  lease.transitions = NumberIn(*spec, "leaseTransitions");
  return lease;
}

absl::StatusOr<Lease> ReadLease(Client& client, const ObjectName& name) {
  CAPSTAN_ASSIGN_OR_RETURN(Json object, client.Get(kLeases, name));
  return LeaseOf(object);
}

absl::StatusOr<Lease> WriteLease(Client& client, const ObjectName& name, const Lease& lease) {
  Json object = {{"metadata", Json::object()},
                 {"spec",
                  {{"holderIdentity", lease.holder},
                   {"leaseDurationSeconds", absl::ToInt64Seconds(lease.duration)},
                   {"acquireTime", lease.acquired},
                   {"renewTime", lease.renewed},
                   {"leaseTransitions", lease.transitions}}}};
  if (lease.resource_version.empty()) {
    object["metadata"]["name"] = name.name;
    CAPSTAN_ASSIGN_OR_RETURN(Json made, client.Create(kLeases, name, object));
    return LeaseOf(made);
  }
  object["metadata"]["resourceVersion"] = lease.resource_version;
  CAPSTAN_ASSIGN_OR_RETURN(Json written, client.Patch(kLeases, name, object));
  return LeaseOf(written);
}

}  // namespace capstan::kube
