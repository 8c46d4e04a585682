// SPDX-License-Identifier: Apache-2.0
#include "sim/world.h"

#include <utility>

namespace capstan::sim {
namespace {

// FNV-1a.
void Mix(uint64_t& hash, uint64_t value) {
  for (int i = 0; i < 8; ++i) {
    hash = (hash ^ (value & 0xff)) * 0x100000001b3;
    value >>= 8;
  }
}

}  // namespace

Rng::Rng(uint64_t seed, std::string_view purpose, uint64_t index) : state_(0xcbf29ce484222325) {
  Mix(state_, seed);
  for (const char c : purpose) Mix(state_, static_cast<unsigned char>(c));
  Mix(state_, index);
}

// SplitMix64.
uint64_t Rng::Next() {
  uint64_t z = (state_ += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

uint64_t Rng::Below(uint64_t n) {
  return Next() % n;
}

bool Rng::Chance(int64_t parts, int64_t of) {
  return static_cast<int64_t>(Below(static_cast<uint64_t>(of))) < parts;
}

absl::Duration Rng::Between(absl::Duration least, absl::Duration most) {
  const int64_t span = absl::ToInt64Milliseconds(most - least);
  if (span <= 0) return least;
  return least + absl::Milliseconds(Below(static_cast<uint64_t>(span) + 1));
}

World::EventId World::At(absl::Duration when, Task task) {
  queue_.push({std::max(when, now_), ++last_id_, std::move(task)});
  return last_id_;
}

void World::RunUntil(absl::Duration end) {
  while (!stopped_ && !queue_.empty() && queue_.top().when <= end) {
    // The element is gone before anybody looks at it again.
    Event event = std::move(const_cast<Event&>(queue_.top()));
    queue_.pop();
    if (cancelled_.erase(event.id) > 0) continue;
    now_ = event.when;
    ++events_;
    event.task();
  }
  if (!stopped_) now_ = std::max(now_, end);
}

void World::Note(std::string_view what, int64_t who, int64_t value) {
  Mix(fingerprint_, static_cast<uint64_t>(absl::ToInt64Microseconds(now_)));
  for (const char c : what) Mix(fingerprint_, static_cast<unsigned char>(c));
  Mix(fingerprint_, static_cast<uint64_t>(who));
  Mix(fingerprint_, static_cast<uint64_t>(value));
}

}  // namespace capstan::sim
