// SPDX-License-Identifier: Apache-2.0
// The operator's calls about rotations.
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "rotation/plan.h"
#include "rotation/preflight.h"
#include "rpc/fields.h"
#include "server/built_in_ca.h"
#include "server/ca_directory.h"
#include "server/control_plane.h"
#include "server/messages.h"
#include "server/observe.h"
#include "server/rotation_messages.h"

namespace capstan::server {
namespace {

constexpr int kRotationsListed = 100;
constexpr int kEntriesListed = 1000;

trust::CaFiles FilesOf(const control::v1::StartRotationRequest& request) {
  trust::CaFiles files;
  for (const auto& [name, bytes] : request.ca_files()) files[name] = bytes;
  return files;
}

// A rotation that would break something does not begin.
absl::Status RefusalOf(const std::vector<rotation::Finding>& findings) {
  for (const rotation::Finding& finding : findings) {
    if (finding.severity != rotation::Severity::kError) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "the pre-flight found that this rotation would fail: ", finding.what, " [", finding.where,
        "]. ", finding.remedy, " (`capstan rotate plan` shows everything it found)"));
  }
  return absl::OkStatus();
}

absl::Status NoNewWish() {
  return absl::FailedPreconditionError(
      "that CA is what is wished already: `capstan status` shows it");
}

}  // namespace

absl::StatusOr<control::v1::Rotation> ControlPlane::GetRotation() {
  const std::optional<RotationView> view = keeper_.rotation();
  const absl::Time now = clock_.Now();
  control::v1::Rotation message =
      view.has_value() ? RotationMessage(*view, now) : control::v1::Rotation();
  rpc::SetTime(now, message.mutable_time());
  *message.mutable_timer() = timer_.Message();
  const std::shared_ptr<const Issuers> issuers = keeper_.issuers();
  if (!view.has_value() || view->record.finished() || issuers == nullptr) return message;
  message.mutable_progress()->set_certificates_per_second(
      pacing_.RateOf(view->record.issue_per_second));
  absl::MutexLock lock(&mutex_);
  const Plans plans = pacing_.PlansFor(*issuers, fleet_.workloads());
  const std::optional<rotation::ReissuePlan>& plan =
      issuers->canary.has_value() ? plans.canary : plans.everybody;
  if (plan.has_value() && plan->eta() > now) {
    rpc::SetTime(plan->eta(), message.mutable_progress()->mutable_eta());
  }
  return message;
}

absl::StatusOr<control::v1::ListRotationsResponse> ControlPlane::ListRotations() {
  CAPSTAN_ASSIGN_OR_RETURN(store::Store::RotationHistory history,
                           store_.Rotations(kRotationsListed));
  CAPSTAN_ASSIGN_OR_RETURN(std::vector<store::JournalEntry> journal,
                           store_.Journal(kEntriesListed));
  return RotationsMessage(history, journal, clock_.Now());
}

// What a request asks to become of the CA: what it brings along, or what is made for it.
absl::StatusOr<trust::CaSet> ControlPlane::Wanted(
    const control::v1::StartRotationRequest& request) {
  const absl::Time now = clock_.Now();
  if (request.generate() + !request.ca_files().empty() + request.from_upstream() != 1) {
    return absl::InvalidArgumentError(
        "a rotation goes to the CA of the files that are sent, to one that is generated, or to "
        "that of the directory that is followed");
  }
  if (request.from_upstream()) {
    if (options_.source == nullptr) {
      return absl::FailedPreconditionError("no CA is followed (--cacerts)");
    }
    CAPSTAN_ASSIGN_OR_RETURN(const trust::CaFiles files, options_.source->Read());
    return trust::ParseCaSet(files, now, parse_options());
  }
  if (!request.generate()) return trust::ParseCaSet(FilesOf(request), now, parse_options());
  if (!request.intermediate_only()) {
    return MakeBuiltInCa(options_.trust_domain, options_.generated_key_type, options_.generated_ttl,
                         random_, now);
  }
  const std::optional<rotation::Situation> situation = keeper_.situation();
  if (!situation.has_value()) return absl::FailedPreconditionError("there is no CA yet");
  const x509::Certificate root = situation->authorities.at(situation->trust.issuer).authority.root;
  absl::StatusOr<std::shared_ptr<x509::Signer>> signer =
      keeper_.SignerFor(trust::AuthorityId::Of(root));
  if (!signer.ok()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the key of the root \"", root.Subject(),
        "\" is not here, so no intermediate can be made under it: have one signed where the root "
        "is, and bring it with --to DIR"));
  }
  return MakeIntermediateCa(root, **signer, situation->trust.bundle, situation->trust.crls,
                            options_.generated_key_type, random_, now,
                            options_.timer.intermediate_ttl);
}

// What the plan is made from, besides the candidate: this moment's trust, keys, clocks, join files.
absl::StatusOr<rotation::PreflightInput> ControlPlane::PreflightOf(const trust::CaSet& set) {
  std::optional<rotation::Situation> situation = keeper_.situation();
  if (!situation.has_value()) return absl::FailedPreconditionError("there is no CA yet");
  CAPSTAN_ASSIGN_OR_RETURN(spiffe::SpiffeId sample,
                           spiffe::SpiffeId::Parse(absl::StrCat(
                               "spiffe://", options_.trust_domain.name(), "/ns/sample/sa/sample")));
  rotation::PreflightInput input{.now_is = *std::move(situation),
                                 .candidate = rotation::CandidateOf(set),
                                 .max_ttl = options_.keeper.policy.max_ttl,
                                 .backdate = options_.keeper.policy.backdate,
                                 .sample_id = std::move(sample)};
  for (const auto& [id, standing] : input.now_is.authorities) {
    if (auto signer = keeper_.SignerFor(id); signer.ok()) input.signers[id] = *std::move(signer);
  }
  CAPSTAN_ASSIGN_OR_RETURN(input.signers[set.authority.id], x509::NewSigner(set.key));
  {
    absl::MutexLock lock(&mutex_);
    for (const auto& [key, workload] : fleet_.workloads()) {
      if (workload.connected() && workload.clock_offset) {
        input.clock_offsets.push_back(*workload.clock_offset);
      }
    }
  }
  CAPSTAN_ASSIGN_OR_RETURN(std::vector<store::TokenRecord> open, store_.OpenTokens(clock_.Now()));
  for (const store::TokenRecord& token : open) {
    input.join_files.push_back({token.spiffe_id, token.sequence, token.expires_at});
  }
  return input;
}

// For whom the wanted CA is to sign first.
absl::StatusOr<std::optional<trust::Canary>> ControlPlane::CanaryFor(
    const control::v1::StartRotationRequest& request, const trust::CaSet& set) const {
  if (request.canary().empty()) return std::nullopt;
  CAPSTAN_ASSIGN_OR_RETURN(trust::Canary canary, trust::Canary::Parse(request.canary()));
  if (request.emergency()) {
    return absl::InvalidArgumentError(
        "an emergency waits for nobody, so nobody can go first: leave --canary or --emergency out");
  }
  if (options_.keeper.rotation.immediate) {
    return absl::FailedPreconditionError(
        "this capstand waits for nobody (reload: immediate), so nobody can go first: leave "
        "--canary out");
  }
  const auto trust = keeper_.trust();
  if (trust != nullptr && trust->issuer_epoch > 0 && trust->issuer == set.authority.id) {
    return absl::FailedPreconditionError(
        absl::StrCat("the authority ", set.authority.id.hex(),
                     " signs for everybody already, so nobody can go first: leave --canary out"));
  }
  return canary;
}

CanaryView ControlPlane::ViewOf(const trust::Canary& canary, absl::Time now) const {
  absl::MutexLock lock(&mutex_);
  return LookAt(canary, fleet_, now);
}

absl::StatusOr<control::v1::RotationPlan> ControlPlane::PlanRotation(
    const control::v1::StartRotationRequest& request) {
  const absl::Time now = clock_.Now();
  CAPSTAN_ASSIGN_OR_RETURN(trust::CaSet set, Wanted(request));
  CAPSTAN_ASSIGN_OR_RETURN(rotation::Policy policy,
                           PolicyOf(request.policy(), options_.keeper.rotation));
  CAPSTAN_ASSIGN_OR_RETURN(rotation::PreflightInput input, PreflightOf(set));
  CAPSTAN_ASSIGN_OR_RETURN(std::optional<trust::Canary> canary, CanaryFor(request, set));
  CAPSTAN_ASSIGN_OR_RETURN(
      std::vector<rotation::PlannedStep> steps,
      rotation::PlanSteps(keeper_.With(set), {set.bundle, set.crls, set.authority.id, canary},
                          now));
  rotation::Pace pace{.soak = policy.soak};
  std::vector<rotation::Holder> away;
  {
    absl::MutexLock lock(&mutex_);
    pace.population = fleet_.Population(now);
    pace.leaves = LeavesToMove(fleet_.workloads(), set.authority.id.hex(), now);
    pace.certificates_per_second = pacing_.RateOf(policy.issue_per_second);
    for (const auto& [key, workload] : fleet_.workloads()) {
      const fleet::Standing standing = fleet::StandingOf(workload, {}, now);
      if (standing.counted && standing.by_word) pace.soak = rotation::SoakOf(policy, true);
      if (!standing.counted || standing.connected) continue;
      away.push_back(
          {rotation::Holder::Kind::kAbsent, HolderName(key), standing.trusts, standing.until});
    }
  }
  std::set<std::string> leaving;
  for (const rotation::PlannedStep& step : steps) {
    leaving.insert(step.gate.leaving_roots.begin(), step.gate.leaving_roots.end());
  }
  for (rotation::Holder& other : keeper_.OthersUnder(leaving)) away.push_back(std::move(other));
  std::vector<rotation::Finding> findings = rotation::Preflight(input, now);
  if (!canary.has_value()) return PlanMessage(findings, steps, away, pace);
  const CanaryView view = ViewOf(*canary, now);
  for (rotation::Finding& finding : FindingsOf(view)) findings.push_back(std::move(finding));
  control::v1::RotationPlan plan = PlanMessage(findings, steps, away, pace);
  *plan.mutable_canary() = CanaryMessage(view);
  return plan;
}

absl::StatusOr<control::v1::Rotation> ControlPlane::StartRotation(
    const control::v1::StartRotationRequest& request) {
  // What an operator asks for by a command may have been turned back before.
  return BeginRotation(request, {.source = "managed", .again = true});
}

// `offered`: who wishes it, unless the CA directory has to say it too, and whether again; the
// request has the rest.
absl::StatusOr<control::v1::Rotation> ControlPlane::BeginRotation(
    const control::v1::StartRotationRequest& request, Offered offered) {
  absl::MutexLock lock(&beginning_);
  CAPSTAN_ASSIGN_OR_RETURN(trust::CaSet set, Wanted(request));
  offered.emergency = request.emergency();
  CAPSTAN_ASSIGN_OR_RETURN(offered.policy, PolicyOf(request.policy(), options_.keeper.rotation));
  if (auto view = keeper_.rotation(); view.has_value() && !view->record.finished()) {
    return absl::FailedPreconditionError(
        absl::StrCat("rotation ", view->record.number,
                     " is running: `capstan rotate watch` shows how far it is, "
                     "`capstan rotate rollback` turns it back"));
  }
  CAPSTAN_RETURN_IF_ERROR(keeper_.CheckOffer(set, offered));
  CAPSTAN_ASSIGN_OR_RETURN(offered.canary, CanaryFor(request, set));
  if (offered.canary.has_value()) {
    CAPSTAN_RETURN_IF_ERROR(CheckSelects(ViewOf(*offered.canary, clock_.Now())));
  }
  if (!request.emergency()) {
    CAPSTAN_ASSIGN_OR_RETURN(rotation::PreflightInput input, PreflightOf(set));
    CAPSTAN_RETURN_IF_ERROR(RefusalOf(rotation::Preflight(input, clock_.Now())));
  }
  // The source says what is wished: it has to say the same, or it would be followed back.
  CaSource* const source = options_.source.get();
  const bool brought = source != nullptr && !request.from_upstream();
  if (source != nullptr) offered.source = source->kind();
  if (brought) CAPSTAN_RETURN_IF_ERROR(source->CheckWritable());
  const bool write = brought && !source->shows_what_is_in_force();
  CAPSTAN_ASSIGN_OR_RETURN(Outcome outcome, Offer(set, offered));
  if (!outcome.changed) return NoNewWish();
  if (write) {
    absl::Status written = source->Write(request.generate() ? FilesOfSet(set) : FilesOf(request));
    if (!written.ok()) {
      log::Error("the CA source cannot be written: the rotation turns back",
                 {{"why", written.message()}});
      CAPSTAN_RETURN_IF_ERROR(keeper_.Steer(Steering::kRollback));
      return Annotate(written, "the rotation was turned back");
    }
  }
  return GetRotation();
}

absl::StatusOr<control::v1::Rotation> ControlPlane::SteerRotation(
    const control::v1::SteerRotationRequest& request) {
  using Request = control::v1::SteerRotationRequest;
  switch (request.action()) {
    case Request::PAUSE:
      CAPSTAN_RETURN_IF_ERROR(keeper_.Steer(Steering::kPause, request.reason()));
      break;
    case Request::RESUME:
      CAPSTAN_RETURN_IF_ERROR(keeper_.Steer(Steering::kResume, request.reason()));
      break;
    case Request::ROLLBACK:
      CAPSTAN_RETURN_IF_ERROR(keeper_.Steer(Steering::kRollback, request.reason()));
      break;
    case Request::ABORT:
      CAPSTAN_RETURN_IF_ERROR(keeper_.Steer(Steering::kAbort, request.reason()));
      break;
    case Request::EXCLUDE:
      if (request.name().empty() || request.reason().empty()) {
        return absl::InvalidArgumentError(
            "who is excluded, and why, are both needed: they stay in the record for ever");
      }
      CAPSTAN_RETURN_IF_ERROR(keeper_.Exclude(request.name(), request.reason()));
      break;
    default:
      return absl::InvalidArgumentError(
          "a rotation can be paused, resumed, rolled back, aborted, "
          "or somebody excluded from it");
  }
  return GetRotation();
}

}  // namespace capstan::server
