// SPDX-License-Identifier: Apache-2.0
// One certificate's life as a machine: events in, actions and a `why` out, no I/O. The driver
// beside it performs the actions.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/time/time.h"
#include "base/slot.h"
#include "trust/authority.h"

namespace capstan::lifecycle {

// Both clocks, read together. Validity is judged by the wall clock, which may step either way at
// any moment; retries are spaced by the monotonic one.
struct Instant {
  absl::Time wall;
  absl::Duration monotonic;
};

// What the machine needs to know of a certificate.
struct Leaf {
  std::string serial;  // hex
  trust::AuthorityId authority;
  absl::Time not_before;
  absl::Time not_after;
  friend bool operator==(const Leaf&, const Leaf&) = default;
};

// The control plane's wish that a leaf of any other authority be replaced, in its slot of `window`.
struct Directive {
  trust::AuthorityId authority;
  Window window;
  friend bool operator==(const Directive&, const Directive&) = default;
};

struct Policy {
  // A leaf is renewed when this part of its life is over; where between the two is a function of
  // identity and serial.
  double renew_earliest = 1.0 / 2;
  double renew_latest = 2.0 / 3;
  // Between the starts of two requests, whatever happens.
  absl::Duration min_interval = absl::Milliseconds(500);
  // Back-off after a failure that time may heal, doubling, and after a refusal.
  absl::Duration first_retry = absl::Milliseconds(500);
  absl::Duration longest_retry = absl::Seconds(30);
  absl::Duration first_retry_refused = absl::Seconds(5);
  absl::Duration longest_retry_refused = absl::Minutes(5);
  // While a leaf lives, no wait is longer than this part of what is left of it: attempts get denser
  // towards its end and there always is another.
  double longest_retry_of_remaining = 1.0 / 4;
  // A control plane that says when to come back is believed up to this, and asked up to this part
  // of it later.
  absl::Duration longest_put_off = absl::Minutes(10);
  double put_off_spread = 1.0 / 4;
  // When the control plane can be reached again, a renewal that failed meanwhile is tried within
  // this part of what is left of the leaf, and no later than this.
  double return_of_remaining = 1.0 / 16;
  absl::Duration longest_return = absl::Minutes(5);
  // A slot that was over when its directive came is taken within this part of the window from then.
  double late_slot_of_window = 1.0 / 16;
  // The wall clock is read again at least this often.
  absl::Duration longest_sleep = absl::Minutes(1);
  absl::Duration longest_call = absl::Seconds(10);
};

// Events.
struct Started {
  std::optional<Leaf> held;  // from before the restart
};
struct Issued {  // the answer came and passed every check
  Leaf leaf;
};
struct Failed {
  enum class Kind {
    kTransient,  // no answer, or one that says "later"
    kRefused,    // the control plane said no, or answered with what may not be served
    kUntrusted,  // the answer chains to a root that the bundle does not hold (yet)
    kPutOff,     // the control plane is there, signs for others first, and said when to come back
  };
  Kind kind = Kind::kTransient;
  std::string message;
  absl::Duration come_back = absl::ZeroDuration();  // with kPutOff: after this
};
struct Woke {};
struct BundleChanged {};
struct Directed {
  std::optional<Directive> directive;
};
struct Reachable {};  // the control plane answers again
struct Disowned {};   // no root of the bundle vouches for the held leaf any more
using Event =
    std::variant<Started, Issued, Failed, Woke, BundleChanged, Directed, Reachable, Disowned>;

// Actions, to be performed in order.
struct Request {
  std::string reason;
  absl::Duration timeout;  // of the whole call; Issued or Failed follows
};
struct Serve {};  // what Issued brought replaces what was served
struct WakeAfter {
  absl::Duration delay;  // monotonic; replaces the one before
};
using Action = std::variant<Request, Serve, WakeAfter>;

struct Decision {
  std::vector<Action> actions;  // the last one is WakeAfter
  std::string why;
};

// Guarantees, whatever the order of events and however the wall clock steps:
//  - two requests never start within min_interval, and never overlap;
//  - a leaf is only ever replaced by an issued one, never dropped, not even when it expired;
//  - a change of the bundle alone requests nothing that was not wanted already;
//  - a leaf does not outlive its planned renewal by the monotonic clock either;
//  - a leaf never waits for its slot beyond its own renewal.
class Machine {
 public:
  // `identity` seeds the jitter, with the serial: unique to this certificate's holder.
  Machine(std::string identity, Policy policy);

  Decision On(const Event& event, Instant now);

  const std::optional<Leaf>& held() const { return held_; }
  bool requesting() const { return in_flight_.has_value(); }
  // When the held leaf is to be renewed by the wall clock.
  std::optional<absl::Time> renew_at() const;
  // Failures since the last success, being put off not counted twice, and what the last one said.
  int failures() const { return failures_; }
  const std::string& last_failure() const { return last_failure_; }

 private:
  struct InFlight {
    std::optional<trust::AuthorityId> directed_to;  // the directive that was in force when it began
  };
  struct Wish {
    absl::Duration due;  // monotonic
    std::string reason;
  };

  std::string Handle(const Started& event, Instant now);
  std::string Handle(const Issued& event, Instant now);
  std::string Handle(const Failed& event, Instant now);
  std::string Handle(const Woke& event, Instant now);
  std::string Handle(const BundleChanged& event, Instant now);
  std::string Handle(const Directed& event, Instant now);
  std::string Handle(const Reachable& event, Instant now);
  std::string Handle(const Disowned& event, Instant now);

  void Hold(const Leaf& leaf, absl::Time lives_since, Instant now);
  bool DirectiveUnmet() const;
  // When the directive, which is unmet, is to be followed; monotonic.
  absl::Duration DirectedDue(Instant now) const;
  std::string DescribeSlot() const;
  // No wait is longer than a part of what is left of the leaf.
  absl::Duration Capped(absl::Duration delay, Instant now) const;
  absl::Duration PutOff(absl::Duration come_back, Instant now) const;
  absl::Duration ReturnWait(Instant now) const;
  absl::Duration BackOff(absl::Duration first, absl::Duration longest, int failures,
                         Instant now) const;
  // What is wanted first: there always is a next renewal.
  Wish NextWish(Instant now) const;
  absl::Duration CallTimeout(Instant now) const;
  // Turns what is wanted into actions; adds to `why`.
  void Plan(Instant now, Decision& decision);

  const std::string identity_;
  const Policy policy_;

  std::optional<Leaf> held_;
  absl::Time renew_at_;                // of held_, by the wall clock
  absl::Duration renew_at_monotonic_;  // the same moment by the other clock
  bool disowned_ = false;              // held_ is to be replaced at once

  std::optional<InFlight> in_flight_;
  std::optional<absl::Duration> last_request_;  // monotonic, when it started

  int failures_ = 0;
  Failed::Kind last_failure_kind_ = Failed::Kind::kTransient;
  std::string last_failure_;
  absl::Duration retry_at_;  // monotonic; holds while failures_ > 0
  int put_offs_ = 0;         // since the last success

  std::optional<Directive> directive_;
  absl::Duration directed_from_;  // monotonic: where its slot was over when it came
  int misdirected_ = 0;           // answers in a row that came from another authority than directed
  absl::Duration directed_retry_at_;  // monotonic; holds while misdirected_ > 0
};

}  // namespace capstan::lifecycle
