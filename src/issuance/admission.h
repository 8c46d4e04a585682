// SPDX-License-Identifier: Apache-2.0
// How many certificates are signed in a second, and for whom first: a budget, and a budget that
// finds itself. Machines: time is an argument, and monotonic; no locks, no I/O.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"

namespace capstan::issuance {

// Who comes first when not everybody can.
enum class Urgency {
  kOrdinary,
  kUrgent,  // has nothing to show, or will have nothing soon
};

// A token bucket of which a share is kept for the urgent. Whoever is put off is given a time of its
// own to come back at, spaced as the budget is, so that those who wait do not return in one moment.
//  - In no span of length t are more than per_second * (t + burst) admitted.
//  - The ordinary never take the reserve: up to that many urgent ones are admitted at any moment.
//  - While an urgent one has to wait, no ordinary one is admitted.
class Admission {
 public:
  struct Options {
    absl::Duration burst = absl::Milliseconds(250);  // of the budget, at least 2 certificates
    double reserve = 0.25;                           // of the burst, for the urgent alone
    absl::Duration shortest_wait = absl::Milliseconds(100);
    absl::Duration longest_wait = absl::Minutes(5);
  };

  Admission(double per_second, Options options);

  // Zero: admitted, to be signed at once. Else: not before that has passed.
  absl::Duration Ask(Urgency urgency, absl::Duration now);

  // The bucket stays as full as it is.
  void SetBudget(double per_second, absl::Duration now);
  double per_second() const { return per_second_; }

 private:
  void Refill(absl::Duration now);
  double Capacity() const;

  const Options options_;
  double per_second_;
  double tokens_;
  absl::Duration refilled_ = absl::ZeroDuration();
  // Up to when places in the queue are given away, by urgency.
  absl::Duration promised_[2] = {absl::ZeroDuration(), absl::ZeroDuration()};
};

// The budget that a signer stands: more, step by step, while it is used up and signing takes no
// longer than it did; less, by a factor, once it takes longer or fails. What "longer" is, it learns
// from the signer itself.
class AutoBudget {
 public:
  struct Options {
    double initial = 500;  // certificates per second
    double least = 10;
    double most = 5000;
    double step = 50;        // more, each interval…
    double step_part = 0.1;  // …but no larger part of it than this
    double factor = 0.7;     // less
    absl::Duration interval = absl::Seconds(1);
    size_t few = 5;     // signatures below which an interval says nothing
    double used = 0.7;  // of the budget, before more is tried
    double slow = 2.0;  // times the baseline…
    absl::Duration slack = absl::Milliseconds(1);  // …and this, are still near it
    double errors = 0.05;                          // of the attempts are still rare
    double forget = 1.01;  // the baseline follows a signer that stays slower
  };

  enum class Move { kNone, kMore, kLess };

  explicit AutoBudget(Options options);

  // One attempt to sign ended. Not kNone: the budget is another one from here on.
  Move Signed(absl::Duration took, bool ok, absl::Duration now);
  // Another key signs from now on: nothing is known about how long that takes.
  void NewSigner(absl::Duration now);

  double per_second() const { return per_second_; }
  absl::Duration baseline() const { return baseline_; }  // InfiniteDuration(): not known yet
  absl::Duration latency() const { return latency_; }    // the median of the last interval
  int64_t failed() const { return failed_; }             // in the last interval

 private:
  Move Judge(absl::Duration length);

  const Options options_;
  double per_second_;
  absl::Duration baseline_ = absl::InfiniteDuration();
  absl::Duration latency_ = absl::ZeroDuration();
  int64_t failed_ = 0;

  bool began_ = false;
  absl::Duration interval_began_ = absl::ZeroDuration();
  std::vector<absl::Duration> took_;  // in this interval
  int64_t failing_ = 0;
};

}  // namespace capstan::issuance
