// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/published.h"
#include "store/store.h"
#include "trust/bundle.h"

namespace capstan::server {

// The trust history for whoever asks, out of memory: the store is read once for each version of the
// bundle. Thread-safe. `store` outlives it.
class HistoryReader {
 public:
  explicit HistoryReader(store::Store& store) : store_(store) {}

  // The documents that lead from `held` towards `present`, oldest first, as many as fit in one
  // answer. InvalidArgument: `held` is none. FailedPrecondition: it is of another lineage, or newer
  // than `present`.
  absl::StatusOr<std::vector<std::string>> After(const trust::BundleVersion& held,
                                                 const trust::BundleVersion& present);

 private:
  struct Shelf {
    trust::BundleVersion version;
    std::vector<store::HistoryRecord> records;
  };
  absl::StatusOr<std::shared_ptr<const Shelf>> ShelfOf(const trust::BundleVersion& present);

  store::Store& store_;
  Published<Shelf> shelf_;
};

}  // namespace capstan::server
