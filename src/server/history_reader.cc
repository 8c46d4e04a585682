// SPDX-License-Identifier: Apache-2.0
#include "server/history_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace capstan::server {
namespace {

// Of one answer, which is a message of at most 4 MiB. The first document is sent whatever its size.
constexpr size_t kMostBytes = 1 << 20;

absl::Status CheckHeld(const trust::BundleVersion& held, const trust::BundleVersion& present) {
  if (held.empty() || held.sequence < 1) {
    return absl::InvalidArgumentError("the request names no version that is held");
  }
  if (held.lineage != present.lineage) {
    return absl::FailedPreconditionError(
        absl::StrCat("this control plane is of lineage ", present.lineage, ", not ", held.lineage));
  }
  if (held.sequence > present.sequence) {
    return absl::FailedPreconditionError(absl::StrCat("the present version here is ",
                                                      present.sequence, ", older than ",
                                                      held.sequence, " which is held"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const HistoryReader::Shelf>> HistoryReader::ShelfOf(
    const trust::BundleVersion& present) {
  std::shared_ptr<const Shelf> shelf = shelf_.Get();
  if (shelf != nullptr && shelf->version == present) return shelf;
  auto read = std::make_shared<Shelf>();
  read->version = present;
  CAPSTAN_ASSIGN_OR_RETURN(read->records, store_.History());
  shelf_.Set(read);
  return read;
}

absl::StatusOr<std::vector<std::string>> HistoryReader::After(const trust::BundleVersion& held,
                                                              const trust::BundleVersion& present) {
  CAPSTAN_RETURN_IF_ERROR(CheckHeld(held, present));
  CAPSTAN_ASSIGN_OR_RETURN(const std::shared_ptr<const Shelf> shelf, ShelfOf(present));
  std::vector<std::string> documents;
  size_t bytes = 0;
  for (const store::HistoryRecord& record : shelf->records) {
    if (record.sequence <= held.sequence) continue;
    bytes += record.document.size();
    if (!documents.empty() && bytes > kMostBytes) break;
    documents.push_back(record.document);
  }
  return documents;
}

}  // namespace capstan::server
