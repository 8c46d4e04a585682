// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "sds/events.h"
#include "sds/names.h"

namespace capstan::sds {

// What became of the last answer for one name on one stream.
enum class Fate { kUnanswered, kSent, kAccepted, kRefused };

struct Subscription {
  Kind kind = Kind::kTrust;
  uint64_t edition = 0;  // last sent; 0: none
  std::string nonce;     // of the response that carried it
  Fate fate = Fate::kUnanswered;
};

// One xDS stream: which names, what was sent, what came back. It knows nonces and subscriptions and
// nothing of other streams, and decides no content. At most one response is being written at a
// time, so that a slow reader finds the latest state and nothing in between.
class Stream {
 public:
  // `tag` is random and makes the nonces.
  Stream(Front front, std::string tag) : front_(front), tag_(std::move(tag)) {}

  // InvalidArgument or ResourceExhausted: what ends the stream. Changes nothing.
  absl::Status Check(const Request& request, const Limits& limits) const;

  // What a request said, beyond changing the subscriptions.
  struct Effect {
    bool accepted = false;                // it acknowledged a response
    std::optional<std::string> refused;   // it refused a response of ours: the names, for people
    std::vector<std::string> subscribed;  // known names that are new here
    std::vector<std::string> unknown;     // names that are new here and nobody's
    std::string ignored;                  // what of it had no effect, and why
  };
  // `request` passed Check().
  Effect Apply(const Request& request, const Names& names);

  // The response that is due, given what each kind is at now (null: not available), or nothing: up
  // to date, or still writing. A returned response counts as sent.
  std::optional<Response> Answer(const Edition* trust, const Edition* leaf);
  void Written() { writing_ = false; }

  bool started() const { return started_; }
  bool came_with_secrets() const { return came_with_secrets_; }  // of an earlier stream
  const std::string& node_id() const { return node_id_; }
  const std::map<std::string, Subscription>& subscriptions() const { return subscriptions_; }

 private:
  enum class Echo { kNone, kLatest, kEarlier, kForeign };
  Echo Classify(const std::string& nonce) const;
  void Settle(const Request& request, Effect& effect);
  void ReplaceNames(const Request& request);
  void ChangeNames(const Request& request, bool first);
  void Resubscribe(const Names& names, Effect& effect);

  Front front_;
  std::string tag_;
  bool started_ = false;
  bool writing_ = false;
  bool came_with_secrets_ = false;
  std::string node_id_;
  uint64_t responses_ = 0;
  bool wildcard_ = false;
  bool named_ = false;           // it asked by name at some time: an empty list no longer means all
  std::set<std::string> asked_;  // by name, known or not
  std::map<std::string, Subscription> subscriptions_;
  std::set<std::string> unknown_;
  std::set<std::string> removals_;  // unknown names that a delta client is still to be told of
};

}  // namespace capstan::sds
