// SPDX-License-Identifier: Apache-2.0
#include "fleet/standing.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace capstan::fleet {
namespace {

std::string UtcTime(absl::Time time) {
  return absl::FormatTime(time, absl::UTCTimeZone());
}

std::string Named(const Consumer& consumer) {
  if (consumer.kind == ConsumerKind::kStockAgent) {
    return absl::StrCat("the stock agent of ", consumer.node_id);
  }
  std::string name = consumer.kind == ConsumerKind::kFiles ? "the file set" : "Envoy";
  if (!consumer.node_id.empty()) absl::StrAppend(&name, " ", consumer.node_id);
  if (consumer.pid != 0) absl::StrAppend(&name, " (pid ", consumer.pid, ")");
  return name;
}

std::string Version(const trust::BundleVersion& version) {
  return version.empty() ? "none" : absl::StrCat("sequence ", version.sequence);
}

// What a refusal that nothing was accepted after adds to a reason.
std::string Refusal(const Consumer& consumer) {
  if (!consumer.last_nack.has_value() || consumer.last_nack->at < consumer.acknowledged_at) {
    return "";
  }
  return absl::StrCat("; it refused ", consumer.last_nack->resource, ": ",
                      consumer.last_nack->message);
}

std::string AgentLacks(const Report& report, const Target& target, const std::string& error) {
  if (report.bundle == target.bundle) return "";
  return absl::StrCat("its agent has not taken the bundle of sequence ", target.bundle.sequence,
                      " (it has ", Version(report.bundle), ")", error);
}

// What the first connected consumer lacks by `missing`, "" for nothing; where none is connected,
// that.
template <typename Missing>
std::string ConsumersLack(const Report& report, Missing missing) {
  bool any = false;
  for (const Consumer& consumer : report.consumers) {
    if (!consumer.connected) continue;
    any = true;
    const std::string lacks = missing(consumer);
    if (!lacks.empty()) return absl::StrCat(Named(consumer), " ", lacks, Refusal(consumer));
  }
  return any ? "" : "no consumer is connected to its agent";
}

std::string TrustLacks(const Report& report, const Target& target) {
  return ConsumersLack(report, [&](const Consumer& consumer) -> std::string {
    if (consumer.acknowledged_bundle == target.bundle) return "";
    return absl::StrCat("has not acknowledged the bundle of sequence ", target.bundle.sequence,
                        " (it has ", Version(consumer.acknowledged_bundle), ")");
  });
}

std::string LeafLacks(const Leaf& leaf, const char* what, const Target& target, absl::Time now) {
  if (leaf.empty()) return absl::StrCat("its agent has no ", what, " yet");
  if (leaf.not_after <= now) {
    return absl::StrCat("its ", what, " expired at ", UtcTime(leaf.not_after));
  }
  if (target.authorities.contains(leaf.authority)) return "";
  return absl::StrCat("its ", what, " is of authority ", leaf.authority, ", the issuer is ",
                      target.authorities.empty() ? "none" : *target.authorities.begin());
}

std::string MoveLacks(const Report& report, const Target& target, const std::string& error,
                      absl::Time now) {
  if (std::string lacks = LeafLacks(report.leaf, "leaf", target, now); !lacks.empty()) {
    return lacks + error;
  }
  std::string unacknowledged = ConsumersLack(report, [&](const Consumer& consumer) -> std::string {
    if (consumer.acknowledged_leaf_serial == report.leaf.serial) return "";
    return absl::StrCat("has not acknowledged the leaf ", report.leaf.serial);
  });
  if (!unacknowledged.empty()) return unacknowledged;
  // An agent that says nothing of its credential (an earlier version) has one of the same
  // authority.
  if (report.credential.empty()) return "";
  std::string lacks = LeafLacks(report.credential, "agent's certificate", target, now);
  return lacks.empty() ? lacks : lacks + error;
}

std::string AbsentWhy(const Workload& workload) {
  if (workload.last_seen == absl::InfinitePast()) return "its agent never connected";
  return absl::StrCat("its agent is not connected; last seen at ", UtcTime(workload.last_seen));
}

// Whose agent is not connected, and takes its roots from the answers to its requests.
bool IsTold(const Workload& workload, absl::Time now) {
  return !workload.connected() && workload.leaf.told > 0 && workload.leaf.not_after > now;
}

std::string ToldLacks(const Leaf& leaf, const Target& target) {
  if (leaf.told == target.bundle.sequence) return "";
  return absl::StrCat("its stock agent was told the bundle of sequence ", leaf.told,
                      " with its last certificate, and has asked for none since");
}

// A stock agent's report, with what was read of its Envoy. Of leaves, not the serial matters but
// whose they are: it may have one more since.
Report WithSighting(Report report, const Sighting& sighting, const Target& target) {
  report.probes = sighting.probes;
  if (!sighting.envoy.has_value()) return report;
  Consumer& envoy = report.consumers.emplace_back(*sighting.envoy);
  if (target.authorities.contains(sighting.shown.authority)) {
    envoy.acknowledged_leaf_serial = report.leaf.serial;
  }
  return report;
}

absl::Time LastEnd(const Workload& workload) {
  absl::Time end = std::max(workload.leaf.not_after, workload.credential.not_after);
  if (workload.report.has_value()) {
    end = std::max({end, workload.report->leaf.not_after, workload.report->credential.not_after});
  }
  return end;
}

const Probe* Find(const Report& report, const std::string& target, const std::string& authority) {
  for (const Probe& probe : report.probes) {
    if (probe.target == target && probe.authority == authority) return &probe;
  }
  return nullptr;
}

// Whether any authority but `authority` was accepted at `target`, or may still turn out to be.
bool CanBeProbed(const Report& report, const std::string& target, const std::string& authority) {
  bool tried = false;
  for (const Probe& probe : report.probes) {
    if (probe.target != target || probe.authority == authority) continue;
    if (probe.verdict == Probe::Verdict::kUnspecified) continue;
    tried = true;
    if (probe.verdict == Probe::Verdict::kAccepted) return true;
  }
  return !tried;
}

std::string Shown(const Probe& probe) {
  return absl::StrCat("a handshake with ", probe.target, " at ", UtcTime(probe.at), ": ",
                      probe.detail);
}

std::string NotTried(const std::string& target, const std::string& authority, const Probe* probe) {
  const std::string why = probe == nullptr || probe->detail.empty() ? "" : ": " + probe->detail;
  return absl::StrCat("no handshake with ", target, " under authority ", authority, " yet", why);
}

// What handshakes still have to show; "" for nothing. Fills in whether there is anything to probe.
std::string ProofLacks(const Report& report, const Target& target, bool& probed) {
  std::set<std::string> targets;
  for (const Probe& probe : report.probes) targets.insert(probe.target);
  for (const std::string& at : targets) {
    const std::string& asked = target.accepted.empty() ? target.refused : target.accepted;
    if (!CanBeProbed(report, at, asked)) continue;
    probed = true;
    if (!target.accepted.empty()) {
      const Probe* probe = Find(report, at, target.accepted);
      if (probe == nullptr || probe->verdict == Probe::Verdict::kUnspecified) {
        return NotTried(at, target.accepted, probe);
      }
      if (probe->verdict != Probe::Verdict::kAccepted) return Shown(*probe);
    }
    if (!target.refused.empty()) {
      const Probe* probe = Find(report, at, target.refused);
      // Without a word of it there is no certificate left to try it with.
      if (probe != nullptr && probe->verdict == Probe::Verdict::kUnspecified) {
        return NotTried(at, target.refused, probe);
      }
      if (probe != nullptr && probe->verdict == Probe::Verdict::kAccepted) {
        return absl::StrCat(Shown(*probe), "; a client under authority ", target.refused,
                            " is still accepted");
      }
    }
  }
  return "";
}

// What the latest handshakes were shown, where there were any.
std::string ServedLacks(const Report& report, const Target& target) {
  std::map<std::string, const Probe*> latest;
  for (const Probe& probe : report.probes) {
    const Probe*& known = latest[probe.target];
    if (!probe.served.empty() && (known == nullptr || known->at < probe.at)) known = &probe;
  }
  for (const auto& [at, probe] : latest) {
    if (probe == nullptr || target.authorities.contains(probe->served.authority)) continue;
    return absl::StrCat("a handshake with ", at, " at ", UtcTime(probe->at),
                        " was shown a leaf of authority ", probe->served.authority);
  }
  return "";
}

// Whether a consumer refused what its agent serves of the new authority.
std::string LeafRefused(const Report& report, const Target& target) {
  if (!target.authorities.contains(report.leaf.authority)) return "";
  for (const Consumer& consumer : report.consumers) {
    if (!consumer.connected || !consumer.last_nack.has_value()) continue;
    const Nack& nack = *consumer.last_nack;
    if (nack.at < consumer.acknowledged_at) continue;
    return absl::StrCat(Named(consumer), " refused ", nack.resource, ": ", nack.message);
  }
  return "";
}

// A listener that accepts the control and not the new authority: whoever moved cannot call it.
std::string ProbeRefused(const Report& report, const Target& target, bool selected) {
  for (const Probe& probe : report.probes) {
    if (probe.authority != target.accepted || target.accepted.empty()) continue;
    if (!(probe.bundle == target.bundle)) continue;
    const bool refused = probe.verdict == Probe::Verdict::kUnknownCa ||
                         (selected && probe.verdict == Probe::Verdict::kRefused);
    if (refused && CanBeProbed(report, probe.target, target.accepted)) return Shown(probe);
  }
  return "";
}

std::string Harm(const Report& report, const Target& target, bool selected) {
  if (selected) {
    if (std::string refused = LeafRefused(report, target); !refused.empty()) return refused;
  }
  return ProbeRefused(report, target, selected);
}

void Recall(const Report& last, const Target& target, absl::Time now, Standing& standing) {
  bool probed = false;
  const bool proven =
      ProofLacks(last, target, probed).empty() && (probed || !target.proof_required);
  standing.trusted_last =
      proven && AgentLacks(last, target, "").empty() && TrustLacks(last, target).empty();
  standing.moved_last =
      proven && MoveLacks(last, target, "", now).empty() && ServedLacks(last, target).empty();
}

}  // namespace

bool Complete(const Standing& standing, const Target& target) {
  const bool moved = standing.moved.empty() || (target.canary.has_value() && !standing.canary);
  return standing.agent.empty() && standing.trusts.empty() && moved && standing.proven.empty() &&
         (standing.probed || !target.proof_required);
}

Standing StandingOf(const Workload& workload, const Target& target, absl::Time now, bool selected) {
  Standing standing;
  standing.canary = selected;
  standing.connected = workload.connected();
  standing.until = LastEnd(workload);
  standing.counted = standing.connected || standing.until > now;
  const std::optional<Report>& last =
      workload.report.has_value() ? workload.report : workload.before;
  const bool silent = !standing.connected || !workload.report.has_value();
  if (silent && last.has_value()) Recall(*last, target, now, standing);
  const bool seen_by_us = workload.sighting.has_value() && workload.sighting->envoy.has_value();
  standing.by_word = (IsTold(workload, now) || workload.stock()) && !seen_by_us;
  if (IsTold(workload, now)) {
    standing.agent = standing.trusts = ToldLacks(workload.leaf, target);
    standing.moved = LeafLacks(workload.leaf, "leaf", target, now);
    if (!workload.sighting.has_value()) return standing;
    const Report seen = WithSighting({.leaf = workload.leaf}, *workload.sighting, target);
    if (seen_by_us) {
      if (standing.trusts.empty()) standing.trusts = TrustLacks(seen, target);
      if (standing.moved.empty()) standing.moved = MoveLacks(seen, target, "", now);
    }
    if (standing.moved.empty()) standing.moved = ServedLacks(seen, target);
    standing.proven = ProofLacks(seen, target, standing.probed);
    return standing;
  }
  if (!standing.connected) {
    standing.agent = standing.trusts = AbsentWhy(workload);
    // What its consumers accepted last stays with them, whatever became of the agent.
    const bool moved = workload.report.has_value() &&
                       MoveLacks(*workload.report, target, "", absl::InfinitePast()).empty();
    if (!moved) {
      standing.moved = standing.trusts;
      // It may still show what it had before the leaf that is on record.
      if (target.authorities.contains(workload.leaf.authority)) {
        standing.until = std::max(standing.until, target.others_expire);
      }
    }
    return standing;
  }
  if (!workload.report.has_value()) {
    standing.agent = standing.trusts = standing.moved = "its agent has not reported yet";
    return standing;
  }
  const bool read = workload.stock() && workload.sighting.has_value();
  const Report seen = read ? WithSighting(*workload.report, *workload.sighting, target) : Report();
  const Report& report = read ? seen : *workload.report;
  const std::string error =
      report.last_error.empty() ? "" : absl::StrCat("; its agent says: ", report.last_error);
  standing.agent = AgentLacks(report, target, error);
  standing.trusts = standing.agent.empty() ? TrustLacks(report, target) : standing.agent;
  standing.moved = MoveLacks(report, target, error, now);
  if (standing.moved.empty()) standing.moved = ServedLacks(report, target);
  standing.proven = ProofLacks(report, target, standing.probed);
  if (target.canary.has_value()) {
    standing.harm = Harm(report, target, selected);
    standing.untold = !selected && !report.failed_verifications.has_value();
    standing.failed = selected ? 0 : report.failed_verifications.value_or(0);
  }
  return standing;
}

}  // namespace capstan::fleet
