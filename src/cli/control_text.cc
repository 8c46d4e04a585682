// SPDX-License-Identifier: Apache-2.0
#include "cli/control_text.h"

#include <map>

#include "base/strings.h"
#include "cli/table.h"
#include "cli/time_text.h"

namespace capstan::cli {
namespace {

constexpr size_t kShortHex = 12;

std::string Short(const std::string& hex) {
  return hex.substr(0, kShortHex);
}

std::string OrDash(const std::string& text) {
  return text.empty() ? "-" : text;
}

std::string VersionText(const fleet::v1::BundleVersion& version) {
  return version.lineage().empty() ? "-" : absl::StrCat(version.lineage(), "/", version.sequence());
}

// "2026-01-02T03:04:05Z (in 23h59m)"
std::string When(absl::Time now, const google::protobuf::Timestamp& time) {
  return absl::StrCat(Utc(ToTime(time)), " (", RelativeTo(now, ToTime(time)), ")");
}

void Line(std::string& text, const std::string& label, const std::string& value) {
  constexpr size_t kLabelWidth = 15;
  text += label;
  text.append(label.size() < kLabelWidth ? kLabelWidth - label.size() : 1, ' ');
  text += Printable(value) + "\n";
}

void SourceLines(std::string& text, const control::v1::Source& source, absl::Time now) {
  std::string value = source.kind();
  if (!source.path().empty()) {
    absl::StrAppend(&value, " ", source.path());
  }
  if (source.has_last_applied()) {
    absl::StrAppend(&value, ", applied ", When(now, source.last_applied()));
  }
  Line(text, "source", value);
  if (!source.error().empty()) {
    Line(text, "  NOT USABLE", source.error());
    if (source.has_error_since()) {
      Line(text, "  since", When(now, source.error_since()));
    }
    Line(text, "  meanwhile", "what was applied last stays in force");
  }
}

void IstiodLines(std::string& text, const control::v1::Istiod& istiod, absl::Time now) {
  Line(text, "istiod",
       istiod.error().empty()
           ? absl::StrCat(istiod.address(), ", its Secret shows what is in force")
           : istiod.address());
  if (istiod.error().empty()) return;
  Line(text, "  NOT SHOWN", absl::StrCat("its Secret is behind: ", istiod.error()));
  if (istiod.has_error_since()) Line(text, "  since", When(now, istiod.error_since()));
  Line(text, "  meanwhile", "it signs with what the Secret held last, and gates wait");
}

std::string RootTable(const control::v1::Status& status, absl::Time now) {
  Table table({"ROOT", "SKI", "SUBJECT", "SERIAL", "NOT AFTER"});
  for (const control::v1::Root& root : status.roots()) {
    table.Add({Short(root.fingerprint()), Short(OrDash(root.subject_key_id())),
               OrDash(root.subject()), Short(root.serial()), When(now, root.not_after())});
  }
  return table.Render();
}

std::string AuthorityTable(const control::v1::Status& status, absl::Time now) {
  Table table(
      {"AUTHORITY", "STATE", "SUBJECT", "ROOT", "NOT AFTER", "LEAVES", "LAST LEAF ENDS BY"});
  for (const control::v1::Authority& authority : status.authorities()) {
    table.Add({Short(authority.id()), authority.state(), OrDash(authority.subject()),
               Short(authority.root_fingerprint()), When(now, authority.not_after()),
               absl::StrCat(authority.unexpired_leaves()),
               authority.has_last_leaf_expiry_reserved()
                   ? Utc(ToTime(authority.last_leaf_expiry_reserved()))
                   : "-"});
  }
  return table.Render();
}

std::string ServingText(const control::v1::Status& status, absl::Time now) {
  if (!status.has_serving_certificate()) {
    return "-";
  }
  const fleet::v1::Leaf& leaf = status.serving_certificate();
  return absl::StrCat("serial ", Short(leaf.serial()), ", authority ", Short(leaf.authority_id()),
                      ", root ", Short(status.serving_root_fingerprint()), ", expires ",
                      When(now, leaf.not_after()));
}

// "2/3" of the consumers accepted a bundle of this very version and the leaf that is served.
std::string ConsumerText(const control::v1::Workload& workload,
                         const fleet::v1::BundleVersion& current) {
  int done = 0;
  for (const fleet::v1::Consumer& consumer : workload.consumers()) {
    done += consumer.acknowledged_bundle().lineage() == current.lineage() &&
                    consumer.acknowledged_bundle().sequence() == current.sequence() &&
                    consumer.acknowledged_leaf_serial() == workload.leaf().serial()
                ? 1
                : 0;
  }
  return absl::StrCat(done, "/", workload.consumers_size());
}

std::string WhyText(const control::v1::Workload& workload) {
  std::string why = workload.why();
  if (!workload.last_error().empty()) {
    absl::StrAppend(&why, why.empty() ? "" : "; ", "last error: ", workload.last_error());
  }
  return OrDash(why);
}

}  // namespace

std::string RelativeTo(absl::Time now, absl::Time then) {
  const std::string distance = TwoUnits(then - now);
  return then < now ? absl::StrCat(distance, " ago") : absl::StrCat("in ", distance);
}

std::string TimerText(const control::v1::RotationTimer& timer, absl::Time now) {
  if (timer.mode().empty() || timer.mode() == "off") return "";
  std::string text = timer.action() == "announce" ? "DUE: " : "";
  absl::StrAppend(&text, timer.why());
  if (timer.action() == "none" && timer.has_due()) {
    absl::StrAppend(&text, " (", RelativeTo(now, ToTime(timer.due())), ")");
    if (timer.has_at() && ToTime(timer.at()) > ToTime(timer.due())) {
      absl::StrAppend(&text, "; the first maintenance window after that opens at ",
                      Utc(ToTime(timer.at())));
    }
  }
  if (timer.action() == "announce") absl::StrAppend(&text, "; type: ", timer.command());
  return text;
}

std::string StatusText(const control::v1::Status& status) {
  const absl::Time now = ToTime(status.time());
  std::string text;
  Line(text, "capstand", absl::StrCat(status.version(), ", listens on ", status.listen_address()));
  Line(text, "time", Utc(now));
  Line(text, "trust domain", status.trust_domain());
  Line(text, "bundle",
       absl::StrCat(VersionText(status.bundle_version()), ", roots: ", status.roots_size()));
  Line(text, "issuer epoch", absl::StrCat(status.issuer_epoch()));
  Line(text, "CRL number", absl::StrCat(status.crl_number()));
  SourceLines(text, status.source(), now);
  if (status.has_istiod()) IstiodLines(text, status.istiod(), now);
  Line(text, "serves with", ServingText(status, now));
  Line(text, "workloads",
       absl::StrCat(status.population(), " hold an unexpired certificate, ",
                    status.connected_agents(), " agents connected"));
  if (!status.issuance_error().empty()) {
    Line(text, "NOT ISSUING", absl::StrCat("no certificate is issued: ", status.issuance_error()));
  }
  if (const std::string timer = TimerText(status.rotation_timer(), now); !timer.empty()) {
    Line(text, "timer", timer);
  }
  return absl::StrCat(text, "\n", RootTable(status, now), "\n", AuthorityTable(status, now));
}

std::string FleetText(const control::v1::ListFleetResponse& fleet) {
  if (fleet.workloads().empty()) {
    return "No workload holds an unexpired certificate.\n";
  }
  Table table(
      {"SPIFFE ID", "INSTANCE", "STATE", "BUNDLE", "AUTHORITY", "LEAF ENDS", "CONSUMERS", "WHY"});
  std::map<std::string, int> counts;
  for (const control::v1::Workload& workload : fleet.workloads()) {
    ++counts[workload.state()];
    table.Add(
        {workload.spiffe_id(), OrDash(workload.instance()), OrDash(workload.state()),
         workload.bundle().lineage().empty() ? "-" : absl::StrCat(workload.bundle().sequence()),
         OrDash(Short(workload.leaf().authority_id())),
         workload.leaf().has_not_after() ? Utc(ToTime(workload.leaf().not_after())) : "-",
         ConsumerText(workload, fleet.bundle_version()), WhyText(workload)});
  }
  std::string text = table.Render();
  absl::StrAppend(&text, "\n", fleet.workloads_size(), " workloads, bundle ",
                  VersionText(fleet.bundle_version()), ":");
  const char* separator = " ";
  for (const auto& [state, count] : counts) {
    absl::StrAppend(&text, separator, count, " ", Printable(OrDash(state)));
    separator = ", ";
  }
  return text + "\n";
}

std::string ReloadText(const control::v1::ReloadResponse& reload) {
  std::string text = reload.changed() ? "Reloaded.\n" : "Nothing changed.\n";
  for (const std::string& step : reload.steps()) {
    absl::StrAppend(&text, "  ", Printable(step), "\n");
  }
  for (const std::string& warning : reload.warnings()) {
    absl::StrAppend(&text, "warning: ", Printable(warning), "\n");
  }
  return text;
}

}  // namespace capstan::cli
