// SPDX-License-Identifier: Apache-2.0
// What stock agents tell on their ADS streams, what is read of their Envoys, and what is told of
// the istiod beside us.
#include "base/log.h"
#include "base/status.h"
#include "rpc/fields.h"
#include "server/control_plane.h"
#include "server/messages.h"
#include "server/population.h"

namespace capstan::server {

absl::StatusOr<int64_t> ControlPlane::StockConnected(const authn::Caller& caller,
                                                     const std::string& instance) {
  absl::MutexLock lock(&mutex_);
  CAPSTAN_ASSIGN_OR_RETURN(int64_t generation,
                           fleet_.Connect(KeyOf(caller, instance), clock_.Now()));
  log::Info("stock agent connected", {{"spiffe_id", caller.id.ToString()}, {"instance", instance}});
  return generation;
}

absl::Status ControlPlane::StockReported(const authn::Caller& caller, const std::string& instance,
                                         int64_t generation, const rpc::StockReport& report) {
  fleet::Consumer consumer;
  consumer.id = "stock-agent";
  consumer.kind = fleet::ConsumerKind::kStockAgent;
  consumer.node_id = report.node_id;
  consumer.connected = true;
  consumer.acknowledged_bundle = report.bundle;
  consumer.acknowledged_at = clock_.Now();
  fleet::Report folded;
  folded.bundle = report.bundle;
  folded.consumers.push_back(std::move(consumer));
  if (!report.refusal.empty()) {
    folded.last_error = absl::StrCat("it refused the roots: ", report.refusal);
  }
  return TakeReport(KeyOf(caller, instance), generation, std::move(folded));
}

void ControlPlane::Saw(const fleet::Key& key, std::optional<fleet::Sighting> sighting) {
  absl::MutexLock lock(&mutex_);
  if (fleet_.Saw(key, std::move(sighting), clock_.Now())) AdvanceSoon();
}

void ControlPlane::PublishStockRoots(const trust::TrustState& trust) {
  const auto signing = keeper_.signing();
  pcds::Resource next = options_.slow_stock_agents && signing != nullptr
                            ? pcds::IssuerResourceOf(trust, signing->issuer->authority().root)
                            : pcds::ResourceOf(trust);
  const std::shared_ptr<const pcds::Resource> present = stock_.Get();
  // Another bundle under which the same is said is told to nobody.
  if (present != nullptr && present->roots == next.roots &&
      (!next.whole || present->bundle == next.bundle)) {
    return;
  }
  stock_.Set(std::make_shared<const pcds::Resource>(std::move(next)));
}

void ControlPlane::NoteIstiod(const std::string& address, const absl::Status& why) {
  absl::MutexLock lock(&mutex_);
  istiod_.set_address(address);
  if (why.ok()) {
    istiod_.clear_error();
    istiod_.clear_error_since();
    return;
  }
  if (istiod_.error().empty()) rpc::SetTime(clock_.Now(), istiod_.mutable_error_since());
  istiod_.set_error(std::string(why.message()));
}

double ControlPlane::issue_budget() const {
  const auto view = keeper_.rotation();
  return pacing_.RateOf(view.has_value() ? view->record.issue_per_second : 0);
}

}  // namespace capstan::server
