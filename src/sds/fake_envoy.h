// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sds/events.h"

namespace capstan::sds {

// One Envoy process as it was seen to behave (README.md, "What Envoy does"), for tests. Each name
// of each slot is a secret of its own. Every pair of a trust and a leaf is one TLS context, rebuilt
// when either arrives; a rebuild with a bad part is refused, but the new secret is kept as the
// latest. A secret in the bytes it was given last is accepted without being looked at.
//
// A "bad" secret is one whose text begins with BAD; or each, while `refuses`.
class FakeEnvoy {
 public:
  // A stream that the process wants, whether it is connected now or not.
  struct Slot {
    Front front = Front::kStateOfTheWorld;
    std::set<std::string> names;  // empty: everything
    std::optional<StreamId> stream;
    absl::Duration down_since = absl::ZeroDuration();
    std::deque<Response> to_client;
    std::deque<Request> to_server;
    std::vector<std::string> settled;  // nonces it answered on this stream
    std::string latest_nonce;
    std::string version;  // accepted last
  };
  struct Held {
    Kind kind = Kind::kTrust;
    std::string bytes;  // the latest given, refused or not
    std::string content;
  };
  struct Context {
    std::string trust;  // contents that connections really use; empty: no port is open yet
    std::string leaf;
  };

  FakeEnvoy(std::string node_id, const Peer& peer) : node_id(std::move(node_id)), peer(peer) {}

  size_t AddSlot(Front front, std::set<std::string> names);
  void RemoveSlot(size_t slot);
  // The first request of a new stream.
  void Connect(size_t slot, StreamId stream);
  // Takes the next response of a slot, and queues what the process answers.
  void Receive(size_t slot);
  // By value: the name may be an element of what it is dropped from.
  void DropName(size_t slot, std::string name);

  std::map<size_t, Slot> slots;
  std::map<std::pair<size_t, std::string>, Held> held;
  std::map<std::pair<std::pair<size_t, std::string>, std::pair<size_t, std::string>>, Context>
      contexts;
  std::string node_id;
  Peer peer;
  bool refuses = false;

 private:
  bool Take(size_t slot, const Resource& resource);
  bool Rebuild(const std::pair<size_t, std::string>& updated);
  void Forget(size_t slot, const std::string& name);

  size_t next_slot_ = 0;
};

// What an edition's secret says apart from its comment line.
std::string ContentOf(const Edition& edition);

}  // namespace capstan::sds
