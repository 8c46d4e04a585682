// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>

#include "sim/options.h"
#include "sim/world.h"

namespace capstan::sim {

// The way between agents and the control plane. A message is lost, late or given twice, as the
// options say; either direction can be cut for a while.
class Network {
 public:
  enum class Way { kToControl, kToAgent };

  Network(World& world, const Options& options)
      : world_(world), options_(options), rng_(options.seed, "network") {}

  // A message of its own: any fate.
  void Send(Way way, int64_t agent, World::Task deliver);
  // The next message of a stream: whole and in order, or not at all and false, and the stream is
  // as good as dead. `last`: when the one before arrives.
  bool SendInOrder(Way way, int64_t agent, absl::Duration& last, World::Task deliver);

  void Cut(Way way, int64_t agent, absl::Duration until);
  bool cut(Way way, int64_t agent) const;
  // No loss, no duplicates and no cut from here on.
  void Heal();

 private:
  absl::Duration Delay() { return rng_.Between(absl::Milliseconds(1), options_.latency); }

  World& world_;
  const Options& options_;
  Rng rng_;
  bool healed_ = false;
  std::map<std::pair<Way, int64_t>, absl::Duration> cuts_;
};

}  // namespace capstan::sim
