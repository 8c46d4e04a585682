// SPDX-License-Identifier: Apache-2.0
#include "server/server_metrics.h"

#include <algorithm>

#include "base/strings.h"

namespace capstan::server {
namespace {

double SecondsUntil(absl::Time time, absl::Time now) {
  return absl::ToDoubleSeconds(time - now);
}

double UnixSeconds(absl::Time time) {
  return static_cast<double>(absl::ToUnixSeconds(time));
}

// istiod's words for why a CSR got no certificate.
std::string IstiodsReason(const absl::Status& why) {
  switch (why.code()) {
    case absl::StatusCode::kInvalidArgument:
      return absl::StrContains(Std(why.message()), "TTL") ? "TTL_ERROR" : "CSR_ERROR";
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted:
      return "CA_NOT_READY";
    case absl::StatusCode::kInternal:
      return "CERT_GEN_ERROR";
    default:
      return "UNKNOWN";
  }
}

}  // namespace

ServerMetrics::ServerMetrics(Metrics& metrics)
    : metrics_(metrics),
      csr_count_(metrics.Counter("citadel_server_csr_count", "CSRs received")),
      authentication_failures_(metrics.Counter("citadel_server_authentication_failure_count",
                                               "callers that were not believed")),
      parsing_errors_(
          metrics.Counter("citadel_server_csr_parsing_err_count", "CSRs that did not parse")),
      issued_(metrics.Counter("citadel_server_success_cert_issuance_count", "certificates issued")),
      rejoins_(metrics.Counter("capstan_rejoins_total",
                               "agents whose lapsed certificate was renewed within rejoin-grace")),
      root_expiry_timestamp_(
          metrics.Gauge("citadel_server_root_cert_expiry_timestamp",
                        "when the first root of the bundle to expire does, Unix seconds")),
      root_expiry_seconds_(metrics.Gauge("citadel_server_root_cert_expiry_seconds",
                                         "seconds until the first root of the bundle expires")),
      chain_expiry_timestamp_(metrics.Gauge("citadel_server_cert_chain_expiry_timestamp",
                                            "when the issuer's chain expires, Unix seconds")),
      chain_expiry_seconds_(metrics.Gauge("citadel_server_cert_chain_expiry_seconds",
                                          "seconds until the issuer's chain expires")),
      serving_expiry_seconds_(
          metrics.Gauge("capstan_serving_certificate_expiry_seconds",
                        "seconds until the control plane's own certificate expires")),
      bundle_sequence_(metrics.Gauge("capstan_bundle_sequence", "sequence of the trust bundle")),
      bundle_roots_(metrics.Gauge("capstan_bundle_roots", "roots in the trust bundle")),
      issuer_epoch_(metrics.Gauge("capstan_issuer_epoch", "grows when the default issuer changes")),
      crl_number_(metrics.Gauge("capstan_crl_number", "grows when the set of CRLs changes")),
      crl_expiry_seconds_(
          metrics.Gauge("capstan_crl_expiry_seconds",
                        "seconds until the first CRL is due for its next update; 0: no CRL")),
      source_ok_(metrics.Gauge("capstan_source_ok",
                               "1: the last look at the CA source found a usable set")),
      store_ok_(metrics.Gauge("capstan_store_ok", "1: the state database takes what is written")),
      connected_(metrics.Gauge("capstan_connected_agents", "agents with a trust stream")),
      population_(
          metrics.Gauge("capstan_population_workloads", "workloads that hold an unexpired leaf")),
      waiting_(metrics.Gauge("capstan_population_unwritten_records",
                             "records of the population that wait to be written")),
      expiries_(metrics.Gauges("capstan_expiry_timestamp_seconds",
                               "when roots, intermediates, issuer, authorities, serving "
                               "certificate, CRLs and the first leaf end, Unix seconds")),
      issuance_stopped_(metrics.Gauge("capstan_issuance_stopped",
                                      "1: the issuer's chain is not valid now, and no certificate "
                                      "is issued")),
      rotation_running_(metrics.Gauge("capstan_rotation_running", "1: a rotation is under way")),
      rotation_paused_(metrics.Gauge("capstan_rotation_paused", "1: it was paused")),
      rotation_started_(
          metrics.Gauge("capstan_rotation_started_timestamp_seconds",
                        "when the rotation that runs, or ran last, began; 0: there was none")),
      rotation_phase_since_(metrics.Gauge("capstan_rotation_phase_since_timestamp_seconds",
                                          "when the phase of the rotation that runs began; 0: none "
                                          "runs")),
      passed_over_(metrics.Gauge("capstan_rotation_passed_over_workloads",
                                 "who was passed over in the rotation that runs, or ran last")),
      holders_(metrics.Gauges("capstan_rotation_holders",
                              "who keeps the gate of the rotation that runs shut")),
      refusing_(
          metrics.Gauge("capstan_refusing_consumers",
                        "connected consumers that refused a secret and accepted none since")) {
  SourceState(true);  // until a look at it says otherwise; there may be no source to look at
}

void ServerMetrics::Refused(const absl::Status& why) {
  std::string reason = IstiodsReason(why);
  if (reason == "CSR_ERROR") parsing_errors_.Increment();
  metrics_
      .Counter("citadel_server_csr_sign_err_count", "CSRs that got no certificate",
               {{"error", reason}})
      .Increment();
}

void ServerMetrics::Reloaded(bool ok) {
  metrics_
      .Counter("capstan_reloads_total",
               "sets found at the CA source that differ from the one before",
               {{"result", ok ? "accepted" : "refused"}})
      .Increment();
}

void ServerMetrics::Trust(const rotation::Situation& situation, absl::Time serving_not_after,
                          absl::Time now) {
  absl::Time root = absl::InfiniteFuture();
  for (const x509::Certificate& certificate : situation.trust.bundle.roots()) {
    root = std::min(root, certificate.not_after());
  }
  root_expiry_timestamp_.Set(static_cast<double>(absl::ToUnixSeconds(root)));
  root_expiry_seconds_.Set(SecondsUntil(root, now));
  const trust::Authority& issuer = situation.authorities.at(situation.trust.issuer).authority;
  absl::Time chain = issuer.root.not_after();
  for (const x509::Certificate& certificate : issuer.intermediates) {
    chain = std::min(chain, certificate.not_after());
  }
  chain_expiry_timestamp_.Set(static_cast<double>(absl::ToUnixSeconds(chain)));
  chain_expiry_seconds_.Set(SecondsUntil(chain, now));
  serving_expiry_seconds_.Set(SecondsUntil(serving_not_after, now));
  bundle_sequence_.Set(static_cast<double>(situation.trust.version.sequence));
  bundle_roots_.Set(static_cast<double>(situation.trust.bundle.roots().size()));
  issuer_epoch_.Set(static_cast<double>(situation.trust.issuer_epoch));
  crl_number_.Set(static_cast<double>(situation.trust.crl_number));
  absl::Time next = absl::InfiniteFuture();
  for (const x509::Crl& crl : situation.trust.crls)
    next = std::min(next, crl.next_update().value_or(next));
  crl_expiry_seconds_.Set(next == absl::InfiniteFuture() ? 0 : SecondsUntil(next, now));
}

void ServerMetrics::Rotation(const std::optional<RotationView>& view) {
  std::map<GaugeSet::Labels, double> holders;
  const bool running = view.has_value() && !view->record.finished();
  rotation_running_.Set(running ? 1 : 0);
  rotation_paused_.Set(running && view->record.paused ? 1 : 0);
  rotation_started_.Set(view.has_value() ? UnixSeconds(view->record.started_at) : 0);
  rotation_phase_since_.Set(running ? UnixSeconds(view->record.phase_since) : 0);
  passed_over_.Set(view.has_value() ? static_cast<double>(view->exempt.size()) : 0);
  if (running) {
    for (const rotation::Holder& holder : view->decision.gate.holders) {
      ++holders[{{"kind", std::string(rotation::HolderKindName(holder.kind))}}];
    }
  }
  holders_.Set(holders);
}

void ServerMetrics::Fleet(int64_t connected, int64_t population, size_t waiting) {
  connected_.Set(static_cast<double>(connected));
  population_.Set(static_cast<double>(population));
  waiting_.Set(static_cast<double>(waiting));
}

}  // namespace capstan::server
