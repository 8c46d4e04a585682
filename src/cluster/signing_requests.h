// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "kube/signing_request.h"

namespace capstan::cluster {

// Which CertificateSigningRequest is to be answered next: decided from what a watch tells and from
// what became of the answers. `now` is monotonic throughout.
class SigningRequests {
 public:
  struct Turn {
    kube::SigningRequest request;
    std::string chain_pem;  // that was signed for it and did not reach the API server; "": none
  };
  struct Next {
    std::optional<Turn> turn;
    absl::Duration at = absl::InfiniteDuration();  // without one: when to ask again
  };

  void Seen(kube::SigningRequest request, absl::Duration now);
  void Gone(const std::string& name);

  // One at a time: what is given out is under way until one of the next three is called. Whoever
  // waits longest goes first.
  Next Take(absl::Duration now);
  // The API server has the answer.
  void Answered(const Turn& turn);
  // Others are signed for first; not before `after` has passed.
  void PutOff(const Turn& turn, absl::Duration after, absl::Duration now);
  // What was signed, if it was, is what a further try shortly after is made with. True: the error
  // is news.
  bool Failed(Turn turn, const absl::Status& why, absl::Duration now);

  size_t waiting() const { return due_.size(); }

 private:
  struct Entry {
    kube::SigningRequest request;
    std::string chain_pem;
    absl::Duration signed_at;
    absl::Duration due;
    int failures = 0;
    bool seen = false;  // since it was given out
  };
  // Null: it is answered, or gone, or another one has its name.
  Entry* Find(const Turn& turn);
  void Queue(Entry& entry, absl::Duration due);

  std::map<std::string, Entry> entries_;  // by name; open ones only
  std::set<std::pair<absl::Duration, std::string>> due_;
  int failures_ = 0;  // since something was written
  absl::Duration paused_until_ = -absl::InfiniteDuration();
};

}  // namespace capstan::cluster
