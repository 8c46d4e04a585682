// SPDX-License-Identifier: Apache-2.0
#include "store/memory_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace capstan::store {
namespace {

// The precision that a database keeps.
absl::Time Stored(absl::Time time) {
  return time == absl::InfinitePast() ? time : absl::FromUnixMillis(absl::ToUnixMillis(time));
}

}  // namespace

MemoryStore::MemoryStore(std::string lineage) {
  trust_.version.lineage = std::move(lineage);
}

absl::StatusOr<State> MemoryStore::Load() {
  absl::MutexLock lock(&mutex_);
  State state;
  state.trust = trust_;
  for (const auto& [id, authority] : authorities_) state.authorities.push_back(authority);
  state.desired = desired_;
  for (const auto& [digest, _] : refused_) state.refused.push_back(digest);
  if (!rotations_.empty()) state.rotation = rotations_.rbegin()->second;
  for (const auto& [key, exemption] : exemptions_) {
    if (state.rotation && key.first == state.rotation->number)
      state.exemptions.push_back(exemption);
  }
  for (const auto& [signer, unseen] : unseen_) state.unseen.push_back(unseen);
  for (const auto& [authority, until] : unwritten_) state.unwritten.push_back({authority, until});
  for (const auto& [name, baseline] : baselines_) state.baselines.push_back(baseline);
  return state;
}

absl::Status MemoryStore::CheckChange(const Change& change) const {
  if (!(trust_ == change.expected)) {
    return absl::AbortedError(
        absl::StrCat("the state moved on to bundle ", trust_.version.ToString()));
  }
  if (change.trust.has_value()) {
    const TrustRecord& next = *change.trust;
    if (next.version.lineage != trust_.version.lineage ||
        next.version.sequence < trust_.version.sequence ||
        next.issuer_epoch < trust_.issuer_epoch || next.crl_number < trust_.crl_number) {
      return absl::InternalError("a version went back");
    }
    if (next.roots_pem != trust_.roots_pem && next.version.sequence == trust_.version.sequence) {
      return absl::InternalError("the bundle changed and its sequence did not");
    }
    if (next.issuer != trust_.issuer && next.issuer_epoch == trust_.issuer_epoch) {
      return absl::InternalError("the issuer changed and its epoch did not");
    }
  }
  if (change.history.has_value()) {
    if (!change.trust.has_value() || change.trust->version.sequence != change.history->sequence ||
        trust_.version.sequence >= change.history->sequence) {
      return absl::InternalError("a link of the history without the bundle that it is about");
    }
  }
  auto known = [&](const std::string& id) {
    mutex_.AssertHeld();
    return authorities_.contains(id) ||
           std::any_of(change.authorities.begin(), change.authorities.end(),
                       [&](const AuthorityRecord& authority) { return authority.id == id; });
  };
  if (change.desired.has_value() && !known(change.desired->issuer)) {
    return absl::AlreadyExistsError("a wish for an authority that is not there");
  }
  const int64_t latest = rotations_.empty() ? 0 : rotations_.rbegin()->first;
  if (change.rotation.has_value() && change.rotation->number != latest &&
      (change.rotation->number != latest + 1 ||
       (latest > 0 && !rotations_.at(latest).finished()))) {
    return absl::InternalError("a rotation out of turn");
  }
  return absl::OkStatus();
}

absl::Status MemoryStore::Commit(const Change& change) {
  absl::MutexLock lock(&mutex_);
  CAPSTAN_RETURN_IF_ERROR(CheckChange(change));
  if (change.trust.has_value()) trust_ = *change.trust;
  for (AuthorityRecord authority : change.authorities) {
    authority.reserved_until = Stored(authority.reserved_until);
    authority.state_since = Stored(authority.state_since);
    if (auto there = authorities_.find(authority.id); there != authorities_.end()) {
      authority.reserved_until = std::max(authority.reserved_until, there->second.reserved_until);
    }
    authorities_[authority.id] = authority;
  }
  if (change.desired.has_value()) {
    desired_ = change.desired;
    desired_->accepted_at = Stored(desired_->accepted_at);
    desired_->applied_at = Stored(desired_->applied_at);
  }
  if (change.refuse.has_value()) refused_[*change.refuse] = true;
  if (change.unrefuse.has_value()) refused_.erase(*change.unrefuse);
  if (change.rotation.has_value()) {
    RotationRecord rotation = *change.rotation;
    rotation.started_at = Stored(rotation.started_at);
    rotation.finished_at = Stored(rotation.finished_at);
    rotation.phase_since = Stored(rotation.phase_since);
    rotations_[rotation.number] = std::move(rotation);
  }
  for (ExemptionRecord exemption : change.exemptions) {
    exemption.at = Stored(exemption.at);
    exemptions_[{exemption.rotation, exemption.name}] = std::move(exemption);
  }
  for (UnseenRecord unseen : change.unseen) {
    unseen.until = Stored(unseen.until);
    UnseenRecord& there = unseen_[unseen.signer];
    if (there.signer.empty() || there.until < unseen.until) there = std::move(unseen);
  }
  if (change.forget_unwritten) unwritten_.clear();
  if (change.baselines.has_value()) {
    baselines_.clear();
    for (const BaselineRecord& baseline : *change.baselines) baselines_[baseline.name] = baseline;
  }
  for (JournalEntry entry : change.journal) {
    entry.number = static_cast<int64_t>(journal_.size()) + 1;
    entry.at = Stored(entry.at);
    journal_.push_back(std::move(entry));
  }
  if (change.history.has_value()) {
    history_[change.history->sequence] = change.history->document;
    if (static_cast<int64_t>(history_.size()) > kMostHistory) history_.erase(history_.begin());
  }
  return absl::OkStatus();
}

absl::Status MemoryStore::Reserve(std::string_view authority, absl::Time until) {
  absl::MutexLock lock(&mutex_);
  auto there = authorities_.find(authority);
  if (there == authorities_.end())
    return absl::NotFoundError(absl::StrCat("no authority ", authority));
  there->second.reserved_until = std::max(there->second.reserved_until, Stored(until));
  return absl::OkStatus();
}

absl::Status MemoryStore::MarkUnwritten(std::string_view authority, absl::Time until) {
  absl::MutexLock lock(&mutex_);
  const auto [there, added] = unwritten_.emplace(authority, Stored(until));
  if (!added) there->second = std::max(there->second, Stored(until));
  return absl::OkStatus();
}

absl::Status MemoryStore::ClearUnwritten(std::string_view authority) {
  absl::MutexLock lock(&mutex_);
  if (auto there = unwritten_.find(authority); there != unwritten_.end()) unwritten_.erase(there);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<JournalEntry>> MemoryStore::Journal(int limit) {
  absl::MutexLock lock(&mutex_);
  size_t count = std::min(journal_.size(), static_cast<size_t>(limit));
  return std::vector<JournalEntry>(journal_.end() - static_cast<ptrdiff_t>(count), journal_.end());
}

absl::StatusOr<Store::RotationHistory> MemoryStore::Rotations(int limit) {
  absl::MutexLock lock(&mutex_);
  RotationHistory history;
  for (const auto& [number, rotation] : rotations_) {
    if (number > rotations_.rbegin()->first - limit) history.rotations.push_back(rotation);
  }
  for (const auto& [key, exemption] : exemptions_) {
    if (key.first > rotations_.rbegin()->first - limit) history.exemptions.push_back(exemption);
  }
  return history;
}

absl::StatusOr<std::vector<HistoryRecord>> MemoryStore::History() {
  absl::MutexLock lock(&mutex_);
  std::vector<HistoryRecord> records;
  for (const auto& [sequence, document] : history_) records.push_back({sequence, document});
  return records;
}

absl::Status MemoryStore::AddToken(const TokenRecord& token) {
  absl::MutexLock lock(&mutex_);
  TokenRecord stored = token;
  stored.created_at = Stored(token.created_at);
  stored.expires_at = Stored(token.expires_at);
  const bool added = !consumed_.contains(token.hash) && unused_.emplace(token.hash, stored).second;
  return added ? absl::OkStatus() : absl::AlreadyExistsError("the token is there");
}

absl::StatusOr<TokenRecord> MemoryStore::FindToken(std::string_view hash) {
  absl::MutexLock lock(&mutex_);
  for (const Tokens* tokens : {&unused_, &consumed_}) {
    if (const auto there = tokens->find(hash); there != tokens->end()) return there->second;
  }
  return absl::NotFoundError("no such token");
}

absl::Status MemoryStore::ConsumeToken(const Consumption& consumption) {
  absl::MutexLock lock(&mutex_);
  auto token = unused_.extract(consumption.token_hash);
  if (token.empty()) {
    return absl::FailedPreconditionError("the token was used before, or is gone");
  }
  token.mapped().consumed_at = Stored(consumption.at);
  token.mapped().csr_key_hash = consumption.csr_key_hash;
  token.mapped().certificate = consumption.certificate;
  consumed_.insert(std::move(token));
  population_[KeyOf(consumption.record)] = consumption.record;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<TokenRecord>> MemoryStore::OpenTokens(absl::Time now) {
  absl::MutexLock lock(&mutex_);
  std::vector<TokenRecord> open;
  for (const auto& [hash, token] : unused_) {
    if (token.expires_at > now) open.push_back(token);
  }
  return open;
}

absl::StatusOr<int64_t> MemoryStore::ForgetTokens(absl::Time before) {
  absl::MutexLock lock(&mutex_);
  const auto expired = [&](const auto& entry) { return entry.second.expires_at < before; };
  return static_cast<int64_t>(std::erase_if(unused_, expired) + std::erase_if(consumed_, expired));
}

MemoryStore::PopulationKey MemoryStore::KeyOf(const PopulationRecord& record) {
  return {record.spiffe_id, record.instance, record.purpose,
          record.instance.empty() ? record.serial : ""};
}

absl::Status MemoryStore::PutPopulation(const std::vector<PopulationRecord>& records) {
  absl::MutexLock lock(&mutex_);
  for (const PopulationRecord& record : records) population_[KeyOf(record)] = record;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<PopulationRecord>> MemoryStore::LoadPopulation() {
  absl::MutexLock lock(&mutex_);
  std::vector<PopulationRecord> records;
  for (const auto& [key, record] : population_) records.push_back(record);
  return records;
}

absl::StatusOr<int64_t> MemoryStore::ForgetPopulation(absl::Time before) {
  absl::MutexLock lock(&mutex_);
  return static_cast<int64_t>(std::erase_if(
      population_, [&](const auto& entry) { return entry.second.not_after < before; }));
}

}  // namespace capstan::store
