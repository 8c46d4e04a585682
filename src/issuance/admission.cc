// SPDX-License-Identifier: Apache-2.0
#include "issuance/admission.h"

#include <algorithm>

namespace capstan::issuance {
namespace {

// An interval is judged by this many signatures at most.
constexpr size_t kMostSamples = 8192;

}  // namespace

Admission::Admission(double per_second, Options options)
    : options_(options), per_second_(per_second), tokens_(Capacity()) {}

double Admission::Capacity() const {
  return std::max(per_second_ * absl::ToDoubleSeconds(options_.burst), 2.0);
}

void Admission::Refill(absl::Duration now) {
  const absl::Duration since = std::max(now - refilled_, absl::ZeroDuration());
  tokens_ = std::min(tokens_ + per_second_ * absl::ToDoubleSeconds(since), Capacity());
  refilled_ = std::max(refilled_, now);
  if (tokens_ < Capacity()) return;
  // Nobody takes what there is: whoever has a place in the queue twice, as the impatient do, has
  // made it look longer than it is.
  for (absl::Duration& promised : promised_) promised = std::min(promised, now);
}

absl::Duration Admission::Ask(Urgency urgency, absl::Duration now) {
  Refill(now);
  const double kept = urgency == Urgency::kUrgent ? 0 : options_.reserve * Capacity();
  if (tokens_ >= 1 + kept) {
    tokens_ -= 1;
    return absl::ZeroDuration();
  }
  absl::Duration& promised = promised_[static_cast<size_t>(urgency)];
  promised = std::max(promised, now) + absl::Seconds(1) / per_second_;
  return std::clamp(promised - now, options_.shortest_wait, options_.longest_wait);
}

void Admission::SetBudget(double per_second, absl::Duration now) {
  Refill(now);
  // Who was put off was told when by the old budget; the rest of that queue is as long in
  // certificates, not in time.
  for (absl::Duration& promised : promised_) {
    promised = now + std::max(promised - now, absl::ZeroDuration()) * (per_second_ / per_second);
  }
  const double before = Capacity();
  per_second_ = per_second;
  tokens_ *= Capacity() / before;
}

AutoBudget::AutoBudget(Options options) : options_(options), per_second_(options.initial) {}

AutoBudget::Move AutoBudget::Signed(absl::Duration took, bool ok, absl::Duration now) {
  if (!began_) {
    began_ = true;
    interval_began_ = now;
  }
  if (!ok) {
    ++failing_;
  } else if (took_.size() < kMostSamples) {
    took_.push_back(took);
  }
  const absl::Duration length = now - interval_began_;
  if (length < options_.interval) return Move::kNone;
  const Move move = Judge(length);
  interval_began_ = now;
  took_.clear();
  failing_ = 0;
  return move;
}

AutoBudget::Move AutoBudget::Judge(absl::Duration length) {
  const size_t attempts = took_.size() + static_cast<size_t>(failing_);
  if (attempts < options_.few) return Move::kNone;
  failed_ = failing_;
  bool worse = static_cast<double>(failing_) > options_.errors * static_cast<double>(attempts);
  if (!took_.empty()) {
    const auto middle = took_.begin() + static_cast<std::ptrdiff_t>(took_.size() / 2);
    std::nth_element(took_.begin(), middle, took_.end());
    latency_ = *middle;
    baseline_ = std::min(
        latency_, baseline_ == absl::InfiniteDuration() ? latency_ : baseline_ * options_.forget);
    worse = worse || latency_ > baseline_ * options_.slow + options_.slack;
  }
  const double before = per_second_;
  if (worse) {
    per_second_ = std::max(per_second_ * options_.factor, options_.least);
    return per_second_ < before ? Move::kLess : Move::kNone;
  }
  // A budget that nobody uses up proves nothing about a larger one.
  const double rate = static_cast<double>(attempts) / absl::ToDoubleSeconds(length);
  if (rate < options_.used * per_second_) return Move::kNone;
  const double step = std::min(options_.step, per_second_ * options_.step_part);
  per_second_ = std::min(per_second_ + step, options_.most);
  return per_second_ > before ? Move::kMore : Move::kNone;
}

void AutoBudget::NewSigner(absl::Duration now) {
  baseline_ = absl::InfiniteDuration();
  latency_ = absl::ZeroDuration();
  failed_ = 0;
  began_ = true;
  interval_began_ = now;
  took_.clear();
  failing_ = 0;
}

}  // namespace capstan::issuance
