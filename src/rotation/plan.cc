// SPDX-License-Identifier: Apache-2.0
#include "rotation/plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "rotation/canary.h"

namespace capstan::rotation {
namespace {

// Twice what any way takes; more means that the order of steps has a circle.
constexpr size_t kMaxSteps = 32;

std::string TrustGate(const Gate& gate) {
  std::string text =
      absl::StrCat("every workload acknowledged bundle ", gate.bundle.sequence,
                   ", which holds the new issuer's root; no unused join file lacks it");
  if (gate.accepted.has_value()) {
    absl::StrAppend(&text, "; a client of authority ", gate.accepted->hex(),
                    " is accepted where that can be tried");
  }
  return text;
}

std::string CanaryGate(const Gate& gate) {
  return absl::StrCat(
      "every workload of ", gate.canary->ToString(),
      " shows a leaf of the new issuer, proven where that can be tried; no other workload's Envoy "
      "refuses more certificates than before (ssl.fail_verify_*); everybody acknowledged bundle ",
      gate.bundle.sequence, ". Harm turns the rotation back by itself");
}

std::string MoveGate(const Gate& gate) {
  std::string text =
      gate.leaving_roots.empty()
          ? std::string("nobody shows a leaf of an authority that is to retire")
          : absl::StrCat("nobody shows a leaf that needs the ", gate.leaving_roots.size(),
                         gate.leaving_roots.size() == 1 ? " root" : " roots",
                         " that are to leave, ours or of others under the same root");
  if (gate.leaving_until != absl::InfinitePast()) {
    absl::StrAppend(
        &text, "; the last of them expires at ",
        absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", gate.leaving_until, absl::UTCTimeZone()));
  }
  if (gate.irreversible()) absl::StrAppend(&text, ". There is no way back from here");
  return text;
}

std::string InWords(const Gate& gate) {
  switch (gate.kind) {
    case GateKind::kNone:
      return "";
    case GateKind::kTrust:
      return TrustGate(gate);
    case GateKind::kCanary:
      return CanaryGate(gate);
    case GateKind::kAgents:
      return absl::StrCat("every agent holds bundle ", gate.bundle.sequence);
    case GateKind::kMove:
      return MoveGate(gate);
    case GateKind::kDone:
      return absl::StrCat("every workload acknowledged bundle ", gate.bundle.sequence,
                          gate.refused.has_value()
                              ? absl::StrCat("; a client of authority ", gate.refused->hex(),
                                             " is refused where that can be tried")
                              : "");
  }
  return "unknown";
}

bool IsReissue(const PlannedStep& step) {
  return step.name == StepName(StepKind::kSwitchIssuer);
}

}  // namespace

absl::StatusOr<std::vector<PlannedStep>> PlanSteps(const Situation& now_is, const Wish& wish,
                                                   absl::Time now) {
  if (!now_is.authorities.contains(wish.issuer)) {
    return absl::FailedPreconditionError(
        absl::StrCat("the authority ", wish.issuer.hex(), " is not known: bring it first"));
  }
  std::vector<PlannedStep> steps;
  Situation situation = now_is;
  while (true) {
    const std::optional<Step> step = NextStep(situation, wish, now);
    PlannedStep planned{.name = step.has_value() ? std::string(StepName(step->kind)) : "end",
                        .why = step.has_value() ? step->why : "what is wished is there",
                        .gate = GateBefore(situation, wish, step),
                        .gate_says = "",
                        .phase = PhaseOf(situation, wish)};
    planned.gate_says = InWords(planned.gate);
    steps.push_back(std::move(planned));
    if (!step.has_value()) return steps;
    if (steps.size() > kMaxSteps) {
      return absl::InternalError(absl::StrCat(
          "the steps of this rotation do not end: ",
          absl::StrJoin(steps, ", ",
                        [](std::string* out, const PlannedStep& s) { *out += s.name; })));
    }
    situation = step->after;
  }
}

Estimate EstimateOf(const std::vector<PlannedStep>& steps, const Pace& pace) {
  Estimate estimate;
  if (std::any_of(steps.begin(), steps.end(), IsReissue)) estimate.reissued = pace.leaves;
  if (pace.certificates_per_second > 0) {
    estimate.reissue_takes =
        absl::Seconds(static_cast<double>(estimate.reissued) / pace.certificates_per_second);
  }
  estimate.takes = estimate.reissue_takes;
  for (const PlannedStep& step : steps) {
    if (Soaks(step.gate.kind)) estimate.takes += SoakOf(step.gate.kind, pace.soak);
  }
  return estimate;
}

}  // namespace capstan::rotation
