// SPDX-License-Identifier: Apache-2.0
#include "server/population_writer.h"

#include "base/log.h"
#include "base/status.h"

namespace capstan::server {
namespace {

constexpr absl::Duration kGather = absl::Milliseconds(200);
constexpr absl::Duration kRetry = absl::Seconds(2);

}  // namespace

PopulationWriter::Key PopulationWriter::KeyOf(const store::PopulationRecord& record) {
  return {record.spiffe_id, record.instance, record.purpose,
          record.instance.empty() ? record.serial : ""};
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
  }
  absl::Status flushed = Flush();
  bool said = false;
  {
    absl::MutexLock lock(&mutex_);
    said = last_error_ == Std(flushed.message());
    last_error_ = std::string(flushed.message());
  }
  if (flushed.ok()) return;
  if (!said)
    log::Error("the population cannot be written down; trying again", {{"why", flushed.message()}});
  Schedule(kRetry);
}

absl::Status PopulationWriter::Flush() {
  absl::MutexLock flushing(&flushing_);
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

size_t PopulationWriter::waiting() const {
  absl::MutexLock lock(&mutex_);
  return waiting_.size();
}

}  // namespace capstan::server
