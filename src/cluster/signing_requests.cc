// SPDX-License-Identifier: Apache-2.0
#include "cluster/signing_requests.h"

#include <algorithm>

#include "cluster/upkeep.h"

namespace capstan::cluster {
namespace {

constexpr absl::Duration kLongestPause = absl::Seconds(30);
constexpr absl::Duration kLongestBackOff = absl::Minutes(2);
// How long the watch may take to bring the version that another writer has made.
constexpr absl::Duration kLook = absl::Seconds(10);
// A leaf that could not be handed over for longer is not handed over any more: its issuer may have
// been replaced. It stays on record.
constexpr absl::Duration kFresh = absl::Minutes(1);

}  // namespace

SigningRequests::Entry* SigningRequests::Find(const Turn& turn) {
  const auto known = entries_.find(turn.request.name);
  const bool same = known != entries_.end() && known->second.request.uid == turn.request.uid;
  return same ? &known->second : nullptr;
}

void SigningRequests::Queue(Entry& entry, absl::Duration due) {
  due_.erase({entry.due, entry.request.name});
  entry.due = due;
  due_.insert({due, entry.request.name});
}

void SigningRequests::Seen(kube::SigningRequest request, absl::Duration now) {
  const auto known = entries_.find(request.name);
  if (known != entries_.end() && known->second.request.uid != request.uid) Gone(request.name);
  if (!request.open()) return Gone(request.name);
  const auto [entry, added] = entries_.try_emplace(request.name);
  entry->second.request = std::move(request);
  entry->second.seen = true;
  if (added) Queue(entry->second, now);
}

void SigningRequests::Gone(const std::string& name) {
  const auto known = entries_.find(name);
  if (known == entries_.end()) return;
  due_.erase({known->second.due, name});
  entries_.erase(known);
}

SigningRequests::Next SigningRequests::Take(absl::Duration now) {
  if (due_.empty()) return {};
  const absl::Duration due = std::max(due_.begin()->first, paused_until_);
  if (due > now) return {std::nullopt, due};
  Entry& entry = entries_.at(due_.begin()->second);
  due_.erase(due_.begin());
  entry.seen = false;
  if (now - entry.signed_at > kFresh) entry.chain_pem.clear();
  return {Turn{entry.request, entry.chain_pem}};
}

void SigningRequests::Answered(const Turn& turn) {
  failures_ = 0;
  if (Find(turn) != nullptr) Gone(turn.request.name);
}

void SigningRequests::PutOff(const Turn& turn, absl::Duration after, absl::Duration now) {
  paused_until_ = now + after;
  if (Entry* entry = Find(turn)) Queue(*entry, entry->due);
}

bool SigningRequests::Failed(Turn turn, const absl::Status& why, absl::Duration now) {
  const bool raced = absl::IsAborted(why);  // another writer was first
  if (absl::IsNotFound(why)) {
    Answered(turn);
    return false;
  }
  if (Entry* entry = Find(turn)) {
    if (entry->chain_pem.empty()) {
      entry->chain_pem = std::move(turn.chain_pem);
      entry->signed_at = now;
    }
    const absl::Duration look = entry->seen ? absl::ZeroDuration() : kLook;
    Queue(*entry, now + (raced ? look : BackOff(++entry->failures, kLongestBackOff)));
  }
  if (raced) return false;
  // What is refused as invalid is about this one alone.
  if (!absl::IsInvalidArgument(why)) {
    paused_until_ = now + BackOff(failures_ + 1, kLongestPause);
  }
  return ++failures_ == 1;
}

}  // namespace capstan::cluster
