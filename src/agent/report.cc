// SPDX-License-Identifier: Apache-2.0
#include "agent/report.h"

#include <algorithm>

#include "rpc/fields.h"

namespace capstan::agent {
namespace {

// The control plane refuses reports that are too large; what an Envoy says of a refusal has no
// bound.
constexpr size_t kMostText = 1024;
constexpr size_t kMostConsumers = 200;

std::string Text(const std::string& text) {
  return rpc::FieldText(text, kMostText);
}

fleet::v1::Leaf LeafToProto(const lifecycle::Leaf& leaf) {
  fleet::v1::Leaf out;
  out.set_serial(leaf.serial);
  out.set_authority_id(leaf.authority.hex());
  rpc::SetTime(leaf.not_before, out.mutable_not_before());
  rpc::SetTime(leaf.not_after, out.mutable_not_after());
  return out;
}

fleet::v1::Consumer ConsumerToProto(fleet::v1::Consumer::Kind kind,
                                    const sds::ConsumerReport& consumer) {
  fleet::v1::Consumer out;
  out.set_id(Text(consumer.id));
  out.set_kind(kind);
  out.set_node_id(Text(consumer.node_id));
  out.set_pid(consumer.pid);
  out.set_connected(consumer.connected);
  if (!consumer.acknowledged_bundle.empty()) {
    *out.mutable_acknowledged_bundle() = ToProto(consumer.acknowledged_bundle);
  }
  out.set_acknowledged_leaf_serial(consumer.acknowledged_leaf_serial);
  if (consumer.acknowledged_at != absl::InfinitePast()) {
    rpc::SetTime(consumer.acknowledged_at, out.mutable_acknowledged_at());
  }
  if (consumer.last_nack) {
    out.mutable_last_nack()->set_resource(Text(consumer.last_nack->resource));
    out.mutable_last_nack()->set_message(Text(consumer.last_nack->message));
    rpc::SetTime(consumer.last_nack->at, out.mutable_last_nack()->mutable_at());
  }
  return out;
}

}  // namespace

fleet::v1::BundleVersion ToProto(const trust::BundleVersion& version) {
  fleet::v1::BundleVersion out;
  out.set_lineage(version.lineage);
  out.set_sequence(version.sequence);
  return out;
}

fleet::v1::Report ToReport(const Standing& standing, absl::Time now) {
  fleet::v1::Report report;
  if (standing.leaf) *report.mutable_leaf() = LeafToProto(*standing.leaf);
  if (standing.credential) *report.mutable_credential() = LeafToProto(*standing.credential);
  *report.mutable_bundle() = ToProto(standing.bundle);
  // The connected ones first: they are the ones a gate waits for.
  std::vector<std::pair<fleet::v1::Consumer::Kind, sds::ConsumerReport>> consumers =
      standing.consumers;
  std::stable_sort(consumers.begin(), consumers.end(), [](const auto& a, const auto& b) {
    return a.second.connected > b.second.connected;
  });
  for (const auto& [kind, consumer] : consumers) {
    if (report.consumers_size() == static_cast<int>(kMostConsumers)) break;
    *report.add_consumers() = ConsumerToProto(kind, consumer);
  }
  rpc::SetTime(now, report.mutable_agent_time());
  report.set_last_error(Text(standing.last_error));
  for (const fleet::v1::ProbeResult& probe : standing.probes) *report.add_probes() = probe;
  if (standing.failed_verifications.has_value()) {
    report.set_failed_verifications(*standing.failed_verifications);
  }
  return report;
}

}  // namespace capstan::agent
