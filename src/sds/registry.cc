// SPDX-License-Identifier: Apache-2.0
#include "sds/registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace capstan::sds {

Registry::Registry(Config config) : config_(std::move(config)), names_(config_.id) {}

Registry::ConsumerKey Registry::KeyOf(const std::string& node_id, const Peer& peer) {
  if (peer.pid == 0) {
    return {node_id, 0, 0, peer.connection};
  }
  return {node_id, peer.pid, peer.started, 0};
}

Actions Registry::Opened(StreamId id, Front front, const Peer& peer, const std::string& tag,
                         Moment now) {
  Actions actions;
  if (unnamed_.size() + owners_.size() >= config_.limits.streams) {
    actions.ends.push_back(
        {id, absl::ResourceExhaustedError(
                 absl::StrCat("this agent serves at most ", config_.limits.streams, " streams"))});
    return actions;
  }
  unnamed_.emplace(id, Unnamed{Stream(front, tag), peer, tag});
  return actions;
}

Actions Registry::Requested(StreamId id, const Request& request, Moment now) {
  Actions actions;
  if (unnamed_.contains(id)) {
    Introduce(id, request, now, actions);
  } else if (Consumer* consumer = Of(id); consumer != nullptr) {
    consumer->Requested(id, request, now, actions);
  }
  DropEnded(actions);
  return actions;
}

void Registry::Introduce(StreamId id, const Request& request, Moment now, Actions& actions) {
  Unnamed unnamed = std::move(unnamed_.extract(id).mapped());
  if (absl::Status status = unnamed.stream.Check(request, config_.limits); !status.ok()) {
    actions.ends.push_back({id, std::move(status)});
    return;
  }
  const absl::StatusOr<Consumer*> consumer =
      ConsumerOf(*request.node_id, unnamed.peer, unnamed.tag, now, actions);
  if (!consumer.ok()) {
    actions.ends.push_back({id, consumer.status()});
    return;
  }
  owners_.emplace(id, KeyOf(*request.node_id, unnamed.peer));
  (*consumer)->Adopt(id, std::move(unnamed.stream), request, now, actions);
}

absl::StatusOr<Consumer*> Registry::ConsumerOf(const std::string& node_id, const Peer& peer,
                                               const std::string& tag, Moment now,
                                               Actions& actions) {
  const ConsumerKey key = KeyOf(node_id, peer);
  if (const auto found = consumers_.find(key); found != consumers_.end()) {
    if (found->second.streams() >= config_.limits.streams_per_consumer) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "one process may open at most ", config_.limits.streams_per_consumer, " streams"));
    }
    return &found->second;
  }
  MakeRoom();
  if (consumers_.size() >= config_.limits.consumers) {
    return absl::ResourceExhaustedError(
        absl::StrCat("this agent serves at most ", config_.limits.consumers, " processes"));
  }
  Consumer& made = consumers_.try_emplace(key, config_, names_, tag, node_id, peer).first->second;
  if (material_ != nullptr) {
    made.Published(material_, now, actions);
  }
  return &made;
}

// Forgets who left longest ago, if that is what it takes to know another one.
void Registry::MakeRoom() {
  if (consumers_.size() < config_.limits.consumers) {
    return;
  }
  const auto staleness = [](const auto& entry) {
    return entry.second.connected() ? absl::InfiniteDuration() : entry.second.left_at();
  };
  const auto oldest =
      std::min_element(consumers_.begin(), consumers_.end(),
                       [&](const auto& a, const auto& b) { return staleness(a) < staleness(b); });
  if (oldest != consumers_.end() && !oldest->second.connected()) {
    consumers_.erase(oldest);
  }
}

Actions Registry::Written(StreamId id, Moment now) {
  Actions actions;
  if (Consumer* consumer = Of(id); consumer != nullptr) {
    consumer->Written(id, now, actions);
  }
  return actions;
}

Actions Registry::Closed(StreamId id, Moment now) {
  Actions actions;
  unnamed_.erase(id);
  if (Consumer* consumer = Of(id); consumer != nullptr) {
    consumer->Closed(id, now, actions);
    owners_.erase(id);
  }
  return actions;
}

Actions Registry::Published(std::shared_ptr<const Material> material, Moment now) {
  Actions actions;
  material_ = std::move(material);
  for (auto& [key, consumer] : consumers_) {
    consumer.Published(material_, now, actions);
  }
  return actions;
}

Actions Registry::Woken(Moment now) {
  Actions actions;
  std::erase_if(consumers_, [&](const auto& entry) {
    return !entry.second.connected() && now.monotonic >= entry.second.left_at() + config_.forget;
  });
  for (auto& [key, consumer] : consumers_) {
    consumer.Woken(now, actions);
  }
  return actions;
}

std::optional<absl::Duration> Registry::wake_at() const {
  std::optional<absl::Duration> due;
  for (const auto& [key, consumer] : consumers_) {
    const std::optional<absl::Duration> at =
        consumer.connected() ? consumer.wake_at()
                             : std::optional(consumer.left_at() + config_.forget);
    if (at.has_value() && (!due.has_value() || *at < *due)) {
      due = at;
    }
  }
  return due;
}

std::vector<ConsumerReport> Registry::Reports() const {
  std::vector<ConsumerReport> reports;
  for (const auto& [key, consumer] : consumers_) {
    reports.push_back(consumer.Report());
  }
  std::sort(reports.begin(), reports.end(),
            [](const auto& a, const auto& b) { return a.id < b.id; });
  return reports;
}

Consumer* Registry::Of(StreamId id) {
  const auto owner = owners_.find(id);
  return owner == owners_.end() ? nullptr : &consumers_.at(owner->second);
}

void Registry::DropEnded(const Actions& actions) {
  for (const Actions::End& end : actions.ends) {
    owners_.erase(end.stream);
  }
}

}  // namespace capstan::sds
