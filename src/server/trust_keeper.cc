// SPDX-License-Identifier: Apache-2.0
#include "server/trust_keeper.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "server/records.h"
#include "server/story.h"
#include "trust/ca_crl.h"

namespace capstan::server {
namespace {

using rotation::Situation;
using rotation::Standing;
using rotation::Step;
using rotation::StepKind;
using trust::AuthorityId;

// What is, before the first authority: nobody is trusted and nobody signs.
Situation Beginning(const trust::BundleVersion& version, const AuthorityId& first) {
  return {{version, {}, 0, first, 0, {}}, {}, std::nullopt};
}

bool Changed(const Standing& a, const Standing& b) {
  return a.state != b.state || !(a.authority == b.authority);
}

}  // namespace

TrustKeeper::TrustKeeper(TrustKeeperOptions options, store::Store& store, keystore::SealedKeys keys,
                         Clock& clock, Random& random, std::function<void()> changed)
    : options_(std::move(options)),
      store_(store),
      keys_(std::move(keys)),
      clock_(clock),
      random_(random),
      changed_(std::move(changed)) {}

absl::Status TrustKeeper::Start() {
  absl::MutexLock lock(&mutex_);
  CAPSTAN_ASSIGN_OR_RETURN(store::State state, store_.Load());
  recorded_ = state.trust;
  desired_ = state.desired;
  refused_ = state.refused;
  for (const store::AuthorityRecord& record : state.authorities) {
    CAPSTAN_ASSIGN_OR_RETURN(AuthorityId id, AuthorityId::Parse(record.id));
    sealed_[id] = record.sealed_key;
  }
  if (state.trust.issuer.empty()) {
    if (!desired_.has_value()) return absl::OkStatus();
    // Died between the first wish and its first step.
    CAPSTAN_ASSIGN_OR_RETURN(rotation::Wish wish, WishOf(*desired_));
    state.trust.issuer = wish.issuer.hex();
  }
  CAPSTAN_ASSIGN_OR_RETURN(situation_, SituationOf(state));
  if (situation_->trust.issuer_epoch > 0) {
    CAPSTAN_RETURN_IF_ERROR(PublishSigning());
    if (situation_->serving.has_value()) CAPSTAN_RETURN_IF_ERROR(EnsureServing());
    PublishTrust();
  }
  Outcome outcome;
  return Walk(outcome);
}

absl::StatusOr<Outcome> TrustKeeper::Offer(const trust::CaSet& set, const std::string& source) {
  absl::MutexLock lock(&mutex_);
  return OfferLocked(set, source);
}

absl::StatusOr<Outcome> TrustKeeper::OfferLocked(const trust::CaSet& set,
                                                 const std::string& source) {
  Outcome outcome;
  outcome.warnings = set.warnings;
  const std::string digest = set.ContentDigest();
  const bool known = desired_.has_value() && desired_->digest == digest;
  if (known && desired_->applied()) return outcome;
  if (!known) {
    if (std::find(refused_.begin(), refused_.end(), digest) != refused_.end()) {
      return absl::FailedPreconditionError(
          "this content was refused by a rollback or an abort; change it to ask for something "
          "else");
    }
    CAPSTAN_RETURN_IF_ERROR(CheckAgainstKnown(set));
    story::ReloadBegins(set, source);
    CAPSTAN_RETURN_IF_ERROR(Accept(set, source));
  }
  outcome.changed = true;
  CAPSTAN_RETURN_IF_ERROR(Walk(outcome));
  return outcome;
}

absl::Status TrustKeeper::CheckAgainstKnown(const trust::CaSet& set) const {
  if (!situation_.has_value()) return absl::OkStatus();
  auto known = situation_->authorities.find(set.authority.id);
  if (known != situation_->authorities.end() &&
      !(known->second.authority.root == set.authority.root)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the signing key ", set.authority.id.hex(), " is known under the root \"",
        known->second.authority.root.Subject(), "\" (",
        known->second.authority.root.FingerprintHex().substr(0, 16),
        "): an intermediate under another root needs a key of its own; make a new one"));
  }
  return absl::OkStatus();
}

// Writes the wish down, with the authority and its sealed key: from here on the source is not
// needed.
absl::Status TrustKeeper::Accept(const trust::CaSet& set, const std::string& source) {
  if (situation_.has_value()) RefreshReservations();
  const absl::Time now = clock_.Now();
  const AuthorityId id = set.authority.id;
  Situation next = situation_.has_value() ? *situation_ : Beginning(recorded_.version, id);
  Standing standing{set.authority, trust::AuthorityState::kPrepared, true, absl::InfinitePast()};
  if (auto known = next.authorities.find(id); known != next.authorities.end()) {
    standing.state = known->second.state;
    standing.reserved_until = known->second.reserved_until;
  }
  next.authorities.insert_or_assign(id, standing);
  rotation::Wish wish{set.bundle, set.crls, id};
  CAPSTAN_RETURN_IF_ERROR(rotation::CheckWish(next, wish, now));

  CAPSTAN_ASSIGN_OR_RETURN(std::string sealed, keys_.Seal(id, set.key, random_));
  store::DesiredRecord desired;
  desired.digest = set.ContentDigest();
  desired.source = source;
  desired.roots_pem = set.bundle.ToPem();
  desired.crls_pem = x509::ToPem(set.crls);
  desired.issuer = id.hex();
  desired.accepted_at = now;

  store::Change change;
  store::AuthorityRecord record{id.hex(), standing.state, ChainPem(set.authority), sealed,
                                standing.reserved_until};
  change.authorities = {record};
  change.desired = desired;
  store::JournalEntry entry = Entry("desired", absl::StrCat("from the ", source), next);
  entry.digest = desired.digest;
  change.journal = {entry};
  CAPSTAN_RETURN_IF_ERROR(Annotate(Commit(std::move(change)), "the new CA is not taken over"));

  desired_ = desired;
  sealed_[id] = sealed;
  const bool renewed = signing_.Get() != nullptr && next.trust.issuer == id &&
                       !(signing_.Get()->issuer->authority() == set.authority);
  situation_ = std::move(next);
  if (renewed) {
    reservations_.erase(id);
    CAPSTAN_RETURN_IF_ERROR(PublishSigning());
    changed_();
  }
  return absl::OkStatus();
}

// Leaves were reserved for since: what decides about them sees the latest mark.
void TrustKeeper::RefreshReservations() {
  for (auto& [id, reservation] : reservations_) {
    if (auto known = situation_->authorities.find(id); known != situation_->authorities.end()) {
      Standing& standing = known->second;
      standing.reserved_until = std::max(standing.reserved_until, reservation->until());
    }
  }
}

absl::Status TrustKeeper::Walk(Outcome& outcome) {
  if (!desired_.has_value() || desired_->applied()) return absl::OkStatus();
  RefreshReservations();
  CAPSTAN_ASSIGN_OR_RETURN(rotation::Wish wish, WishOf(*desired_));
  while (std::optional<Step> step = rotation::NextStep(*situation_, wish, clock_.Now())) {
    const Situation before = *situation_;
    CAPSTAN_RETURN_IF_ERROR(
        Annotate(Perform(*step), absl::StrCat("stopped before ", rotation::StepName(step->kind))));
    story::StepDone(*step, before);
    outcome.steps.push_back(absl::StrCat(rotation::StepName(step->kind), ": ", step->why));
  }
  CAPSTAN_RETURN_IF_ERROR(FinishWish());
  if (auto serving = serving_.Get()) story::Certificates(*serving, *situation_);
  story::ReloadDone(*situation_);
  return absl::OkStatus();
}

// The journal first, then the effect. What the effect needs is made before both, so that nothing is
// written that cannot be done.
absl::Status TrustKeeper::Perform(const Step& step) {
  Situation after = step.after;
  store::Change change;
  for (auto& [id, standing] : after.authorities) {
    if (step.kind == StepKind::kSwitchIssuer && id == after.trust.issuer) {
      standing.reserved_until =
          std::max(standing.reserved_until,
                   ReservedUntil(standing.authority, options_.policy.max_ttl, clock_.Now()));
    } else if (auto known = situation_->authorities.find(id);
               known != situation_->authorities.end() && !Changed(known->second, standing)) {
      continue;
    }
    change.authorities.push_back(RecordOfAuthority(standing));
  }
  std::optional<Serving> serving;
  if (step.kind == StepKind::kMoveServing) {
    CAPSTAN_ASSIGN_OR_RETURN(serving, NewServing(*after.serving));
  }
  if (step.kind == StepKind::kSwitchIssuer) {
    CAPSTAN_RETURN_IF_ERROR(SignerOf(after.trust.issuer).status());
  }
  change.trust = RecordOf(after);
  change.journal = {Entry(std::string(rotation::StepName(step.kind)), step.why, after)};
  CAPSTAN_RETURN_IF_ERROR(Commit(std::move(change)));

  situation_ = std::move(after);
  if (situation_->trust.issuer_epoch > 0) CAPSTAN_RETURN_IF_ERROR(PublishSigning());
  if (serving.has_value()) serving_.Set(std::make_shared<const Serving>(*std::move(serving)));
  PublishTrust();
  return absl::OkStatus();
}

absl::Status TrustKeeper::FinishWish() {
  store::DesiredRecord applied = *desired_;
  applied.applied_at = clock_.Now();
  store::Change change;
  change.desired = applied;
  change.journal = {Entry("applied", "every step is done", *situation_)};
  CAPSTAN_RETURN_IF_ERROR(Annotate(Commit(std::move(change)), "everything is done, but not noted"));
  desired_ = applied;
  return absl::OkStatus();
}

absl::Status TrustKeeper::Commit(store::Change change) {
  change.expected = recorded_;
  const std::optional<store::TrustRecord> trust = change.trust;
  CAPSTAN_RETURN_IF_ERROR(store_.Commit(change));
  if (trust.has_value()) recorded_ = *trust;
  return absl::OkStatus();
}

absl::Status TrustKeeper::Maintain() {
  absl::MutexLock lock(&mutex_);
  if (!situation_.has_value()) return absl::OkStatus();
  Outcome outcome;
  CAPSTAN_RETURN_IF_ERROR(Walk(outcome));
  if (situation_->trust.issuer_epoch == 0) return absl::OkStatus();
  auto serving = serving_.Get();
  if (serving != nullptr && clock_.Now() < serving->renew_at) return absl::OkStatus();
  CAPSTAN_RETURN_IF_ERROR(EnsureServing());
  changed_();
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<x509::Signer>> TrustKeeper::SignerOf(const AuthorityId& id) {
  auto sealed = sealed_.find(id);
  if (sealed == sealed_.end() || sealed->second.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the key of authority ", id.hex(), " is not here"));
  }
  CAPSTAN_ASSIGN_OR_RETURN(x509::PrivateKey key, keys_.Unseal(id, sealed->second));
  return x509::NewSigner(std::move(key));
}

absl::StatusOr<Serving> TrustKeeper::NewServing(const AuthorityId& id) {
  const trust::Authority& authority = situation_->authorities.at(id).authority;
  CAPSTAN_ASSIGN_OR_RETURN(std::shared_ptr<x509::Signer> signer, SignerOf(id));
  return MakeServing(options_.serving_names, authority, *signer, options_.serving_ttl, random_,
                     clock_.Now());
}

// The control plane's own certificate stays with its authority; another one signs only when that
// one cannot any more.
absl::Status TrustKeeper::EnsureServing() {
  absl::StatusOr<Serving> made = NewServing(situation_->serving.value_or(situation_->trust.issuer));
  if (!made.ok() && situation_->serving != situation_->trust.issuer) {
    log::Error("the control plane's own certificate moves to the issuer",
               {{"why", made.status().message()}, {"issuer", situation_->trust.issuer.hex()}});
    Step step{StepKind::kMoveServing, std::string(made.status().message()), *situation_};
    step.after.serving = situation_->trust.issuer;
    return Perform(step);
  }
  if (!made.ok()) return made.status();
  log::Info("Generating control plane certificate",
            {{"serial", made->leaf.serial().ToHex()},
             {"authority", made->authority.id.hex()},
             {"renew_at", absl::FormatTime(made->renew_at, absl::UTCTimeZone())}});
  serving_.Set(std::make_shared<const Serving>(*std::move(made)));
  return absl::OkStatus();
}

absl::Status TrustKeeper::PublishSigning() {
  const Standing& standing = situation_->authorities.at(situation_->trust.issuer);
  auto signing = std::make_shared<Signing>();
  auto present = signing_.Get();
  if (present != nullptr && present->issuer->authority() == standing.authority) {
    signing->issuer = present->issuer;
  } else {
    CAPSTAN_ASSIGN_OR_RETURN(std::shared_ptr<x509::Signer> signer, SignerOf(standing.authority.id));
    CAPSTAN_ASSIGN_OR_RETURN(signing->issuer,
                             issuance::Issuer::Create(standing.authority, std::move(signer)));
  }
  std::shared_ptr<Reservation>& reservation = reservations_[standing.authority.id];
  if (reservation == nullptr) {
    reservation = std::make_shared<Reservation>(store_, standing.authority, options_.policy.max_ttl,
                                                standing.reserved_until);
  }
  signing->reservation = reservation;
  for (const x509::Certificate& link : standing.authority.intermediates) {
    signing->chain_pem.push_back(link.ToPem());
  }
  signing->chain_pem.push_back(situation_->trust.bundle.ToPem());
  signing_.Set(std::move(signing));
  return absl::OkStatus();
}

void TrustKeeper::PublishTrust() {
  trust_.Set(std::make_shared<const trust::TrustState>(situation_->trust));
  changed_();
}

store::AuthorityRecord TrustKeeper::RecordOfAuthority(const Standing& standing) const {
  const AuthorityId& id = standing.authority.id;
  auto sealed = sealed_.find(id);
  return {id.hex(), standing.state, ChainPem(standing.authority),
          sealed == sealed_.end() ? "" : sealed->second, standing.reserved_until};
}

store::JournalEntry TrustKeeper::Entry(std::string kind, std::string why,
                                       const Situation& after) const {
  store::JournalEntry entry;
  entry.at = clock_.Now();
  entry.kind = std::move(kind);
  entry.why = std::move(why);
  entry.digest = desired_.has_value() ? desired_->digest : "";
  entry.sequence = after.trust.version.sequence;
  entry.issuer_epoch = after.trust.issuer_epoch;
  return entry;
}

std::optional<Situation> TrustKeeper::situation() const {
  absl::MutexLock lock(&mutex_);
  std::optional<Situation> copy = situation_;
  if (copy.has_value()) {
    for (auto& [id, standing] : copy->authorities) {
      auto reservation = reservations_.find(id);
      if (reservation == reservations_.end()) continue;
      standing.reserved_until = std::max(standing.reserved_until, reservation->second->until());
    }
  }
  return copy;
}

std::optional<store::DesiredRecord> TrustKeeper::desired() const {
  absl::MutexLock lock(&mutex_);
  return desired_;
}

std::vector<x509::Certificate> TrustKeeper::KnownCas() const {
  absl::MutexLock lock(&mutex_);
  std::vector<x509::Certificate> cas;
  if (!situation_.has_value()) return cas;
  for (const auto& [id, standing] : situation_->authorities) {
    std::vector<x509::Certificate> more = trust::CasOf(standing.authority);
    cas.insert(cas.end(), more.begin(), more.end());
  }
  return cas;
}

}  // namespace capstan::server
