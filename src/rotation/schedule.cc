// SPDX-License-Identifier: Apache-2.0
#include "rotation/schedule.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/strings.h"

namespace capstan::rotation {
namespace {

using Action = TimerDecision::Action;

constexpr std::array<TimerMode, 3> kModes = {TimerMode::kOff, TimerMode::kAnnounce,
                                             TimerMode::kRotate};
constexpr size_t kShownFingerprint = 16;
constexpr absl::Duration kFirstRetry = absl::Minutes(1);
constexpr absl::Duration kLastRetry = absl::Hours(6);

std::string UtcTime(absl::Time time) {
  return absl::FormatTime(absl::RFC3339_sec, time, absl::UTCTimeZone());
}

std::string Percent(double part) {
  return absl::StrCat(std::round(part * 1000) / 10, " %");
}

// Something that is to be replaced, and when.
struct Candidate {
  TimerTarget target = TimerTarget::kRoot;
  absl::Time due = absl::InfiniteFuture();
  std::string what;  // "the root \"CN=…\" (fingerprint …)"
  double part = 0;
};

Candidate CandidateOf(TimerTarget target, const x509::Certificate& certificate, absl::Duration life,
                      double part) {
  return {target, certificate.not_before() + life * part,
          absl::StrCat("the ", TimerTargetName(target), " \"", certificate.Subject(),
                       "\" (fingerprint ",
                       certificate.FingerprintHex().substr(0, kShownFingerprint), ")"),
          part};
}

absl::Duration LifeOf(const x509::Certificate& certificate) {
  return certificate.not_after() - certificate.not_before();
}

std::optional<Candidate> RootCandidate(const TimerPolicy& policy, const trust::Authority& issuer) {
  if (policy.root_at <= 0) return std::nullopt;
  return CandidateOf(TimerTarget::kRoot, issuer.root, LifeOf(issuer.root), policy.root_at);
}

// The first of them that is due.
std::optional<Candidate> IntermediateCandidate(const TimerPolicy& policy,
                                               const trust::Authority& issuer) {
  if (policy.intermediate_at <= 0) return std::nullopt;
  const absl::Duration root_life = LifeOf(issuer.root);
  if (issuer.intermediates.empty()) {
    if (policy.intermediate_ttl >= root_life) return std::nullopt;
    Candidate candidate = CandidateOf(TimerTarget::kIntermediate, issuer.root,
                                      policy.intermediate_ttl, policy.intermediate_at);
    candidate.what = absl::StrCat("an intermediate in the place of the root \"",
                                  issuer.root.Subject(), "\", which signs leaves itself,");
    return candidate;
  }
  std::optional<Candidate> first;
  for (const x509::Certificate& intermediate : issuer.intermediates) {
    if (intermediate.not_after() >= issuer.root.not_after()) continue;
    Candidate candidate = CandidateOf(TimerTarget::kIntermediate, intermediate,
                                      LifeOf(intermediate), policy.intermediate_at);
    if (!first.has_value() || candidate.due < first->due) first = std::move(candidate);
  }
  return first;
}

// A root that is due comes before everything, for an intermediate goes with it.
std::optional<Candidate> FirstCandidate(const TimerPolicy& policy, const trust::Authority& issuer,
                                        absl::Time now) {
  std::optional<Candidate> root = RootCandidate(policy, issuer);
  std::optional<Candidate> intermediate = IntermediateCandidate(policy, issuer);
  if (!root.has_value()) return intermediate;
  if (!intermediate.has_value() || root->due <= now || root->due <= intermediate->due) return root;
  return intermediate;
}

std::string CommandFor(TimerTarget target, const TimerFacts& facts) {
  if (!facts.source.empty()) {
    return absl::StrCat("capstan rotate plan --to NEW_CA, then put its files into ", facts.source);
  }
  if (target == TimerTarget::kRoot) return "capstan rotate start --generate";
  return facts.root_key ? "capstan rotate start --generate --intermediate"
                        : "capstan rotate start --to NEW_CA";
}

// Why somebody has to do it by hand; "" where the timer can.
std::string ByHand(const TimerPolicy& policy, TimerTarget target, const TimerFacts& facts) {
  if (!facts.source.empty()) {
    return absl::StrCat("the CA of ", facts.source, " is followed and cannot be written");
  }
  if (policy.mode == TimerMode::kAnnounce) return "rotation-timer is announce";
  if (target == TimerTarget::kIntermediate && !facts.root_key) {
    return "the key of the root is not here, so the intermediate has to be signed where it is";
  }
  return facts.turned_back;
}

}  // namespace

std::string_view TimerModeName(TimerMode mode) {
  switch (mode) {
    case TimerMode::kOff:
      return "off";
    case TimerMode::kAnnounce:
      return "announce";
    case TimerMode::kRotate:
      return "rotate";
  }
  return "unknown";
}

absl::StatusOr<TimerMode> ParseTimerMode(std::string_view name) {
  for (TimerMode mode : kModes) {
    if (TimerModeName(mode) == name) return mode;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", name, "\" is neither off nor announce nor rotate"));
}

std::string_view TimerTargetName(TimerTarget target) {
  return target == TimerTarget::kRoot ? "root" : "intermediate";
}

std::string_view TimerActionName(TimerDecision::Action action) {
  switch (action) {
    case Action::kNone:
      return "none";
    case Action::kWait:
      return "wait";
    case Action::kAnnounce:
      return "announce";
    case Action::kBegin:
      return "begin";
  }
  return "unknown";
}

TimerDecision DecideTimer(const TimerPolicy& policy, const TimerFacts& facts, absl::Time now) {
  TimerDecision decision;
  if (!policy.on()) {
    decision.why = "no rotation is on a timer";
    return decision;
  }
  const std::optional<Candidate> first = FirstCandidate(policy, facts.issuer, now);
  if (!first.has_value()) {
    decision.why = "nothing that is on a timer can be due: the intermediates end with their root";
    return decision;
  }
  decision.target = first->target;
  decision.due = first->due;
  decision.at = NextOpening(policy.windows, std::max(first->due, now));
  decision.command = CommandFor(first->target, facts);
  if (now < first->due) {
    decision.why = absl::StrCat(first->what, " is due at ", UtcTime(first->due), ", after ",
                                Percent(first->part), " of its life");
    return decision;
  }
  decision.why = absl::StrCat(first->what, " has been due since ", UtcTime(first->due), ", after ",
                              Percent(first->part), " of its life");
  if (const std::string by_hand = ByHand(policy, first->target, facts); !by_hand.empty()) {
    decision.action = Action::kAnnounce;
    absl::StrAppend(&decision.why, "; it is only announced: ", by_hand);
  } else if (!facts.not_now.empty()) {
    decision.action = Action::kWait;
    absl::StrAppend(&decision.why, "; it has to wait: ", facts.not_now);
  } else if (decision.at > now) {
    decision.action = Action::kWait;
    absl::StrAppend(&decision.why, "; the next maintenance window opens at ", UtcTime(decision.at));
  } else {
    decision.action = Action::kBegin;
  }
  return decision;
}

absl::Duration TimerRetryDelay(int failures) {
  absl::Duration delay = kFirstRetry;
  for (int i = 1; i < failures && delay < kLastRetry; ++i) delay *= 2;
  return std::min(delay, kLastRetry);
}

}  // namespace capstan::rotation
