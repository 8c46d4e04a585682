// SPDX-License-Identifier: Apache-2.0
#include "sim/fleet_file.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <functional>
#include <map>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"

namespace capstan::sim {
namespace {

constexpr int kMostWorkloads = 100'000;

// Means of one workload, before they are known for the whole mesh.
struct Rates {
  absl::Duration agent_restart = absl::Hours(24 * 7);
  absl::Duration envoy_restart = absl::Hours(24 * 7);
  absl::Duration away = absl::Hours(24 * 30);
  absl::Duration partition = absl::Hours(24 * 30);
  absl::Duration birth = absl::InfiniteDuration();
  absl::Duration death = absl::InfiniteDuration();
};

absl::Status Bad(const YAML::Node& node, std::string_view key, std::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("line ", node.Mark().line + 1, ": ", key, ": ", what));
}

absl::StatusOr<absl::Duration> DurationOf(const YAML::Node& node, const std::string& key) {
  const std::string text = node.IsScalar() ? node.Scalar() : "";
  if (text == "never" || text == "wait") return absl::InfiniteDuration();
  absl::Duration d;
  if (!absl::ParseDuration(text, &d) || d < absl::ZeroDuration()) {
    return Bad(node, key, absl::StrCat("\"", text, "\" is no duration, such as 24h or 90s"));
  }
  return d;
}

absl::StatusOr<double> NumberOf(const YAML::Node& node, const std::string& key, double most) {
  double number = 0;
  if (!node.IsScalar() || !absl::SimpleAtod(node.Scalar(), &number) || number < 0 ||
      number > most) {
    return Bad(node, key, absl::StrCat("a number from 0 to ", most, " is needed"));
  }
  return number;
}

class Reader {
 public:
  Reader(Options& options, Rates& rates) {
    Duration("leaf-ttl", options.leaf_ttl);
    Duration("rejoin-grace", options.rejoin_grace);
    Duration("soak", options.soak);
    Duration("absent", options.absent_deadline);
    Duration("duration", options.trouble);
    Duration("latency", options.latency);
    Duration("control-restart-every", options.control_crash);
    Duration("agent-restart-every", rates.agent_restart);
    Duration("envoy-restart-every", rates.envoy_restart);
    Duration("away-every", rates.away);
    Duration("cut-off-every", rates.partition);
    Duration("born-every", rates.birth);
    Duration("gone-every", rates.death);
    Duration("lasts", options.fault_length);
    Number("workloads", kMostWorkloads, [&](double n) { options.workloads = static_cast<int>(n); });
    Number("issue-per-second", 1e6, [&](double n) { options.issue_per_second = n; });
    Number("loss", 1, [&](double n) { options.loss_ppm = static_cast<int64_t>(n * 1e6); });
  }

  absl::Status Read(const YAML::Node& root) const {
    if (!root.IsMap()) return Bad(root, "the file", "keys and values are needed");
    for (const auto& entry : root) {
      const std::string key = entry.first.Scalar();
      const auto known = keys_.find(key);
      if (known == keys_.end()) {
        std::string all;
        for (const auto& [name, take] : keys_) absl::StrAppend(&all, all.empty() ? "" : ", ", name);
        return Bad(entry.first, key, absl::StrCat("there is no such key; there are ", all));
      }
      CAPSTAN_RETURN_IF_ERROR(known->second(entry.second, key));
    }
    return absl::OkStatus();
  }

 private:
  using Take = std::function<absl::Status(const YAML::Node&, const std::string&)>;

  void Duration(const std::string& key, absl::Duration& out) {
    keys_[key] = [&out](const YAML::Node& node, const std::string& name) -> absl::Status {
      CAPSTAN_ASSIGN_OR_RETURN(out, DurationOf(node, name));
      return absl::OkStatus();
    };
  }
  void Number(const std::string& key, double most, std::function<void(double)> take) {
    keys_[key] = [most, take = std::move(take)](const YAML::Node& node,
                                                const std::string& name) -> absl::Status {
      CAPSTAN_ASSIGN_OR_RETURN(const double number, NumberOf(node, name, most));
      take(number);
      return absl::OkStatus();
    };
  }

  std::map<std::string, Take> keys_;
};

absl::Duration OfAll(absl::Duration each, int workloads) {
  return each == absl::InfiniteDuration() ? each : each / std::max(workloads, 1);
}

}  // namespace

absl::StatusOr<Options> ParseFleetFile(const std::string& text, uint64_t seed) {
  Options options{.seed = seed, .workloads = 1000};
  options.leaf_ttl = absl::Hours(24);
  options.trouble = absl::Hours(72);
  options.heartbeat = absl::Seconds(100);
  // No clock of theirs is set, and a rotation that waits looks no closer.
  options.idle_heartbeats = false;
  options.longest_sleep = absl::Hours(1);
  options.housekeep_every = absl::Seconds(10);
  options.fault_length = absl::Minutes(10);
  options.control_crash = absl::Hours(24 * 7);
  Rates rates;
  YAML::Node root;
  try {
    root = YAML::Load(text);
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(absl::StrCat("line ", e.mark.line + 1, ": ", e.msg));
  }
  CAPSTAN_RETURN_IF_ERROR(Reader(options, rates).Read(root));
  if (options.workloads < 1) return absl::InvalidArgumentError("workloads: at least one is needed");
  if (options.leaf_ttl < absl::Minutes(1) || options.leaf_ttl > absl::Hours(24 * 90)) {
    return absl::InvalidArgumentError("leaf-ttl: between 1m and 2160h is needed");
  }
  if (options.trouble < absl::Minutes(1) || options.trouble > absl::Hours(24 * 366)) {
    return absl::InvalidArgumentError("duration: between 1m and 8784h is needed");
  }
  options.agent_crash = OfAll(rates.agent_restart, options.workloads);
  options.envoy_restart = OfAll(rates.envoy_restart, options.workloads);
  options.agent_sleep = OfAll(rates.away, options.workloads);
  options.partition = OfAll(rates.partition, options.workloads);
  options.birth = rates.birth;
  options.death = rates.death;
  options.joining = std::min(absl::Minutes(30), options.leaf_ttl / 4);
  options.rotate_at = absl::ZeroDuration();
  return options;
}

std::string FleetFileHelp() {
  return R"(workloads: 1000
leaf-ttl: 24h
issue-per-second: 0          # the budget; 0: as capstand finds it
# The policy.
soak: 30s
absent: wait                 # or how long the absent are waited for
rejoin-grace: 0s
# What fails, and how often: of one workload; lasts: how long such a thing takes on average.
agent-restart-every: 168h
envoy-restart-every: 168h
away-every: 720h             # its machine sleeps
cut-off-every: 720h          # from the control plane
lasts: 10m
control-restart-every: 168h
# Of the whole mesh.
born-every: never
gone-every: never
latency: 5ms                 # at most, one way
loss: 0                      # of messages, 0 to 1
duration: 72h                # of the simulation
)";
}

}  // namespace capstan::sim
