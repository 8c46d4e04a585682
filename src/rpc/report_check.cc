// SPDX-License-Identifier: Apache-2.0
#include "rpc/report_check.h"

#include <algorithm>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"
#include "rpc/call_credentials.h"

namespace capstan::rpc {
namespace {

constexpr int kMaxConsumers = 256;
constexpr size_t kMaxText = 4096;
constexpr size_t kMaxNodeId = 1024;
constexpr size_t kMaxHex = 128;
constexpr size_t kMaxVersion = 128;
constexpr int kMaxProbes = 256;
constexpr size_t kMaxTarget = 512;
// RFC 3339's years 0001 to 9999, as google.protobuf.Timestamp allows.
constexpr int64_t kFirstSecond = -62135596800;
constexpr int64_t kLastSecond = 253402300799;

absl::Status Wrong(std::string_view field, std::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat(field, " ", why));
}

absl::Status CheckTime(std::string_view field, const google::protobuf::Timestamp& time) {
  if (time.seconds() < kFirstSecond || time.seconds() > kLastSecond || time.nanos() < 0 ||
      time.nanos() > 999999999) {
    return Wrong(field, "is no time between the years 1 and 9999");
  }
  return absl::OkStatus();
}

absl::Status CheckHex(std::string_view field, std::string_view hex) {
  const bool hexadecimal = std::all_of(hex.begin(), hex.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  if (hex.size() > kMaxHex || !hexadecimal) {
    return Wrong(field, "is not lower-case hexadecimal");
  }
  return absl::OkStatus();
}

absl::Status CheckVersion(std::string_view field, const fleet::v1::BundleVersion& version) {
  if (!version.lineage().empty() && !IsName(version.lineage())) {
    return Wrong(field, "has a lineage that is no UUID");
  }
  if (version.sequence() < 0) {
    return Wrong(field, "has a negative sequence");
  }
  return absl::OkStatus();
}

absl::Status CheckLeaf(std::string_view field, const fleet::v1::Leaf& leaf) {
  CAPSTAN_RETURN_IF_ERROR(CheckHex(absl::StrCat(field, ".serial"), leaf.serial()));
  CAPSTAN_RETURN_IF_ERROR(CheckHex(absl::StrCat(field, ".authority_id"), leaf.authority_id()));
  CAPSTAN_RETURN_IF_ERROR(CheckTime(absl::StrCat(field, ".not_before"), leaf.not_before()));
  return CheckTime(absl::StrCat(field, ".not_after"), leaf.not_after());
}

// At a character's border: the field stays valid UTF-8.
void Cut(std::string& text) {
  if (text.size() <= kMaxText) {
    return;
  }
  size_t end = kMaxText;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
    --end;
  }
  text.resize(end);
}

absl::Status CheckNack(fleet::v1::Nack& nack) {
  if (nack.resource().size() > kMaxNodeId) {
    return Wrong("consumers.last_nack.resource", "is too long");
  }
  Cut(*nack.mutable_message());
  return CheckTime("consumers.last_nack.at", nack.at());
}

absl::Status CheckConsumer(fleet::v1::Consumer& consumer) {
  if (!IsName(consumer.id())) {
    return Wrong("consumers.id", "is not 1 to 128 printable characters without blanks");
  }
  if (consumer.node_id().size() > kMaxNodeId) {
    return Wrong("consumers.node_id", "is too long");
  }
  if (consumer.kind() == fleet::v1::Consumer::STOCK_AGENT) {
    return Wrong("consumers.kind", "is STOCK_AGENT, which no agent says of itself");
  }
  CAPSTAN_RETURN_IF_ERROR(
      CheckVersion("consumers.acknowledged_bundle", consumer.acknowledged_bundle()));
  CAPSTAN_RETURN_IF_ERROR(
      CheckHex("consumers.acknowledged_leaf_serial", consumer.acknowledged_leaf_serial()));
  CAPSTAN_RETURN_IF_ERROR(CheckTime("consumers.acknowledged_at", consumer.acknowledged_at()));
  return consumer.has_last_nack() ? CheckNack(*consumer.mutable_last_nack()) : absl::OkStatus();
}

absl::Status CheckProbe(fleet::v1::ProbeResult& probe) {
  if (probe.target().empty() || probe.target().size() > kMaxTarget) {
    return Wrong("probes.target", "is not 1 to 512 characters");
  }
  CAPSTAN_RETURN_IF_ERROR(CheckHex("probes.authority_id", probe.authority_id()));
  if (probe.authority_id().empty() &&
      probe.verdict() != fleet::v1::ProbeResult::VERDICT_UNSPECIFIED) {
    return Wrong("probes.authority_id", "is missing from a result");
  }
  Cut(*probe.mutable_detail());
  CAPSTAN_RETURN_IF_ERROR(CheckTime("probes.at", probe.at()));
  CAPSTAN_RETURN_IF_ERROR(CheckVersion("probes.bundle", probe.bundle()));
  return CheckLeaf("probes.served_leaf", probe.served_leaf());
}

absl::Status CheckProbes(fleet::v1::Report& report) {
  if (report.probes_size() > kMaxProbes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "a report of ", report.probes_size(), " probes; at most ", kMaxProbes, " are taken"));
  }
  std::set<std::pair<std::string_view, std::string_view>> seen;
  for (fleet::v1::ProbeResult& probe : *report.mutable_probes()) {
    CAPSTAN_RETURN_IF_ERROR(CheckProbe(probe));
    if (!seen.emplace(probe.target(), probe.authority_id()).second) {
      return Wrong("probes", absl::StrCat("has \"", probe.target(), "\" under authority \"",
                                          probe.authority_id(), "\" twice"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckHello(const fleet::v1::Hello& hello) {
  if (!IsName(hello.instance())) {
    return Wrong("hello.instance", "is not 1 to 128 printable characters without blanks");
  }
  if (hello.version().size() > kMaxVersion) {
    return Wrong("hello.version", "is too long");
  }
  return CheckVersion("hello.bundle", hello.bundle());
}

absl::Status CheckReport(fleet::v1::Report& report) {
  if (report.consumers_size() > kMaxConsumers) {
    return absl::ResourceExhaustedError(absl::StrCat("a report of ", report.consumers_size(),
                                                     " consumers; at most ", kMaxConsumers,
                                                     " are taken"));
  }
  CAPSTAN_RETURN_IF_ERROR(CheckLeaf("leaf", report.leaf()));
  CAPSTAN_RETURN_IF_ERROR(CheckLeaf("credential", report.credential()));
  CAPSTAN_RETURN_IF_ERROR(CheckVersion("bundle", report.bundle()));
  CAPSTAN_RETURN_IF_ERROR(CheckTime("agent_time", report.agent_time()));
  if (report.failed_verifications() < 0) return Wrong("failed_verifications", "is negative");
  Cut(*report.mutable_last_error());
  std::set<std::string_view> seen;
  for (fleet::v1::Consumer& consumer : *report.mutable_consumers()) {
    CAPSTAN_RETURN_IF_ERROR(CheckConsumer(consumer));
    if (!seen.insert(consumer.id()).second) {
      return Wrong("consumers.id", absl::StrCat("\"", consumer.id(), "\" is there twice"));
    }
  }
  return CheckProbes(report);
}

}  // namespace capstan::rpc
