// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "rotation/gate.h"
#include "rotation/observation.h"
#include "rotation/step.h"

namespace capstan::rotation {

// Both clocks, read together: deadlines and expiries go by the wall clock, which may step; the soak
// goes by the monotonic one.
struct Instant {
  absl::Time wall;
  absl::Duration monotonic;
};

struct Policy {
  // How long a gate's conditions must have held before it opens. Somebody who lags or is away for
  // a moment (kBlink), as every new workload and namespace does, keeps the gate shut for that
  // moment and does not begin the soak anew. Whose agent connects anew, as with every renewed
  // credential, and lacked nothing when it was heard of last, does not even that: in a large mesh
  // there always is one.
  absl::Duration soak = absl::Seconds(30);
  // The least soak while anybody counts by a stock agent's word alone: an Envoy whose agent had
  // nothing for it comes back for what the agent has since within half a minute (Envoy's back-off).
  absl::Duration soak_stock_agents = absl::Minutes(1);
  // How long somebody absent is waited for, from the beginning of the phase; InfiniteDuration():
  // until the last leaf it may hold has expired.
  absl::Duration absent_deadline = absl::InfiniteDuration();
  // Consumers that no handshake can reach hold a gate too.
  bool require_proven = false;
  // How far the control plane's wall clock may be from the median of its agents'.
  absl::Duration clock_tolerance = absl::Minutes(1);
  // No gates at all: what is wished is done at once, in the safe order.
  bool immediate = false;
  // Certificates that a re-issue asks for in a second; 0: as many as are signed at all, and never
  // more than that. No step waits for it.
  double issue_per_second = 0;
  friend bool operator==(const Policy&, const Policy&) = default;
};

// Of a gate; `by_word`: somebody counts by a stock agent's word alone.
inline absl::Duration SoakOf(const Policy& policy, bool by_word) {
  return by_word ? std::max(policy.soak, policy.soak_stock_agents) : policy.soak;
}

inline constexpr absl::Duration kBlink = absl::Seconds(10);

// Somebody who was passed over, and why; for the record.
struct Exemption {
  std::string name;
  std::string why;
  absl::Time at = absl::InfinitePast();
  friend bool operator==(const Exemption&, const Exemption&) = default;
};

// Whether an exemption of this name is a pattern: "*" in it stands for any text, also for none. It
// passes over those who are absent, also who comes later, and nobody who is connected.
bool IsPattern(std::string_view name);
// Whether `name` stands for the holder.
bool StandsFor(std::string_view name, const Holder& holder);

// What is durable about the rotation that runs, besides the situation and the wish.
struct Rotation {
  Policy policy;
  bool paused = false;
  bool emergency = false;  // as Policy::immediate, and said so
  absl::Time phase_since = absl::InfinitePast();
  std::map<std::string, Exemption> exempt;  // by name
};

// A gate, looked at.
struct GateReport {
  Gate gate;
  bool open = false;
  std::string summary;  // one sentence: why it is open or not
  absl::Duration soak_left = absl::ZeroDuration();
  std::vector<Holder> holders;  // who keeps it shut, ordered by name
};

struct Decision {
  std::optional<Step> step;            // to be taken now: journal it, then do it
  bool finished = false;               // nothing is left to do or to wait for: write that down
  std::string turn_back;               // why the rotation must go back by itself; "": it need not
  std::vector<Exemption> passed_over;  // by the step or the end: to be journaled with it
  GateReport gate;
  std::string next;                                      // the step that comes next; "" for the end
  absl::Duration look_again = absl::InfiniteDuration();  // though nothing happens
};

// What to ask before Decide(): the gate that stands before the next step.
struct Question {
  std::optional<Step> step;
  Gate gate;
};

// Why the control plane's wall clock may not be believed about what expired; "" where it may.
std::string ClockDoubt(const Observation& seen, const Policy& policy);

// Walks from what is to what is wished, one gated step after another. Everything but the soak is
// its arguments: a machine that was just made, as after a crash, soaks anew and decides the same.
class Machine {
 public:
  Question Ask(const Situation& now_is, const Wish& wish, const Rotation& rotation,
               Instant now) const;
  // `seen` answers `question`, as of `now`.
  Decision Decide(const Question& question, const Observation& seen, const Rotation& rotation,
                  Instant now);

 private:
  bool Returns(const Holder& holder, const std::map<std::string, absl::Duration>& before,
               Instant now);
  void Soak(GateReport& report, const Rotation& rotation, bool by_word, Instant now);
  bool OnlyBlinks(const std::vector<Holder>& holders, Instant now);

  std::optional<Gate> soaking_;
  absl::Duration held_since_;  // monotonic; since when the conditions of soaking_ have held
  std::map<std::string, absl::Duration> blinking_;   // by name: who holds it again, since when
  std::map<std::string, absl::Duration> returning_;  // by name: who is connecting anew, since when
};

}  // namespace capstan::rotation
