// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>

#include "capstan/control/v1/control.pb.h"
#include "capstan/fleet/v1/fleet.pb.h"
#include "fleet/fleet.h"
#include "rotation/pacing.h"
#include "rotation/probing.h"
#include "rotation/step.h"
#include "trust/state.h"
#include "x509/certificate.h"

namespace capstan::server {

// Between the wire's messages and values. Reports were checked at the border (rpc/report_check.h).
fleet::Report ReportOf(const fleet::v1::Report& message);
fleet::Probe ProbeOf(const fleet::v1::ProbeResult& message);
fleet::v1::BundleVersion MessageOf(const trust::BundleVersion& version);
fleet::v1::Leaf MessageOf(const fleet::Leaf& leaf);
// `plan`: how leaves move to `signer`, who signs for its receivers; nullopt: none is to be
// replaced. An empty `probing` is left out.
fleet::v1::TrustUpdate UpdateOf(const trust::TrustState& trust,
                                const std::optional<rotation::ReissuePlan>& plan,
                                const trust::AuthorityId& signer,
                                const rotation::Probing& probing = {});
control::v1::Root RootMessage(const x509::Certificate& root);
control::v1::Authority AuthorityMessage(const rotation::Standing& standing,
                                        int64_t unexpired_leaves);
control::v1::Workload WorkloadMessage(const fleet::Key& key, const fleet::Workload& workload,
                                      const fleet::Current& current, absl::Time now);
void SetDuration(absl::Duration duration, google::protobuf::Duration* message);

}  // namespace capstan::server
