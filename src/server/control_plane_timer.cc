// SPDX-License-Identifier: Apache-2.0
// The control plane's rotations by the clock, and what it tells of everything that ends by itself.
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "issuance/issue.h"
#include "server/control_plane.h"
#include "server/expiries.h"

namespace capstan::server {
namespace {

// The key of a CA that signed, or signs, as a root: what an intermediate is made with.
bool HasRootKey(const rotation::Situation& situation, const x509::Certificate& root) {
  const auto standing = situation.authorities.find(trust::AuthorityId::Of(root));
  return standing != situation.authorities.end() && standing->second.has_key &&
         standing->second.authority.certificate == root &&
         standing->second.state != trust::AuthorityState::kRevoked;
}

// A rotation that somebody turned back is not begun again by itself: nobody was asked whether what
// was wrong has been mended.
std::string TurnedBack(const store::RotationRecord& record) {
  if (!record.finished() || record.outcome == "done") return "";
  return absl::StrCat("rotation ", record.number, " was turned back (", record.outcome,
                      "): the next one is begun by hand");
}

}  // namespace

std::optional<rotation::TimerFacts> ControlPlane::TimerFactsAt(absl::Time now) {
  const std::optional<rotation::Situation> situation = keeper_.situation();
  if (!situation.has_value() || situation->trust.issuer_epoch == 0) return std::nullopt;
  rotation::TimerFacts facts{.issuer =
                                 situation->authorities.at(situation->trust.issuer).authority};
  facts.root_key = HasRootKey(*situation, facts.issuer.root);
  if (options_.source != nullptr && !options_.source->CheckWritable().ok()) {
    facts.source = options_.source->name();
  }
  if (const auto desired = keeper_.desired(); desired.has_value() && !desired->applied()) {
    facts.not_now = "what was wished last is not done yet";
  }
  if (const std::optional<RotationView> view = keeper_.rotation()) {
    facts.turned_back = TurnedBack(view->record);
    if (!view->record.finished()) {
      facts.not_now = absl::StrCat("rotation ", view->record.number, " is running");
    }
  }
  // By a clock that nobody confirms, anything may seem to be due.
  if (facts.not_now.empty() &&
      !rotation::ClockDoubt(Observe({}, now), options_.keeper.rotation).empty()) {
    facts.not_now = "the control plane's clock is not confirmed by its agents'";
  }
  return facts;
}

// The way of `capstan rotate start --generate`: pre-flight, then the wish with its sealed key and
// the rotation in one transaction. A crash before it leaves nothing, and the timer decides anew;
// after it a rotation is running, which keeps the timer from beginning another.
void ControlPlane::RunRotationTimer() {
  if (!timer_.policy().on()) return;
  const rotation::Instant now{clock_.Now(), clock_.Monotonic()};
  std::optional<rotation::TimerFacts> facts = TimerFactsAt(now.wall);
  if (!facts.has_value()) return;
  const rotation::TimerDecision decision = timer_.Look(*std::move(facts), now);
  if (decision.action != rotation::TimerDecision::Action::kBegin) return;
  control::v1::StartRotationRequest request;
  request.set_generate(true);
  request.set_intermediate_only(decision.target == rotation::TimerTarget::kIntermediate);
  absl::StatusOr<control::v1::Rotation> begun = BeginRotation(request, {.source = "timer"});
  if (!begun.ok()) return timer_.Failed(begun.status(), now);
  timer_.Began(decision.target);
  log::Info("the timer began a rotation", {{"rotation", begun->number()}, {"why", decision.why}});
}

// Said once when it begins and once when it is over; the trust stream and the operator's socket go
// on, for they are the way out of it.
void ControlPlane::WatchIssuance(const rotation::Situation& situation, absl::Time now) {
  const absl::Status able =
      issuance::CheckCanSign(situation.authorities.at(situation.trust.issuer).authority, now);
  metrics_.IssuanceStopped(!able.ok());
  absl::MutexLock lock(&mutex_);
  if (issuance_error_ == Std(able.message())) return;
  issuance_error_ = std::string(able.message());
  if (able.ok()) {
    log::Info("certificates are issued again");
    return;
  }
  log::Error("NO CERTIFICATE IS ISSUED ANY MORE",
             {{"why", able.message()},
              {"effect", "leaves that are out there end one by one"},
              {"do",
               "capstan rotate start --to DIR (or --generate); if this machine's clock is "
               "wrong, mend the clock"}});
}

std::string ControlPlane::issuance_error() const {
  absl::MutexLock lock(&mutex_);
  return issuance_error_;
}

void ControlPlane::SurveyTheFleet() {
  if (clock_.Monotonic() < survey_at_) return;
  survey_at_ = clock_.Monotonic() + options_.survey_every();
  absl::MutexLock lock(&mutex_);
  survey_ = SurveyOf(fleet_.workloads());
}

void ControlPlane::UpdateMetrics() {
  const absl::Time now = clock_.Now();
  SurveyTheFleet();
  auto situation = keeper_.situation();
  auto serving = keeper_.serving();
  if (situation.has_value() && serving != nullptr) {
    metrics_.Trust(*situation, serving->leaf.not_after(), now);
    metrics_.Expiries(ExpiryGauges(ExpiriesOf(*situation, serving->leaf.not_after(), survey_)));
    WatchIssuance(*situation, now);
  }
  metrics_.Rotation(keeper_.rotation());
  metrics_.Refusing(survey_.refusing);
  absl::MutexLock lock(&mutex_);
  metrics_.Fleet(fleet_.connected(), fleet_.Population(now), population_.waiting());
}

}  // namespace capstan::server
