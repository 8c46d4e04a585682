// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "sds/consumer.h"
#include "sds/events.h"
#include "sds/material.h"

namespace capstan::sds {

// Everything one agent serves over SDS: which stream belongs to which consumer, and all of them.
// The whole of the decisions; a driver feeds it events, one at a time, and performs what it
// returns.
class Registry {
 public:
  explicit Registry(Config config);
  Registry(const Registry&) = delete;
  Registry& operator=(const Registry&) = delete;

  // `tag`: random text of letters and digits, another one for each stream.
  Actions Opened(StreamId id, Front front, const Peer& peer, const std::string& tag, Moment now);
  Actions Requested(StreamId id, const Request& request, Moment now);
  Actions Written(StreamId id, Moment now);  // the response of the last Send for it left
  Actions Closed(StreamId id,
                 Moment now);  // by the client, or after an End: then it changes nothing
  Actions Published(std::shared_ptr<const Material> material, Moment now);
  Actions Woken(Moment now);

  // When to call Woken(), on the monotonic clock; nullopt: not before another event.
  std::optional<absl::Duration> wake_at() const;
  std::vector<ConsumerReport> Reports() const;  // by id

 private:
  // A process, or a connection where the process is not known, under one node id.
  using ConsumerKey = std::tuple<std::string, int64_t, uint64_t, uint64_t>;
  struct Unnamed {
    Stream stream;
    Peer peer;
    std::string tag;
  };

  static ConsumerKey KeyOf(const std::string& node_id, const Peer& peer);
  void Introduce(StreamId id, const Request& request, Moment now, Actions& actions);
  absl::StatusOr<Consumer*> ConsumerOf(const std::string& node_id, const Peer& peer,
                                       const std::string& tag, Moment now, Actions& actions);
  Consumer* Of(StreamId id);
  void DropEnded(const Actions& actions);
  void MakeRoom();

  const Config config_;
  const Names names_;
  std::shared_ptr<const Material> material_;
  std::map<StreamId, Unnamed> unnamed_;  // before their first request
  std::map<StreamId, ConsumerKey> owners_;
  std::map<ConsumerKey, Consumer> consumers_;
};

}  // namespace capstan::sds
