// SPDX-License-Identifier: Apache-2.0
#include "server/population_writer.h"

#include <limits>
#include <set>
#include <string_view>

#include "base/log.h"
#include "base/status.h"

namespace capstan::server {
namespace {

constexpr absl::Duration kGather = absl::Milliseconds(200);
constexpr absl::Duration kRetry = absl::Seconds(2);
// A mark that this many leaves or fewer were given out under since the last write is taken away
// with it: another one costs a write before the next answer, which many would have to wait for.
constexpr int kFew = 8;
// By how much a mark is set beyond the leaf that it is set for.
constexpr absl::Duration kMargin = absl::Hours(1);

}  // namespace

PopulationWriter::Key PopulationWriter::KeyOf(const store::PopulationRecord& record) {
  return {record.spiffe_id, record.instance, record.purpose,
          record.instance.empty() ? record.serial : ""};
}

// Whether a leaf needs no other mark than there is; it is counted then.
bool PopulationWriter::Covered(const std::string& authority, absl::Time not_after) {
  const auto known = marks_.find(authority);
  if (known == marks_.end()) return false;
  Mark& mark = known->second;
  if (mark.until < not_after && !refused_) return false;
  ++mark.promised;
  ++mark.uses;
  return true;
}

PopulationWriter::Promised PopulationWriter::Promise(const std::string& authority,
                                                     absl::Time not_after) {
  {
    absl::MutexLock lock(&mutex_);
    if (Covered(authority, not_after)) return Promised(this, authority);
  }
  absl::MutexLock writing(&writing_);
  {
    absl::MutexLock lock(&mutex_);
    if (Covered(authority, not_after)) return Promised(this, authority);
  }
  const absl::Time until = not_after + kMargin;
  const absl::Status marked = store_.MarkUnwritten(authority, until);
  {
    absl::MutexLock lock(&mutex_);
    Mark& mark = marks_[authority];
    if (marked.ok()) mark.until = until;
    refused_ = !marked.ok();
    ++mark.promised;
    ++mark.uses;
  }
  if (!marked.ok()) {
    log::Error("leaves are given out and a crash would not be noticed to lose their records",
               {{"authority", authority}, {"why", marked.message()}});
  }
  Schedule(kGather);
  return Promised(this, authority);
}

void PopulationWriter::Release(const std::string& authority) {
  absl::MutexLock lock(&mutex_);
  --marks_.at(authority).promised;
}

void PopulationWriter::Put(store::PopulationRecord record) {
  {
    absl::MutexLock lock(&mutex_);
    Key key = KeyOf(record);
    waiting_[std::move(key)] = std::move(record);
  }
  Schedule(kGather);
}

void PopulationWriter::Schedule(absl::Duration delay) {
  {
    absl::MutexLock lock(&mutex_);
    if (scheduled_) return;
    scheduled_ = true;
  }
  executor_.After(delay, [this] { FlushLater(); });
}

void PopulationWriter::FlushLater() {
  {
    absl::MutexLock lock(&mutex_);
    scheduled_ = false;
    refused_ = false;
  }
  absl::Status flushed;
  {
    absl::MutexLock writing(&writing_);
    flushed = Write();
    if (flushed.ok()) flushed = ClearMarks(kFew);
  }
  bool said = false;
  bool marked = false;
  {
    absl::MutexLock lock(&mutex_);
    marked = !marks_.empty();
    said = last_error_ == Std(flushed.message());
    last_error_ = std::string(flushed.message());
  }
  if (flushed.ok()) {
    if (marked) Schedule(kGather);
    return;
  }
  if (!said)
    log::Error("the population cannot be written down; trying again", {{"why", flushed.message()}});
  Schedule(kRetry);
}

absl::Status PopulationWriter::Flush() {
  absl::MutexLock writing(&writing_);
  CAPSTAN_RETURN_IF_ERROR(Write());
  return ClearMarks(std::numeric_limits<int>::max());
}

absl::Status PopulationWriter::Write() {
  std::map<Key, store::PopulationRecord> group;
  {
    absl::MutexLock lock(&mutex_);
    group.swap(waiting_);
  }
  if (group.empty()) return absl::OkStatus();
  std::vector<store::PopulationRecord> records;
  records.reserve(group.size());
  for (const auto& [key, record] : group) records.push_back(record);
  absl::Status put = store_.PutPopulation(records);
  if (!put.ok()) {
    absl::MutexLock lock(&mutex_);
    // insert() leaves what came meanwhile: it is newer.
    for (auto& [key, record] : group) waiting_.insert({key, std::move(record)});
  }
  return put;
}

absl::Status PopulationWriter::ClearMarks(int most_uses) {
  std::vector<std::string> over;
  {
    absl::MutexLock lock(&mutex_);
    std::set<std::string_view> unwritten;
    for (const auto& [key, record] : waiting_) unwritten.insert(record.authority);
    for (auto& [authority, mark] : marks_) {
      const bool busy = std::exchange(mark.uses, 0) > most_uses;
      if (busy || mark.promised > 0 || unwritten.contains(authority)) continue;
      // From here on Promise() sets it anew, after this.
      mark.until = absl::InfinitePast();
      over.push_back(authority);
    }
  }
  for (const std::string& authority : over) {
    CAPSTAN_RETURN_IF_ERROR(store_.ClearUnwritten(authority));
    absl::MutexLock lock(&mutex_);
    marks_.erase(authority);
  }
  return absl::OkStatus();
}

size_t PopulationWriter::waiting() const {
  absl::MutexLock lock(&mutex_);
  return waiting_.size();
}

}  // namespace capstan::server
