// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "sim/cas.h"
#include "sim/options.h"
#include "sim/world.h"
#include "store/store.h"
#include "trust/state.h"

namespace capstan::sim {

// What must never be: the name of the promise that was broken, and how.
struct Violation {
  std::string checker;
  std::string text;
  absl::Duration at;
};

// The names, for exit codes and tests.
inline constexpr std::string_view kCheckers[] = {
    "peers",        // two live peers, one of which cannot verify the other
    "switch",       // an authority signs whose root a live proxy does not trust
    "needed",       // a root left while a live leaf stands under it
    "steps",        // trust moved by more than one step, or backwards
    "journal",      // something was published that is not in the store
    "empty",        // somebody was given an empty bundle
    "soak",         // a gate opened before its conditions had held for long enough
    "serving",      // the control plane shows a certificate that an agent of the mesh cannot verify
    "done",         // a rotation ended before everybody had its last bundle
    "lapse",        // a certificate lapsed although its agent could have renewed it
    "keys",         // a private key was on the wire
    "budget",       // more was signed than the budget allows
    "convergence",  // nothing was wrong any more, and it did not come to rest
};

// Watches the world from outside: what each proxy really uses, not what anybody reports. Every look
// is O(1) in the size of the mesh.
class Checker {
 public:
  Checker(World& world, const Options& options) : world_(world), options_(options) {}

  // What a live proxy verifies by and shows; nullopt: it serves nothing, or its leaf has expired.
  struct Live {
    Roots trusts = 0;
    int shows = 0;  // the root its leaf stands under
    friend bool operator==(const Live&, const Live&) = default;
  };
  void Proxy(int64_t workload, std::optional<Live> live);
  // An agent that may come back with a credential that is good until `until`: what it verifies the
  // control plane by. nullopt: it is gone for good, or has none.
  void Agent(int64_t workload, std::optional<Roots> trusts, absl::Duration until);
  // The operator let the rotation pass over this one.
  void Exempt(int64_t workload);

  // After each publication: what is said, and what is on the disk.
  void Published(const trust::TrustState& trust, const store::TrustRecord& durable);
  void Serving(int root);
  void Finished(const std::string& outcome);
  void Granted();
  void ControlRestarted() { signed_.clear(); }
  void Sent(std::string_view message);

  // Something keeps this agent, or all of them, from renewing until `until`.
  void Disturbed(int64_t workload, absl::Duration until);
  void DisturbedAll(absl::Duration until);
  void Lapsed(int64_t workload);

  int64_t lapsed() const { return lapsed_; }

  void Fail(std::string_view checker, std::string text);
  const std::optional<Violation>& violation() const { return violation_; }

  // For the chart: proxies by the root they show, and by what they trust.
  struct Census {
    int64_t live = 0;
    int64_t trusting[kRoots] = {};
    int64_t showing[kRoots] = {};
  };
  const Census& census() const { return census_; }
  bool exempt(int64_t workload) const { return exempt_.contains(workload); }
  int64_t exempted() const { return static_cast<int64_t>(exempt_.size()); }

 private:
  struct Known {
    Live live;
    absl::Duration since;
  };
  void Count(const Live& live, int64_t by);
  void CheckPeers(int64_t workload);
  // Notes the end of what lasted long enough to begin a soak anew.
  void Ended(int64_t workload, const Known& known);

  World& world_;
  const Options& options_;
  std::optional<Violation> violation_;

  std::map<int64_t, Known> proxies_;
  struct Caller {
    Roots trusts;
    absl::Duration until;
  };
  std::map<int64_t, Caller> agents_;
  std::set<int64_t> exempt_;
  Census census_;
  // When somebody last lacked it, or showed it, for more than a moment.
  absl::Duration lacked_[kRoots] = {-absl::InfiniteDuration(), -absl::InfiniteDuration(),
                                    -absl::InfiniteDuration()};
  absl::Duration shown_[kRoots] = {-absl::InfiniteDuration(), -absl::InfiniteDuration(),
                                   -absl::InfiniteDuration()};
  int64_t last_lacking_[kRoots] = {};
  std::optional<trust::TrustState> published_;
  std::deque<absl::Duration> signed_;
  std::map<int64_t, absl::Duration> disturbed_;
  int64_t lapsed_ = 0;
  absl::Duration disturbed_all_ = absl::ZeroDuration();
};

}  // namespace capstan::sim
