// SPDX-License-Identifier: Apache-2.0
#include "server/trust_keeper.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "server/records.h"
#include "server/rotation_record.h"
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

}  // namespace

TrustKeeper::TrustKeeper(TrustKeeperOptions options, store::Store& store, keystore::SealedKeys keys,
                         rotation::Observer& observer, Clock& clock, Random& random,
                         std::function<void()> changed)
    : options_(std::move(options)),
      store_(store),
      keys_(std::move(keys)),
      observer_(observer),
      clock_(clock),
      random_(random),
      changed_(std::move(changed)) {}

absl::Status TrustKeeper::Start() {
  absl::MutexLock lock(&mutex_);
  CAPSTAN_ASSIGN_OR_RETURN(store::State state, store_.Load());
  recorded_ = state.trust;
  desired_ = state.desired;
  refused_ = state.refused;
  rotation_ = state.rotation;
  for (const store::ExemptionRecord& record : state.exemptions) exempt_[record.name] = record;
  for (const store::UnseenRecord& record : state.unseen) unseen_[record.signer] = record;
  for (const store::BaselineRecord& record : state.baselines) {
    baselines_[record.name] = {record.failed, static_cast<double>(record.per_hour)};
  }
  for (const store::AuthorityRecord& record : state.authorities) {
    CAPSTAN_ASSIGN_OR_RETURN(AuthorityId id, AuthorityId::Parse(record.id));
    sealed_[id] = record.sealed_key;
    state_since_[id] = record.state_since;
  }
  if (desired_.has_value()) {
    CAPSTAN_ASSIGN_OR_RETURN(wish_, WishOf(*desired_));
    CAPSTAN_ASSIGN_OR_RETURN(wish_->canary, CanaryOf(rotation_));
  }
  if (state.trust.issuer.empty()) {
    if (!wish_.has_value()) return absl::OkStatus();
    // Died between the first wish and its first step.
    state.trust.issuer = wish_->issuer.hex();
  }
  CAPSTAN_ASSIGN_OR_RETURN(situation_, SituationOf(state));
  TakeOverUnwritten(state.unwritten);
  if (situation_->trust.issuer_epoch > 0) {
    CAPSTAN_RETURN_IF_ERROR(PublishSigning());
    if (situation_->serving.has_value()) CAPSTAN_RETURN_IF_ERROR(EnsureServing());
    PublishTrust();
  }
  return absl::OkStatus();
}

// The program ended while records of leaves were not written: from here on each may be out there.
// A store that refuses to hear of it keeps nobody from being served: it is told again.
void TrustKeeper::TakeOverUnwritten(const std::vector<store::UnwrittenRecord>& marks) {
  for (const store::UnwrittenRecord& mark : marks) {
    untold_.push_back(
        {absl::StrCat("authority:", mark.authority), mark.until,
         "capstand ended without warning before the records of its last leaves were written"});
    log::Warn("records of leaves may have been lost",
              {{"authority", mark.authority},
               {"why", untold_.back().why},
               {"until", absl::FormatTime(mark.until, absl::UTCTimeZone())},
               {"effect", "the gate before it leaves is shut until then"}});
  }
  Take({.unseen = untold_});
  if (absl::Status told = TellUnseen(/*forget_marks=*/true); !told.ok()) {
    log::Error("what a crash may have lost is not noted; trying again", {{"why", told.message()}});
  }
}

absl::Status TrustKeeper::TellUnseen(bool forget_marks) {
  if (untold_.empty()) return absl::OkStatus();
  store::Change change;
  change.unseen = untold_;
  change.forget_unwritten = forget_marks;
  for (const store::UnseenRecord& unseen : untold_) {
    change.journal.push_back(
        Entry("unrecorded",
              absl::StrCat("leaves of ", unseen.signer, " that end by ",
                           absl::FormatTime(absl::RFC3339_sec, unseen.until, absl::UTCTimeZone()),
                           " may be out there without a record"),
              *situation_));
  }
  CAPSTAN_RETURN_IF_ERROR(Commit(change));
  untold_.clear();
  return absl::OkStatus();
}

absl::StatusOr<Outcome> TrustKeeper::Offer(const trust::CaSet& set, const Offered& offered) {
  absl::MutexLock lock(&mutex_);
  Outcome outcome;
  outcome.warnings = set.warnings;
  const bool known = desired_.has_value() && desired_->digest == set.ContentDigest();
  if (!known) {
    CAPSTAN_RETURN_IF_ERROR(CheckNew(set, offered.again));
    story::ReloadBegins(set, offered.source);
    CAPSTAN_RETURN_IF_ERROR(Accept(set, offered));
    outcome.changed = true;
  }
  CAPSTAN_RETURN_IF_ERROR(Walk(outcome));
  outcome.changed |= !outcome.steps.empty();
  return outcome;
}

absl::Status TrustKeeper::CheckOffer(const trust::CaSet& set, const Offered& offered) const {
  absl::MutexLock lock(&mutex_);
  return CheckNew(set, offered.again);
}

absl::Status TrustKeeper::CheckNew(const trust::CaSet& set, bool again) const {
  if (!again &&
      std::find(refused_.begin(), refused_.end(), set.ContentDigest()) != refused_.end()) {
    return absl::FailedPreconditionError(
        "this content was refused by a rollback or an abort; change it to ask for something else, "
        "or try it again with `capstan rotate start --from-upstream`");
  }
  CAPSTAN_RETURN_IF_ERROR(CheckAgainstKnown(set));
  return rotation::CheckWish(WithLocked(set), {set.bundle, set.crls, set.authority.id},
                             clock_.Now());
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

Situation TrustKeeper::With(const trust::CaSet& set) const {
  absl::MutexLock lock(&mutex_);
  return WithLocked(set);
}

Situation TrustKeeper::WithLocked(const trust::CaSet& set) const {
  const AuthorityId id = set.authority.id;
  Situation next = situation_.has_value() ? *situation_ : Beginning(recorded_.version, id);
  Standing standing{set.authority, trust::AuthorityState::kPrepared, true, absl::InfinitePast()};
  if (auto known = next.authorities.find(id); known != next.authorities.end()) {
    standing.state = known->second.state;
    standing.reserved_until = known->second.reserved_until;
  }
  next.authorities.insert_or_assign(id, standing);
  return next;
}

// Writes the wish down, with the authority and its sealed key: from here on the source is not
// needed.
absl::Status TrustKeeper::Accept(const trust::CaSet& set, const Offered& offered) {
  if (situation_.has_value()) RefreshReservations();
  const absl::Time now = clock_.Now();
  const AuthorityId id = set.authority.id;
  Situation next = WithLocked(set);
  const Standing& standing = next.authorities.at(id);
  rotation::Wish wish{set.bundle, set.crls, id, offered.canary};
  if (running()) {
    store::RotationRecord aimed = *rotation_;
    Reaim(next, wish, now, aimed);
    CAPSTAN_ASSIGN_OR_RETURN(wish.canary, CanaryOf(aimed));
  }

  CAPSTAN_ASSIGN_OR_RETURN(std::string sealed, keys_.Seal(id, set.key, random_));
  store::DesiredRecord desired;
  desired.digest = set.ContentDigest();
  desired.source = offered.source;
  desired.roots_pem = set.bundle.ToPem();
  desired.crls_pem = x509::ToPem(set.crls);
  desired.issuer = id.hex();
  desired.accepted_at = now;

  store::Change change;
  change.authorities = {{id.hex(), standing.state, ChainPem(set.authority), sealed,
                         standing.reserved_until,
                         state_since_.contains(id) ? state_since_[id] : now}};
  change.desired = desired;
  change.unrefuse = desired.digest;
  store::JournalEntry entry = Entry("desired", absl::StrCat("from the ", offered.source), next);
  entry.digest = desired.digest;
  BeginRotation(next, wish, offered, change);
  if (change.rotation.has_value()) entry.rotation = change.rotation->number;
  change.journal = {entry};
  CAPSTAN_RETURN_IF_ERROR(Annotate(Commit(change), "the new CA is not taken over"));

  desired_ = desired;
  std::erase(refused_, desired.digest);
  wish_ = std::move(wish);
  sealed_[id] = sealed;
  state_since_[id] = change.authorities.front().state_since;
  Take(change);
  const auto canary_signing = canary_signing_.Get();
  const auto differs = [&](const Signing* signing) {
    return signing != nullptr && signing->issuer->authority().id == id &&
           !(signing->issuer->authority() == set.authority);
  };
  const bool renewed = differs(signing_.Get().get()) ||
                       differs(canary_signing == nullptr ? nullptr : canary_signing->signing.get());
  situation_ = std::move(next);
  if (renewed) {
    reservations_.erase(id);
    CAPSTAN_RETURN_IF_ERROR(PublishSigning());
    changed_();
  }
  return absl::OkStatus();
}

// A wish that takes steps is a rotation, but for the first one, which rotates nothing.
void TrustKeeper::BeginRotation(const Situation& now_is, const rotation::Wish& wish,
                                const Offered& offered, store::Change& change) {
  const absl::Time now = clock_.Now();
  if (now_is.trust.issuer_epoch == 0) {
    if (offered.source == "built-in" || options_.foreign_leaf_ttl <= absl::ZeroDuration()) return;
    for (const x509::Certificate& root : wish.bundle.roots()) {
      change.unseen.push_back({absl::StrCat("root:", root.FingerprintHex()),
                               now + options_.foreign_leaf_ttl,
                               "the root was there before Capstan: others may have signed leaves "
                               "under it until it was adopted"});
    }
    return;
  }
  if (running()) {
    change.rotation = rotation_;
    Reaim(now_is, wish, now, *change.rotation);
  } else {
    if (!rotation::NextStep(now_is, wish, now).has_value()) return;
    change.rotation = NewRotation(rotation_.has_value() ? rotation_->number + 1 : 1, now_is, wish,
                                  offered.policy.value_or(options_.rotation), now);
  }
  change.rotation->source = offered.source;
  change.rotation->emergency = offered.emergency;
}

bool TrustKeeper::running() const {
  return rotation_.has_value() && !rotation_->finished();
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
  // The marks of this process are its own by now.
  CAPSTAN_RETURN_IF_ERROR(TellUnseen(/*forget_marks=*/false));
  Outcome outcome;
  CAPSTAN_RETURN_IF_ERROR(Walk(outcome));
  if (situation_->trust.issuer_epoch == 0) return absl::OkStatus();
  CAPSTAN_RETURN_IF_ERROR(DestroyOldKeys());
  auto serving = serving_.Get();
  const absl::Time now = clock_.Now();
  // One that was made while the clock was ahead is not valid yet: nobody could connect.
  if (serving != nullptr && now >= serving->leaf.not_before() && now < serving->renew_at) {
    return absl::OkStatus();
  }
  CAPSTAN_RETURN_IF_ERROR(EnsureServing());
  changed_();
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<x509::Signer>> TrustKeeper::SignerFor(const AuthorityId& id) {
  absl::MutexLock lock(&mutex_);
  return SignerOf(id);
}

absl::StatusOr<x509::PrivateKey> TrustKeeper::KeyOf(const AuthorityId& id) const {
  auto sealed = sealed_.find(id);
  if (sealed == sealed_.end() || sealed->second.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the key of authority ", id.hex(), " is not here"));
  }
  return keys_.Unseal(id, sealed->second);
}

absl::StatusOr<std::shared_ptr<x509::Signer>> TrustKeeper::SignerOf(const AuthorityId& id) {
  CAPSTAN_ASSIGN_OR_RETURN(x509::PrivateKey key, KeyOf(id));
  return x509::NewSigner(std::move(key));
}

absl::StatusOr<trust::CaSet> TrustKeeper::InForce() {
  absl::MutexLock lock(&mutex_);
  if (!situation_.has_value() || situation_->trust.issuer_epoch == 0) {
    return absl::FailedPreconditionError("there is no CA yet");
  }
  const trust::TrustState& trust = situation_->trust;
  CAPSTAN_ASSIGN_OR_RETURN(x509::PrivateKey key, KeyOf(trust.issuer));
  return trust::CaSet{"istio",        situation_->authorities.at(trust.issuer).authority,
                      std::move(key), trust.bundle,
                      trust.crls,     {}};
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
    return Perform(step, {});
  }
  if (!made.ok()) return made.status();
  log::Info("Generating control plane certificate",
            {{"serial", made->leaf.serial().ToHex()},
             {"authority", made->authority.id.hex()},
             {"renew_at", absl::FormatTime(made->renew_at, absl::UTCTimeZone())}});
  serving_.Set(std::make_shared<const Serving>(*std::move(made)));
  return absl::OkStatus();
}

std::optional<trust::CanaryIssuer> TrustKeeper::canary() const {
  if (!situation_.has_value() || !wish_.has_value()) return std::nullopt;
  return rotation::CanaryOf(*situation_, *wish_);
}

std::shared_ptr<const trust::TrustState> TrustKeeper::trust() const {
  const std::shared_ptr<const Issuers> issuers = issuers_now_.Get();
  if (issuers == nullptr) return nullptr;
  return {issuers, &issuers->trust};
}

std::shared_ptr<const Signing> TrustKeeper::SigningFor(const spiffe::SpiffeId& id) const {
  const std::shared_ptr<const CanarySigning> canary = canary_signing_.Get();
  if (canary != nullptr && canary->canary.Selects(id.ToString())) return canary->signing;
  return signing_.Get();
}

absl::Status TrustKeeper::PublishSigning() {
  const std::optional<trust::CanaryIssuer> canary = this->canary();
  const std::shared_ptr<const CanarySigning> before = canary_signing_.Get();
  std::shared_ptr<CanarySigning> first;
  if (canary.has_value()) {
    CAPSTAN_ASSIGN_OR_RETURN(
        std::shared_ptr<const Signing> signing,
        SigningOf(canary->authority, before == nullptr ? nullptr : before->signing.get()));
    first = std::make_shared<CanarySigning>(CanarySigning{canary->canary, std::move(signing)});
  }
  CAPSTAN_ASSIGN_OR_RETURN(std::shared_ptr<const Signing> signing,
                           SigningOf(situation_->trust.issuer, signing_.Get().get()));
  // The default before the canary's end: nobody whom the new authority signed for goes back.
  signing_.Set(std::move(signing));
  canary_signing_.Set(std::move(first));
  return absl::OkStatus();
}

// `present`: what is published, and kept where it is of the same authority; null where nothing is.
absl::StatusOr<std::shared_ptr<const Signing>> TrustKeeper::SigningOf(const AuthorityId& id,
                                                                      const Signing* present) {
  const Standing& standing = situation_->authorities.at(id);
  auto signing = std::make_shared<Signing>();
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
  signing->sequence = situation_->trust.version.sequence;
  return signing;
}

void TrustKeeper::PublishTrust() {
  auto issuers = std::make_shared<Issuers>(
      Issuers{.trust = situation_->trust, .canary = canary(), .retiring = {}});
  for (const auto& [id, standing] : situation_->authorities) {
    if (standing.state == trust::AuthorityState::kRetiring) issuers->retiring.insert(id);
  }
  if (running()) issuers->budget = rotation_->issue_per_second;
  issuers_now_.Set(std::move(issuers));
  changed_();
}

store::AuthorityRecord TrustKeeper::RecordOfAuthority(const Standing& standing) const {
  const AuthorityId& id = standing.authority.id;
  auto sealed = sealed_.find(id);
  auto since = state_since_.find(id);
  return {id.hex(),
          standing.state,
          ChainPem(standing.authority),
          sealed == sealed_.end() ? "" : sealed->second,
          standing.reserved_until,
          since == state_since_.end() ? absl::InfinitePast() : since->second};
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
  if (running()) entry.rotation = rotation_->number;
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

std::optional<RotationView> TrustKeeper::rotation() const {
  absl::MutexLock lock(&mutex_);
  if (!rotation_.has_value()) return std::nullopt;
  RotationView view{*rotation_, {}, decision_, seen_};
  for (const auto& [name, exemption] : exempt_) view.exempt.push_back(exemption);
  return view;
}

std::optional<rotation::Wish> TrustKeeper::wish() const {
  absl::MutexLock lock(&mutex_);
  return wish_;
}

std::optional<store::DesiredRecord> TrustKeeper::desired() const {
  absl::MutexLock lock(&mutex_);
  return desired_;
}

absl::StatusOr<std::shared_ptr<issuance::Issuer>> TrustKeeper::IssuerFor(const AuthorityId& id) {
  absl::MutexLock lock(&mutex_);
  if (!situation_.has_value() || !situation_->authorities.contains(id)) {
    return absl::NotFoundError(absl::StrCat("there is no authority ", id.hex()));
  }
  const trust::Authority& authority = situation_->authorities.at(id).authority;
  std::shared_ptr<issuance::Issuer>& issuer = issuers_[id];
  if (issuer == nullptr || !(issuer->authority() == authority)) {
    CAPSTAN_ASSIGN_OR_RETURN(std::shared_ptr<x509::Signer> signer, SignerOf(id));
    CAPSTAN_ASSIGN_OR_RETURN(issuer, issuance::Issuer::Create(authority, std::move(signer)));
  }
  return issuer;
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
