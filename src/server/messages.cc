// SPDX-License-Identifier: Apache-2.0
#include "server/messages.h"

#include "absl/strings/escaping.h"
#include "base/strings.h"
#include "rpc/fields.h"

namespace capstan::server {
namespace {

absl::Time TimeOf(const google::protobuf::Timestamp& message) {
  return absl::FromUnixSeconds(message.seconds()) + absl::Nanoseconds(message.nanos());
}

trust::BundleVersion VersionOf(const fleet::v1::BundleVersion& message) {
  return {message.lineage(), message.sequence()};
}

fleet::Leaf LeafOf(const fleet::v1::Leaf& message) {
  fleet::Leaf leaf{message.serial(), message.authority_id()};
  if (message.has_not_before()) leaf.not_before = TimeOf(message.not_before());
  if (message.has_not_after()) leaf.not_after = TimeOf(message.not_after());
  return leaf;
}

fleet::ConsumerKind KindOf(fleet::v1::Consumer::Kind kind) {
  switch (kind) {
    case fleet::v1::Consumer::ENVOY:
      return fleet::ConsumerKind::kEnvoy;
    case fleet::v1::Consumer::FILES:
      return fleet::ConsumerKind::kFiles;
    case fleet::v1::Consumer::STOCK_AGENT:
      return fleet::ConsumerKind::kStockAgent;
    default:
      return fleet::ConsumerKind::kUnspecified;
  }
}

fleet::v1::Consumer::Kind KindMessage(fleet::ConsumerKind kind) {
  switch (kind) {
    case fleet::ConsumerKind::kEnvoy:
      return fleet::v1::Consumer::ENVOY;
    case fleet::ConsumerKind::kFiles:
      return fleet::v1::Consumer::FILES;
    case fleet::ConsumerKind::kStockAgent:
      return fleet::v1::Consumer::STOCK_AGENT;
    case fleet::ConsumerKind::kUnspecified:
      break;
  }
  return fleet::v1::Consumer::KIND_UNSPECIFIED;
}

fleet::Consumer ConsumerOf(const fleet::v1::Consumer& message) {
  fleet::Consumer consumer;
  consumer.id = message.id();
  consumer.kind = KindOf(message.kind());
  consumer.node_id = message.node_id();
  consumer.pid = message.pid();
  consumer.connected = message.connected();
  consumer.acknowledged_bundle = VersionOf(message.acknowledged_bundle());
  consumer.acknowledged_leaf_serial = message.acknowledged_leaf_serial();
  if (message.has_acknowledged_at()) consumer.acknowledged_at = TimeOf(message.acknowledged_at());
  if (message.has_last_nack()) {
    const fleet::v1::Nack& nack = message.last_nack();
    consumer.last_nack = fleet::Nack{nack.resource(), nack.message(), TimeOf(nack.at())};
  }
  return consumer;
}

fleet::Probe::Verdict VerdictOf(fleet::v1::ProbeResult::Verdict verdict) {
  switch (verdict) {
    case fleet::v1::ProbeResult::ACCEPTED:
      return fleet::Probe::Verdict::kAccepted;
    case fleet::v1::ProbeResult::UNKNOWN_CA:
      return fleet::Probe::Verdict::kUnknownCa;
    case fleet::v1::ProbeResult::REFUSED:
      return fleet::Probe::Verdict::kRefused;
    case fleet::v1::ProbeResult::SILENT:
      return fleet::Probe::Verdict::kSilent;
    case fleet::v1::ProbeResult::UNREACHABLE:
      return fleet::Probe::Verdict::kUnreachable;
    default:
      return fleet::Probe::Verdict::kUnspecified;
  }
}

void Fill(const fleet::Consumer& consumer, fleet::v1::Consumer* message) {
  message->set_id(consumer.id);
  message->set_kind(KindMessage(consumer.kind));
  message->set_node_id(consumer.node_id);
  message->set_pid(consumer.pid);
  message->set_connected(consumer.connected);
  if (!consumer.acknowledged_bundle.empty()) {
    *message->mutable_acknowledged_bundle() = MessageOf(consumer.acknowledged_bundle);
  }
  message->set_acknowledged_leaf_serial(consumer.acknowledged_leaf_serial);
  if (consumer.acknowledged_at != absl::InfinitePast()) {
    rpc::SetTime(consumer.acknowledged_at, message->mutable_acknowledged_at());
  }
  if (consumer.last_nack.has_value()) {
    message->mutable_last_nack()->set_resource(consumer.last_nack->resource);
    message->mutable_last_nack()->set_message(consumer.last_nack->message);
    rpc::SetTime(consumer.last_nack->at, message->mutable_last_nack()->mutable_at());
  }
}

void Fill(const rotation::ReissuePlan& plan, const trust::AuthorityId& issuer,
          fleet::v1::Renewal* message) {
  message->set_authority_id(issuer.hex());
  rpc::SetTime(plan.window.start, message->mutable_start());
  if (plan.window.length <= absl::ZeroDuration()) return;
  SetDuration(plan.window.length, message->mutable_window());
  for (const absl::Time bound : plan.window.bounds)
    rpc::SetTime(bound, message->add_expiry_bounds());
}

}  // namespace

void SetDuration(absl::Duration duration, google::protobuf::Duration* message) {
  message->set_seconds(absl::IDivDuration(duration, absl::Seconds(1), &duration));
  message->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
}

fleet::Probe ProbeOf(const fleet::v1::ProbeResult& message) {
  fleet::Probe probe;
  probe.target = message.target();
  probe.authority = message.authority_id();
  probe.verdict = VerdictOf(message.verdict());
  probe.detail = message.detail();
  if (message.has_at()) probe.at = TimeOf(message.at());
  probe.bundle = VersionOf(message.bundle());
  if (message.has_served_leaf()) probe.served = LeafOf(message.served_leaf());
  return probe;
}

fleet::Report ReportOf(const fleet::v1::Report& message) {
  fleet::Report report;
  report.leaf = LeafOf(message.leaf());
  report.credential = LeafOf(message.credential());
  report.bundle = VersionOf(message.bundle());
  for (const fleet::v1::Consumer& consumer : message.consumers()) {
    report.consumers.push_back(ConsumerOf(consumer));
  }
  if (message.has_agent_time()) report.agent_time = TimeOf(message.agent_time());
  report.last_error = message.last_error();
  for (const fleet::v1::ProbeResult& probe : message.probes()) {
    report.probes.push_back(ProbeOf(probe));
  }
  if (message.has_failed_verifications()) {
    report.failed_verifications = message.failed_verifications();
  }
  return report;
}

fleet::v1::BundleVersion MessageOf(const trust::BundleVersion& version) {
  fleet::v1::BundleVersion message;
  message.set_lineage(version.lineage);
  message.set_sequence(version.sequence);
  return message;
}

fleet::v1::Leaf MessageOf(const fleet::Leaf& leaf) {
  fleet::v1::Leaf message;
  message.set_serial(leaf.serial);
  message.set_authority_id(leaf.authority);
  if (leaf.not_before != absl::InfinitePast())
    rpc::SetTime(leaf.not_before, message.mutable_not_before());
  if (leaf.not_after != absl::InfinitePast())
    rpc::SetTime(leaf.not_after, message.mutable_not_after());
  return message;
}

fleet::v1::TrustUpdate UpdateOf(const trust::TrustState& trust,
                                const std::optional<rotation::ReissuePlan>& plan,
                                const trust::AuthorityId& signer,
                                const rotation::Probing& probing) {
  fleet::v1::TrustUpdate update;
  *update.mutable_bundle()->mutable_version() = MessageOf(trust.version);
  update.mutable_bundle()->set_roots_pem(trust.bundle.ToPem());
  update.set_issuer_epoch(trust.issuer_epoch);
  update.set_issuer_authority_id(trust.issuer.hex());
  update.mutable_crls()->set_number(trust.crl_number);
  if (!trust.crls.empty()) update.mutable_crls()->set_pem(x509::ToPem(trust.crls));
  if (plan.has_value()) Fill(*plan, signer, update.mutable_renewal());
  for (const trust::AuthorityId& id : probing.accepted) {
    update.mutable_probing()->add_accepted_authority_ids(id.hex());
  }
  for (const trust::AuthorityId& id : probing.refused) {
    update.mutable_probing()->add_refused_authority_ids(id.hex());
  }
  return update;
}

control::v1::Root RootMessage(const x509::Certificate& root) {
  control::v1::Root message;
  message.set_fingerprint(root.FingerprintHex());
  message.set_subject_key_id(trust::AuthorityId::Of(root).hex());
  message.set_subject(root.Subject());
  message.set_serial(root.serial().ToHex());
  rpc::SetTime(root.not_before(), message.mutable_not_before());
  rpc::SetTime(root.not_after(), message.mutable_not_after());
  return message;
}

control::v1::Authority AuthorityMessage(const rotation::Standing& standing,
                                        int64_t unexpired_leaves) {
  const x509::Certificate& certificate = standing.authority.certificate;
  control::v1::Authority message;
  message.set_id(standing.authority.id.hex());
  message.set_state(std::string(trust::AuthorityStateName(standing.state)));
  message.set_subject(certificate.Subject());
  message.set_issuer(certificate.Issuer());
  message.set_serial(certificate.serial().ToHex());
  rpc::SetTime(certificate.not_before(), message.mutable_not_before());
  rpc::SetTime(certificate.not_after(), message.mutable_not_after());
  message.set_root_fingerprint(standing.authority.root.FingerprintHex());
  if (standing.reserved_until != absl::InfinitePast()) {
    rpc::SetTime(standing.reserved_until, message.mutable_last_leaf_expiry_reserved());
  }
  message.set_unexpired_leaves(unexpired_leaves);
  return message;
}

control::v1::Workload WorkloadMessage(const fleet::Key& key, const fleet::Workload& workload,
                                      const fleet::Current& current, absl::Time now) {
  control::v1::Workload message;
  message.set_spiffe_id(key.spiffe_id);
  message.set_instance(key.instance);
  message.set_connected(workload.connected());
  // What the agent says is being served counts; what was issued to it stands in until it speaks.
  const bool reported = workload.report.has_value();
  const fleet::Leaf& leaf = reported ? workload.report->leaf : workload.leaf;
  const fleet::Leaf& credential = reported && !workload.report->credential.empty()
                                      ? workload.report->credential
                                      : workload.credential;
  if (!leaf.empty()) *message.mutable_leaf() = MessageOf(leaf);
  if (!credential.empty()) *message.mutable_credential() = MessageOf(credential);
  if (reported) {
    if (!workload.report->bundle.empty())
      *message.mutable_bundle() = MessageOf(workload.report->bundle);
    for (const fleet::Consumer& consumer : workload.report->consumers)
      Fill(consumer, message.add_consumers());
    message.set_last_error(workload.report->last_error);
  } else {
    for (const std::string& id : workload.known_consumers) message.add_consumers()->set_id(id);
  }
  if (workload.sighting.has_value() && workload.sighting->envoy.has_value())
    Fill(*workload.sighting->envoy, message.add_consumers());
  if (workload.last_seen != absl::InfinitePast())
    rpc::SetTime(workload.last_seen, message.mutable_last_seen());
  const fleet::Judgement judgement = fleet::Judge(workload, current, now);
  message.set_state(std::string(fleet::GradeName(judgement.grade)));
  message.set_why(judgement.why);
  return message;
}

}  // namespace capstan::server
