// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace capstan::cluster {

// 1 s, 2 s, 4 s, … for the first, the second, the third, …
absl::Duration BackOff(int times, absl::Duration longest);

// Whether another writer was first, or the object's namespace is on its way out: a watch brings
// what is.
bool IsOld(const absl::Status& why);

// Why pods do not all have what `what` has held for `held`; "": they have it.
std::string WhyNotInPods(std::string_view what, int64_t sequence, absl::Duration held,
                         absl::Duration propagation);

// When one object of the API server, which others may change too, is written again: after a write
// the watch is waited for, who fights over it is answered ever more slowly, and so is a refusal.
// What it is to hold is its owner's to know. `now` is monotonic throughout.
class Upkeep {
 public:
  // The watch told of it, or what is under way was begun for another one of its name.
  void Looked();
  // It is as it is to be.
  void Right();
  // Others made it wrong, which it was not.
  void Spoilt(std::string how, absl::Duration now);
  // What stood in the way may be gone.
  void Unblocked(absl::Duration now) { not_before_ = now; }
  // From now on it is to hold something else: nobody has spoilt that yet.
  void WantsOther() { repair_.clear(); }
  // The object is nobody's care any more; a write that is under way remains so.
  void Forget();

  bool writing() const { return writing_; }
  // Not before this; a write that is under way does not count.
  absl::Duration due() const { return std::max(look_until_, not_before_); }
  // A write is under way from now on until Written(), Failed() or Ended(). What others did, which
  // it repairs; "": nobody did anything.
  std::string Begin(absl::Duration now);
  void Written(absl::Duration now);
  // True: that is news.
  bool Failed(const absl::Status& why, absl::Duration now);
  // It came to nothing, and not because of this object.
  void Ended() { writing_ = false; }
  const std::string& error() const { return error_; }  // of the last write; "": it went well

 private:
  bool writing_ = false;
  bool seen_ = false;                                      // since the last write began
  absl::Duration look_until_ = -absl::InfiniteDuration();  // the watch is waited for
  absl::Duration not_before_ = -absl::InfiniteDuration();  // backs off
  absl::Duration repaired_at_ = -absl::InfiniteDuration();
  int failures_ = 0;    // in a row
  int repairs_ = 0;     // shortly one after another
  std::string repair_;  // what others did to it
  std::string error_;
};

}  // namespace capstan::cluster
