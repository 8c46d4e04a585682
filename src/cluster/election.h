// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "kube/lease.h"

namespace capstan::cluster {

// Who of several candidates leads, by a Lease that each of them reads and writes: when to do which,
// and what follows from it. The rules are client-go's. Clocks of others are believed in nothing: a
// candidate waits for as long as a renewal holds, by its own monotonic clock, from when it saw the
// Lease change last. A leader counts from when it sent the renewal that was confirmed last, and
// gives up earlier than that. `now` is monotonic throughout.
//
// The first leader that is lost is the last: whoever was one begins anew as another candidate, with
// another identity.
class Election {
 public:
  struct Options {
    std::string identity;                         // no other candidate's, ever
    absl::Duration duration = absl::Seconds(15);  // for which others let a renewal hold
    absl::Duration deadline = absl::Seconds(10);  // after which a leader gives up: less than that
    absl::Duration retry = absl::Seconds(2);      // between two renewals, and two looks
  };
  enum class Role { kStandby, kLeader, kLost };
  struct Next {
    enum class What { kWait, kRead, kWrite };
    What what = What::kWait;
    absl::Duration at = absl::InfiniteDuration();  // to wait until
    kube::Lease lease = {};                        // to write
  };

  explicit Election(Options options) : options_(std::move(options)) {}

  // One call at a time: what it says is done before it is asked again. `wall` is for people.
  Next Take(absl::Duration now, absl::Time wall);
  void Read(const absl::StatusOr<kube::Lease>& lease, absl::Duration now);
  void Wrote(const absl::StatusOr<kube::Lease>& lease, absl::Duration now);
  // Time alone can end a leader.
  void Tick(absl::Duration now);
  // What a leader writes that wants to be none any more. It leads no longer.
  std::optional<kube::Lease> Release(absl::Time wall);

  Role role() const { return role_; }
  // Of a leader; in the past for others.
  absl::Duration leads_until() const;
  // Why it is no leader, or none any more: "HOLDER has the lease".
  const std::string& why() const { return why_; }

 private:
  kube::Lease Renewed(absl::Time wall) const;
  void See(const kube::Lease& lease, absl::Duration now);
  void Judge(absl::Duration now);
  void ReadAsLeader(const absl::StatusOr<kube::Lease>& lease, absl::Duration now);
  void Lose(std::string why);
  void Again(absl::Duration now);

  const Options options_;
  Role role_ = Role::kStandby;
  std::string why_ = "the Lease was not looked at yet";
  std::string error_;                                     // of the last try to renew it
  kube::Lease lease_;                                     // as it was seen last
  absl::Duration free_from_ = -absl::InfiniteDuration();  // what another one wrote holds until then
  absl::Duration began_ = -absl::InfiniteDuration();      // what was done last
  absl::Duration confirmed_ = -absl::InfiniteDuration();  // a leader's last renewal was sent
  absl::Duration next_at_ = -absl::InfiniteDuration();
  bool claim_ = false;  // a standby: it is free
  bool doubt_ = false;  // a leader: somebody else wrote it
};

}  // namespace capstan::cluster
