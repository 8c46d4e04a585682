// SPDX-License-Identifier: Apache-2.0
#include "cluster/upkeep.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/retry_after.h"
#include "base/strings.h"

namespace capstan::cluster {
namespace {

// How long the watch may take to bring what was written, or what was there before us.
constexpr absl::Duration kLook = absl::Seconds(10);
// Whoever changes it again sooner than this after it was repaired is fought more slowly.
constexpr absl::Duration kCalm = absl::Minutes(1);
constexpr absl::Duration kLongestRepair = absl::Minutes(1);
constexpr absl::Duration kLongestFailure = absl::Minutes(2);

}  // namespace

absl::Duration BackOff(int times, absl::Duration longest) {
  return std::min(absl::Seconds(1) * (int64_t{1} << std::clamp(times - 1, 0, 20)), longest);
}

bool IsOld(const absl::Status& why) {
  return absl::IsAborted(why) || absl::IsAlreadyExists(why) || absl::IsNotFound(why) ||
         (absl::IsPermissionDenied(why) &&
          absl::StrContains(Std(why.message()), "it is being terminated"));
}

std::string WhyNotInPods(std::string_view what, int64_t sequence, absl::Duration held,
                         absl::Duration propagation) {
  if (held >= propagation) return "";
  // In steps: whoever prints each change prints few.
  return absl::StrCat(what, " has held bundle ", sequence, " for ",
                      absl::FormatDuration(absl::Trunc(held, absl::Seconds(10))), " of the ",
                      absl::FormatDuration(propagation),
                      " that kubelet takes to bring it to its pods");
}

void Upkeep::Looked() {
  seen_ = true;
  look_until_ = -absl::InfiniteDuration();
}

void Upkeep::Right() {
  error_.clear();
  repair_.clear();
  failures_ = 0;
}

void Upkeep::Spoilt(std::string how, absl::Duration now) {
  repair_ = std::move(how);
  repairs_ = now - repaired_at_ < kCalm ? repairs_ + 1 : 0;
  if (repairs_ > 1) {
    absl::StrAppend(&repair_, ", and was repaired a moment ago: another program writes it too");
  }
  not_before_ = repairs_ == 0 ? now : now + BackOff(repairs_, kLongestRepair);
}

void Upkeep::Forget() {
  Upkeep left;
  left.writing_ = writing_;
  left.seen_ = seen_;
  *this = std::move(left);
}

std::string Upkeep::Begin(absl::Duration now) {
  writing_ = true;
  seen_ = false;
  if (!repair_.empty()) repaired_at_ = now;
  return repair_;
}

void Upkeep::Written(absl::Duration now) {
  writing_ = false;
  failures_ = 0;
  error_.clear();
  if (!seen_) look_until_ = now + kLook;
}

bool Upkeep::Failed(const absl::Status& why, absl::Duration now) {
  writing_ = false;
  ++failures_;
  if (IsOld(why)) {
    if (!seen_) look_until_ = now + kLook;
    if (failures_ > 1) not_before_ = now + BackOff(failures_ - 1, kLongestFailure);
    return false;
  }
  not_before_ = now + std::max(BackOff(failures_, kLongestFailure),
                               RetryAfterOf(why).value_or(absl::ZeroDuration()));
  const bool news = error_.empty();
  error_ = std::string(why.message());
  return news;
}

}  // namespace capstan::cluster
