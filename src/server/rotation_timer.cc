// SPDX-License-Identifier: Apache-2.0
#include "server/rotation_timer.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/strings.h"
#include "rpc/fields.h"
#include "server/messages.h"

namespace capstan::server {
namespace {

using Action = rotation::TimerDecision::Action;

}  // namespace

RotationTimer::RotationTimer(rotation::TimerPolicy policy, Metrics& metrics)
    : policy_(std::move(policy)),
      metrics_(metrics),
      due_(metrics.Gauges("capstan_rotation_timer_due_timestamp_seconds",
                          "when what is on a timer is due, Unix seconds")),
      announced_(metrics.Gauges("capstan_rotation_timer_announced",
                                "1: a root or an intermediate is due and somebody has to begin its "
                                "rotation")),
      failed_(metrics.Counter("capstan_rotation_timer_failures_total",
                              "rotations that the timer could not begin")) {}

rotation::TimerDecision RotationTimer::Look(rotation::TimerFacts facts, rotation::Instant now) {
  absl::MutexLock lock(&mutex_);
  if (failures_ > 0 && now.monotonic < retry_at_ && facts.not_now.empty()) {
    facts.not_now = absl::StrCat(
        "beginning it has failed ", failures_,
        failures_ == 1 ? " time, the next try is later: " : " times, the next try is later: ",
        last_error_);
  }
  decision_ = rotation::DecideTimer(policy_, facts, now.wall);
  if (decision_.action == Action::kNone) failures_ = 0;
  // A moment that is not to come says nothing, and would be another one at each look.
  const rotation::TimerDecision decision = decision_;
  if (decision_.at <= now.wall) decision_.at = absl::InfiniteFuture();
  Say();
  Show();
  return decision;
}

// Once for each thing that there is to say.
void RotationTimer::Say() {
  if (decision_.why == said_) return;
  said_ = decision_.why;
  if (decision_.action == Action::kAnnounce) {
    log::Warn("a rotation is due", {{"target", rotation::TimerTargetName(decision_.target)},
                                    {"why", decision_.why},
                                    {"do", decision_.command}});
  } else if (policy_.on()) {
    log::Info("the rotation timer",
              {{"action", rotation::TimerActionName(decision_.action)}, {"why", decision_.why}});
  }
}

void RotationTimer::Show() {
  const GaugeSet::Labels target = {
      {"target", std::string(rotation::TimerTargetName(decision_.target))}};
  std::map<GaugeSet::Labels, double> due;
  if (decision_.due != absl::InfiniteFuture()) {
    due[target] = static_cast<double>(absl::ToUnixSeconds(decision_.due));
  }
  due_.Set(due);
  std::map<GaugeSet::Labels, double> announced;
  if (decision_.action == Action::kAnnounce) announced[target] = 1;
  announced_.Set(announced);
}

void RotationTimer::Began(rotation::TimerTarget target) {
  absl::MutexLock lock(&mutex_);
  failures_ = 0;
  last_error_.clear();
  metrics_
      .Counter("capstan_rotation_timer_begun_total", "rotations that the timer began",
               {{"target", std::string(rotation::TimerTargetName(target))}})
      .Increment();
}

void RotationTimer::Failed(const absl::Status& why, rotation::Instant now) {
  absl::MutexLock lock(&mutex_);
  failed_.Increment();
  ++failures_;
  last_error_ = std::string(why.message());
  const absl::Duration delay = rotation::TimerRetryDelay(failures_);
  retry_at_ = now.monotonic + delay;
  log::Error("the timer could not begin a rotation; it tries again",
             {{"target", rotation::TimerTargetName(decision_.target)},
              {"failures", failures_},
              {"again_in", absl::FormatDuration(delay)},
              {"why", last_error_},
              {"by_hand", decision_.command}});
}

control::v1::RotationTimer RotationTimer::Message() const {
  absl::MutexLock lock(&mutex_);
  control::v1::RotationTimer message;
  message.set_mode(policy_.on() ? std::string(rotation::TimerModeName(policy_.mode)) : "off");
  if (!policy_.on()) return message;
  message.set_action(std::string(rotation::TimerActionName(decision_.action)));
  message.set_why(decision_.why);
  if (decision_.due == absl::InfiniteFuture()) return message;
  message.set_target(std::string(rotation::TimerTargetName(decision_.target)));
  rpc::SetTime(decision_.due, message.mutable_due());
  if (decision_.at != absl::InfiniteFuture()) rpc::SetTime(decision_.at, message.mutable_at());
  message.set_command(decision_.command);
  message.set_failures(failures_);
  message.set_last_error(last_error_);
  return message;
}

}  // namespace capstan::server
