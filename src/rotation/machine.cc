// SPDX-License-Identifier: Apache-2.0
#include "rotation/machine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "rotation/canary.h"

namespace capstan::rotation {
namespace {

bool Matches(std::string_view pattern, std::string_view text) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return pattern == text;
  if (!text.starts_with(pattern.substr(0, star))) return false;
  const std::string_view rest = pattern.substr(star + 1);
  for (size_t at = star; at <= text.size(); ++at) {
    if (Matches(rest, text.substr(at))) return true;
  }
  return false;
}

// Why somebody is passed over; "" where it is not.
std::string PassedOver(const Holder& holder, const Rotation& rotation, bool clock_is_sure,
                       Instant now) {
  if (auto known = rotation.exempt.find(holder.name); known != rotation.exempt.end()) {
    return known->second.why;
  }
  for (const auto& [name, exemption] : rotation.exempt) {
    if (IsPattern(name) && StandsFor(name, holder)) return exemption.why;
  }
  if (holder.kind != Holder::Kind::kAbsent || !clock_is_sure) return "";
  if (now.wall - rotation.phase_since < rotation.policy.absent_deadline) return "";
  return absl::StrCat("absent for longer than the deadline of ",
                      absl::FormatDuration(rotation.policy.absent_deadline), ": ", holder.why);
}

std::string Counted(const std::vector<Holder>& holders) {
  std::map<std::string_view, int> counts;
  for (const Holder& holder : holders) ++counts[HolderKindName(holder.kind)];
  std::string text;
  for (const auto& [kind, count] : counts) {
    absl::StrAppend(&text, text.empty() ? "" : ", ", count, " ", kind);
  }
  return text;
}

// The first alarm that nobody was told to disregard; "" for none.
std::string CanaryHarm(const Observation& seen, const Rotation& rotation) {
  for (const Alarm& alarm : seen.alarms) {
    if (!rotation.exempt.contains(alarm.name)) return absl::StrCat(alarm.name, ": ", alarm.why);
  }
  return "";
}

// When it was first seen, going by what was seen `before`.
absl::Duration SinceWhen(const std::map<std::string, absl::Duration>& before,
                         const std::string& name, Instant now) {
  const auto known = before.find(name);
  return known == before.end() ? now.monotonic : known->second;
}

// What comes to be while a gate soaks, a workload or a namespace, lacks something for a moment.
bool MayBeNew(Holder::Kind kind) {
  return kind == Holder::Kind::kLaggard || kind == Holder::Kind::kAbsent ||
         kind == Holder::Kind::kBootstrap;
}

std::string Summary(const GateReport& report) {
  if (report.gate.kind == GateKind::kNone) return "the next step takes nothing away from anybody";
  if (!report.holders.empty()) {
    const Holder& first = report.holders.front();
    return absl::StrCat("waiting for ", Counted(report.holders), "; ", first.name, ": ", first.why);
  }
  if (report.soak_left > absl::ZeroDuration()) {
    return absl::StrCat("every condition holds; soaking for another ",
                        absl::FormatDuration(absl::Ceil(report.soak_left, absl::Seconds(1))));
  }
  return "every condition holds";
}

}  // namespace

bool IsPattern(std::string_view name) {
  return name.find('*') != std::string_view::npos;
}

bool StandsFor(std::string_view name, const Holder& holder) {
  if (!IsPattern(name)) return holder.name == name;
  return holder.kind == Holder::Kind::kAbsent && Matches(name, holder.name);
}

std::string ClockDoubt(const Observation& seen, const Policy& policy) {
  if (!seen.clock_offset.has_value()) {
    return seen.anybody ? "no agent is connected that would confirm the control plane's clock" : "";
  }
  if (absl::AbsDuration(*seen.clock_offset) <= policy.clock_tolerance) return "";
  return absl::StrCat(
      "the control plane's clock is ",
      absl::FormatDuration(absl::Trunc(absl::AbsDuration(*seen.clock_offset), absl::Seconds(1))),
      *seen.clock_offset < absl::ZeroDuration() ? " ahead of " : " behind ", seen.clock_witness,
      ": mend the clock that is wrong");
}

Question Machine::Ask(const Situation& now_is, const Wish& wish, const Rotation& rotation,
                      Instant now) const {
  Question question{NextStep(now_is, wish, now.wall), {}};
  if (!rotation.policy.immediate && !rotation.emergency) {
    question.gate = GateBefore(now_is, wish, question.step);
    question.gate.proof_required = rotation.policy.require_proven;
  }
  return question;
}

// Whether nothing is heard of a workload only because its agent connects anew, as each does with
// every renewed certificate: in a large mesh there is always one, and no gate would ever open.
// Neither trust nor a leaf that was reported is lost by that.
bool Machine::Returns(const Holder& holder, const std::map<std::string, absl::Duration>& before,
                      Instant now) {
  if (!holder.returning) return false;
  const absl::Duration since = SinceWhen(before, holder.name, now);
  returning_[holder.name] = since;
  return now.monotonic - since <= kBlink;
}

// Whether everybody in `holders`, who came after the soak began, has only just come.
bool Machine::OnlyBlinks(const std::vector<Holder>& holders, Instant now) {
  const std::map<std::string, absl::Duration> before = std::exchange(blinking_, {});
  for (const Holder& holder : holders) {
    if (!MayBeNew(holder.kind)) return false;
    const absl::Duration since = SinceWhen(before, holder.name, now);
    if (now.monotonic - since > kBlink) return false;
    blinking_[holder.name] = since;
  }
  return true;
}

void Machine::Soak(GateReport& report, const Rotation& rotation, bool by_word, Instant now) {
  if (soaking_ != report.gate || !OnlyBlinks(report.holders, now)) {
    soaking_.reset();
    blinking_.clear();
    if (!report.holders.empty()) return;
    soaking_ = report.gate;
    held_since_ = now.monotonic;
  }
  const absl::Duration soak = SoakOf(report.gate.kind, SoakOf(rotation.policy, by_word));
  report.soak_left = std::max(held_since_ + soak - now.monotonic, absl::ZeroDuration());
}

Decision Machine::Decide(const Question& question, const Observation& seen,
                         const Rotation& rotation, Instant now) {
  Decision decision;
  GateReport& report = decision.gate;
  report.gate = question.gate;
  if (question.step.has_value()) decision.next = std::string(StepName(question.step->kind));

  const std::string doubt = ClockDoubt(seen, rotation.policy);
  if (report.gate.kind != GateKind::kNone) {
    const std::map<std::string, absl::Duration> before = std::exchange(returning_, {});
    for (const Holder& holder : seen.holders) {
      if (Returns(holder, before, now)) continue;
      std::string why = PassedOver(holder, rotation, doubt.empty(), now);
      if (why.empty()) {
        report.holders.push_back(holder);
      } else if (!rotation.exempt.contains(holder.name)) {
        decision.passed_over.push_back({holder.name, std::move(why), now.wall});
      }
    }
    // By a clock that is wrong, whoever is still there looks expired, and holds no gate.
    if (!doubt.empty()) report.holders.push_back({Holder::Kind::kClock, "clock", doubt});
  }

  if (Soaks(report.gate.kind)) Soak(report, rotation, seen.by_word > 0, now);
  if (report.soak_left > absl::ZeroDuration()) decision.look_again = report.soak_left;
  if (report.gate.kind == GateKind::kCanary) {
    // Also of a rotation that is paused: a pause keeps from going on, not from harm.
    decision.turn_back = CanaryHarm(seen, rotation);
    if (!decision.turn_back.empty()) {
      report.summary = absl::StrCat("the canary does harm; ", decision.turn_back);
      return decision;
    }
  }
  report.summary = Summary(report);
  report.open = report.holders.empty() && report.soak_left == absl::ZeroDuration();
  if (rotation.paused) {
    report.summary =
        absl::StrCat("paused by the operator (`capstan rotate resume`); ", report.summary);
    return decision;
  }
  if (!report.open) return decision;
  decision.step = question.step;
  decision.finished = !question.step.has_value();
  return decision;
}

}  // namespace capstan::rotation
