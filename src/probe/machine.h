// SPDX-License-Identifier: Apache-2.0
// When to try which handshake with the workload's consumers, as a machine: events in, actions out,
// no I/O. The driver beside it (probe/prober.h) performs the actions.
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "capstan/fleet/v1/fleet.pb.h"
#include "lifecycle/machine.h"
#include "trust/authority.h"
#include "trust/bundle.h"

namespace capstan::probe {

// Under which authorities handshakes are to be tried, as the control plane says.
struct Probing {
  std::vector<trust::AuthorityId> accepted;  // the first is the control
  std::vector<trust::AuthorityId> refused;
  bool empty() const { return accepted.empty(); }
  friend bool operator==(const Probing&, const Probing&) = default;
};

// One that is connected, and what it acknowledged.
struct ProbedConsumer {
  std::string id;
  trust::BundleVersion bundle;
  std::string leaf_serial;
  friend auto operator<=>(const ProbedConsumer&, const ProbedConsumer&) = default;
};

// What a handshake showed.
struct ProbeOutcome {
  struct Served {
    std::string serial;     // hex
    std::string authority;  // hex of its authority key id
    absl::Time not_before;
    absl::Time not_after;
    friend bool operator==(const Served&, const Served&) = default;
  };
  fleet::v1::ProbeResult::Verdict verdict = fleet::v1::ProbeResult::VERDICT_UNSPECIFIED;
  std::string detail;
  std::optional<Served> served;
  absl::Time at = absl::InfinitePast();
  trust::BundleVersion bundle;  // that was served when the handshake began
  friend bool operator==(const ProbeOutcome&, const ProbeOutcome&) = default;
};

// Guarantees, whatever the order of events:
//  - one certificate is being obtained or one handshake made at a time;
//  - a result is of the consumers that are connected and of the bundle that is served now;
//  - a certificate is obtained only while its authority is to be accepted, and dropped when nothing
//    is asked about it any more.
class ProbeMachine {
 public:
  struct Policy {
    // From an event that calls for handshakes to the first of them: what was acknowledged comes
    // into force within moments, and acknowledgements come in pairs.
    absl::Duration settle = absl::Milliseconds(300);
    // A new Probing reaches a whole fleet at once: its agents spread over this time.
    absl::Duration spread = absl::Seconds(1);
    // Between rounds, while something is not as asked for, and once everything is.
    absl::Duration unproven = absl::Seconds(10);
    absl::Duration proven = absl::Minutes(1);
    // A certificate with less life than this left is not shown.
    absl::Duration least_life = absl::Seconds(5);
  };

  // Events.
  struct Asked {
    Probing probing;  // empty: nothing is asked for any more
  };
  struct Serving {
    trust::BundleVersion bundle;
  };
  struct Consumers {
    std::set<ProbedConsumer> connected;
  };
  struct LeafObtained {
    absl::Time not_after;
  };
  struct LeafFailed {
    std::string why;
  };
  struct Tried {
    ProbeOutcome outcome;  // `at` and `bundle` are filled in here
  };
  struct Woke {};
  using Event = std::variant<Asked, Serving, Consumers, LeafObtained, LeafFailed, Tried, Woke>;

  // Actions, to be performed in order.
  struct ObtainLeaf {  // LeafObtained or LeafFailed follows
    trust::AuthorityId authority;
  };
  struct DropLeaf {
    trust::AuthorityId authority;
  };
  struct Try {  // Tried follows
    size_t target;
    trust::AuthorityId authority;
  };
  struct WakeAfter {
    absl::Duration delay;  // replaces the one before; infinite: none
  };
  using Action = std::variant<ObtainLeaf, DropLeaf, Try, WakeAfter>;
  struct Decision {
    std::vector<Action> actions;  // the last one is WakeAfter
    bool changed = false;         // results() says something else now
  };

  // `seed` makes the agent's own jitter.
  ProbeMachine(std::string seed, size_t targets, Policy policy);

  Decision On(const Event& event, lifecycle::Instant now);

  struct Result {
    size_t target;
    std::optional<trust::AuthorityId> authority;  // nullopt: nothing is asked
    ProbeOutcome outcome;
    friend bool operator==(const Result&, const Result&) = default;
  };
  // At least one of each target: what was found, and without a verdict what is still to be tried.
  std::vector<Result> results(lifecycle::Instant now) const;

 private:
  struct Held {
    absl::Time not_after;
    absl::Duration obtained;  // monotonic
    absl::Duration life;      // from then on
  };
  struct Step {
    std::optional<size_t> target;  // nullopt: its certificate is obtained
    trust::AuthorityId authority;
    trust::BundleVersion bundle = {};  // served when it began
  };

  void Handle(const Asked& event, lifecycle::Instant now, Decision& decision);
  void Handle(const Serving& event, lifecycle::Instant now, Decision& decision);
  void Handle(const Consumers& event, lifecycle::Instant now, Decision& decision);
  void Handle(const LeafObtained& event, lifecycle::Instant now, Decision& decision);
  void Handle(const LeafFailed& event, lifecycle::Instant now, Decision& decision);
  void Handle(const Tried& event, lifecycle::Instant now, Decision& decision);
  void Handle(const Woke& event, lifecycle::Instant now, Decision& decision);

  bool IsAccepted(const trust::AuthorityId& id) const;
  bool IsAsked(const trust::AuthorityId& id) const;
  absl::Duration LifeLeft(const trust::AuthorityId& id, lifecycle::Instant now) const;
  bool Usable(const trust::AuthorityId& id, lifecycle::Instant now) const;
  bool Fresh(const trust::AuthorityId& id, lifecycle::Instant now) const;
  // Whether handshakes can show anything that is asked for.
  bool Worthwhile(lifecycle::Instant now) const;
  bool AsAsked(lifecycle::Instant now) const;
  void ForgetResults(Decision& decision);
  void Call(absl::Duration delay, lifecycle::Instant now);
  void PlanRound();
  void EndRound(lifecycle::Instant now);
  void Begin(const Step& step, lifecycle::Instant now, Decision& decision);
  void Advance(lifecycle::Instant now, Decision& decision);

  const std::string seed_;
  const size_t targets_;
  const Policy policy_;

  Probing probing_;
  trust::BundleVersion serving_;
  std::set<ProbedConsumer> consumers_;
  std::map<trust::AuthorityId, Held> leaves_;
  std::map<trust::AuthorityId, std::string> failures_;  // why there is no certificate
  std::map<std::pair<size_t, trust::AuthorityId>, ProbeOutcome> results_;

  absl::Duration due_ = absl::InfiniteDuration();  // monotonic; of the next round
  bool in_round_ = false;
  std::deque<Step> steps_;  // left of this round
  std::optional<Step> running_;
  bool outdated_ = false;  // what running_ will show counts for nothing
  int rounds_ = 0;
};

}  // namespace capstan::probe
