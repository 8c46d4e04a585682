// SPDX-License-Identifier: Apache-2.0
#include "sim/network.h"

#include <algorithm>
#include <utility>

namespace capstan::sim {

void Network::Send(Way way, int64_t agent, World::Task deliver) {
  const absl::Duration delay = Delay();
  const bool lost = rng_.Chance(options_.loss_ppm) && !healed_;
  const bool twice = rng_.Chance(options_.duplicates_ppm) && !healed_;
  const absl::Duration again = Delay();
  if (lost || cut(way, agent)) return;
  if (twice) world_.After(delay + again, deliver);
  world_.After(delay, std::move(deliver));
}

bool Network::SendInOrder(Way way, int64_t agent, absl::Duration& last, World::Task deliver) {
  last = std::max(last, world_.now() + Delay());
  if (cut(way, agent)) return false;
  world_.At(last, std::move(deliver));
  return true;
}

void Network::Cut(Way way, int64_t agent, absl::Duration until) {
  absl::Duration& end = cuts_[{way, agent}];
  end = std::max(end, until);
}

bool Network::cut(Way way, int64_t agent) const {
  const auto found = cuts_.find({way, agent});
  return found != cuts_.end() && world_.now() < found->second;
}

void Network::Heal() {
  healed_ = true;
  cuts_.clear();
}

}  // namespace capstan::sim
