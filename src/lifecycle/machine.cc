// SPDX-License-Identifier: Apache-2.0
#include "lifecycle/machine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/jitter.h"

namespace capstan::lifecycle {
namespace {

// For people: whole milliseconds below ten seconds, whole seconds above.
std::string Rounded(absl::Duration d) {
  return absl::FormatDuration(
      absl::Trunc(d, d < absl::Seconds(10) ? absl::Milliseconds(1) : absl::Seconds(1)));
}

}  // namespace

Machine::Machine(std::string identity, Policy policy)
    : identity_(std::move(identity)), policy_(policy) {}

Decision Machine::On(const Event& event, Instant now) {
  Decision decision;
  decision.why = std::visit([&](const auto& e) { return Handle(e, now); }, event);
  if (std::holds_alternative<Issued>(event)) decision.actions.push_back(Serve{});
  Plan(now, decision);
  return decision;
}

std::optional<absl::Time> Machine::renew_at() const {
  if (!held_) return std::nullopt;
  return renew_at_;
}

std::string Machine::Handle(const Started& event, Instant now) {
  if (!event.held) return "there is no certificate from before";
  // Nobody noted when it was received; NotBefore is at most the CA's back-dating earlier.
  Hold(*event.held, std::min(event.held->not_before, now.wall), now);
  if (held_->not_after <= now.wall) {
    return absl::StrCat("the certificate from before expired at ",
                        absl::FormatTime(held_->not_after, absl::UTCTimeZone()));
  }
  return absl::StrCat("serving the certificate from before, serial ", held_->serial);
}

std::string Machine::Handle(const Issued& event, Instant now) {
  const std::optional<trust::AuthorityId> directed_to =
      in_flight_ ? in_flight_->directed_to : std::nullopt;
  in_flight_.reset();
  failures_ = 0;
  put_offs_ = 0;
  last_failure_.clear();
  Hold(event.leaf, now.wall, now);
  if (!DirectiveUnmet()) {
    misdirected_ = 0;
    return absl::StrCat("issued by authority ", held_->authority.hex(), ", serial ", held_->serial);
  }
  if (directed_to != directive_->authority) {
    return absl::StrCat("issued by authority ", held_->authority.hex(),
                        " before the directive to use ", directive_->authority.hex(), " was known");
  }
  ++misdirected_;
  directed_retry_at_ = now.monotonic + BackOff(policy_.first_retry_refused,
                                               policy_.longest_retry_refused, misdirected_, now);
  return absl::StrCat("issued by authority ", held_->authority.hex(),
                      " although the directive says ", directive_->authority.hex(),
                      ": served, and asked again later");
}

std::string Machine::Handle(const Failed& event, Instant now) {
  in_flight_.reset();
  last_failure_kind_ = event.kind;
  last_failure_ = event.message;
  if (event.kind == Failed::Kind::kPutOff) {
    // It answered: back-off does not grow.
    failures_ = std::max(failures_, 1);
    ++put_offs_;
    retry_at_ = now.monotonic + PutOff(event.come_back, now);
    return absl::StrCat("put off by the control plane (", event.message, ")");
  }
  ++failures_;
  const bool slow = event.kind == Failed::Kind::kRefused;
  retry_at_ = now.monotonic + BackOff(slow ? policy_.first_retry_refused : policy_.first_retry,
                                      slow ? policy_.longest_retry_refused : policy_.longest_retry,
                                      failures_, now);
  std::string kept = "there is none to keep";
  if (held_ && held_->not_after > now.wall) {
    kept =
        absl::StrCat("the last good one is kept, good for ", Rounded(held_->not_after - now.wall));
  } else if (held_) {
    kept = "the last good one is kept although it has EXPIRED";
  }
  return absl::StrCat("attempt ", failures_, " failed (", event.message, "); ", kept);
}

std::string Machine::Handle(const Woke&, Instant) {
  return "";
}

std::string Machine::Handle(const BundleChanged&, Instant now) {
  if (failures_ > 0 && last_failure_kind_ == Failed::Kind::kUntrusted) {
    retry_at_ = now.monotonic;
    return "the trust bundle changed, and the last answer was refused for a root it did not hold";
  }
  return "the trust bundle changed, which needs no new certificate";
}

std::string Machine::Handle(const Directed& event, Instant now) {
  if (event.directive == directive_) return "";
  directive_ = event.directive;
  directed_from_ = now.monotonic;
  misdirected_ = 0;
  if (!directive_) return "the directive to re-issue was withdrawn";
  if (!DirectiveUnmet()) {
    return held_ ? "the certificate already is of the authority that the directive names"
                 : "a directive names the authority";
  }
  // Whoever comes late, as after an outage, comes with others.
  const Window& window = directive_->window;
  if (SlotOf(window, held_->not_after, identity_, held_->serial) <= now.wall) {
    directed_from_ += std::max(window.length, absl::ZeroDuration()) * policy_.late_slot_of_window *
                      Jitter(identity_, absl::StrCat(held_->serial, "#late"));
  }
  // The control plane that says so can be reached, whatever failed before.
  retry_at_ = std::min(retry_at_, DirectedDue(now));
  return absl::StrCat("directed to authority ", directive_->authority.hex(),
                      "; the certificate is of ", held_->authority.hex(), DescribeSlot());
}

std::string Machine::Handle(const Reachable&, Instant now) {
  if (failures_ == 0 || last_failure_kind_ != Failed::Kind::kTransient) return "";
  const absl::Duration due = now.monotonic + ReturnWait(now);
  // A renewal can wait, and does so that everybody does not come in one moment. A directive was
  // spread already.
  retry_at_ = DirectiveUnmet() ? std::min(retry_at_, due) : due;
  return "the control plane can be reached again";
}

std::string Machine::Handle(const Disowned&, Instant now) {
  if (!held_ || std::exchange(disowned_, true)) return "";
  if (failures_ > 0 && last_failure_kind_ == Failed::Kind::kTransient) retry_at_ = now.monotonic;
  return "no root of the trust bundle vouches for the certificate any more";
}

void Machine::Hold(const Leaf& leaf, absl::Time lives_since, Instant now) {
  held_ = leaf;
  disowned_ = false;
  const absl::Duration life = std::max(leaf.not_after - lives_since, absl::ZeroDuration());
  const double fraction = policy_.renew_earliest + (policy_.renew_latest - policy_.renew_earliest) *
                                                       Jitter(identity_, leaf.serial);
  renew_at_ = lives_since + life * fraction;
  // A wall clock that steps back afterwards must not make a leaf outlive its renewal.
  renew_at_monotonic_ = now.monotonic + std::max(renew_at_ - now.wall, absl::ZeroDuration());
}

bool Machine::DirectiveUnmet() const {
  return directive_ && held_ && held_->authority != directive_->authority;
}

absl::Duration Machine::BackOff(absl::Duration first, absl::Duration longest, int failures,
                                Instant now) const {
  absl::Duration delay = first;
  for (int i = 1; i < failures && delay < longest; ++i) delay *= 2;
  delay = std::min(delay, longest);
  const std::string attempt = absl::StrCat(held_ ? held_->serial : "", "#", failures);
  return Capped(delay * (0.75 + 0.5 * Jitter(identity_, attempt)), now);
}

absl::Duration Machine::Capped(absl::Duration delay, Instant now) const {
  if (held_ && held_->not_after > now.wall) {
    delay = std::min(delay, (held_->not_after - now.wall) * policy_.longest_retry_of_remaining);
  }
  return std::max(delay, policy_.min_interval);
}

absl::Duration Machine::PutOff(absl::Duration come_back, Instant now) const {
  const std::string attempt = absl::StrCat(held_ ? held_->serial : "", "#put-off#", put_offs_);
  // Never earlier than it was told, which would only be put off again.
  return Capped(std::min(come_back, policy_.longest_put_off) *
                    (1 + policy_.put_off_spread * Jitter(identity_, attempt)),
                now);
}

absl::Duration Machine::ReturnWait(Instant now) const {
  if (!held_ || held_->not_after <= now.wall) return absl::ZeroDuration();
  const absl::Duration left = held_->not_after - now.wall;
  return std::min(left * policy_.return_of_remaining, policy_.longest_return) *
         Jitter(identity_, absl::StrCat(held_->serial, "#return"));
}

absl::Duration Machine::DirectedDue(Instant now) const {
  const absl::Time slot = SlotOf(directive_->window, held_->not_after, identity_, held_->serial);
  const absl::Duration due = std::max(now.monotonic + (slot - now.wall), directed_from_);
  return misdirected_ > 0 ? std::max(due, directed_retry_at_) : due;
}

std::string Machine::DescribeSlot() const {
  const Window& window = directive_->window;
  if (window.length <= absl::ZeroDuration()) return "";
  const absl::Time slot = SlotOf(window, held_->not_after, identity_, held_->serial);
  return absl::StrCat(", slot ", absl::FormatTime(slot, absl::UTCTimeZone()), " (",
                      Rounded(slot - window.start), " into a window of ", Rounded(window.length),
                      ")");
}

Machine::Wish Machine::NextWish(Instant now) const {
  if (!held_) return Wish{now.monotonic, "there is no certificate yet"};
  // By whichever clock comes first.
  Wish wish{std::min(now.monotonic + (renew_at_ - now.wall), renew_at_monotonic_), ""};
  wish.reason = held_->not_after <= now.wall
                    ? absl::StrCat("the certificate expired at ",
                                   absl::FormatTime(held_->not_after, absl::UTCTimeZone()))
                    : absl::StrCat("renewal is due, ", Rounded(held_->not_after - now.wall),
                                   " before the end");
  if (disowned_) return Wish{now.monotonic, "the root of the certificate has left the bundle"};
  if (DirectiveUnmet()) {
    // Its own renewal comes first where it is due first: no leaf waits for its slot beyond that.
    const absl::Duration due = DirectedDue(now);
    if (due < wish.due) {
      wish = {due, absl::StrCat("directed to authority ", directive_->authority.hex(), " from ",
                                held_->authority.hex(), DescribeSlot())};
    }
  }
  return wish;
}

absl::Duration Machine::CallTimeout(Instant now) const {
  if (!held_ || held_->not_after <= now.wall) return policy_.longest_call;
  // A call that hangs must leave time for more of them.
  return std::clamp((held_->not_after - now.wall) / 3,
                    std::min(absl::Seconds(1), policy_.longest_call), policy_.longest_call);
}

void Machine::Plan(Instant now, Decision& decision) {
  const auto explain = [&](const std::string& text) {
    absl::StrAppend(&decision.why, decision.why.empty() ? "" : "; ", text);
  };
  if (in_flight_) {
    decision.actions.push_back(WakeAfter{policy_.longest_sleep});
    return;
  }
  const Wish wish = NextWish(now);
  absl::Duration due = wish.due;
  if (failures_ > 0) due = std::max(due, retry_at_);
  if (last_request_) due = std::max(due, *last_request_ + policy_.min_interval);
  if (due > now.monotonic) {
    const absl::Duration wait = due - now.monotonic;
    if (!decision.why.empty()) explain(absl::StrCat("next request in ", Rounded(wait)));
    decision.actions.push_back(WakeAfter{std::min(wait, policy_.longest_sleep)});
    return;
  }
  in_flight_.emplace();
  if (directive_ && directive_->window.start <= now.wall)
    in_flight_->directed_to = directive_->authority;
  last_request_ = now.monotonic;
  explain(wish.reason);
  decision.actions.push_back(Request{wish.reason, CallTimeout(now)});
  decision.actions.push_back(WakeAfter{policy_.longest_sleep});
}

}  // namespace capstan::lifecycle
