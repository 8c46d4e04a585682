// SPDX-License-Identifier: Apache-2.0
#include "lifecycle/driver.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/retry_after.h"
#include "base/status.h"

namespace capstan::lifecycle {
namespace {

std::string JitterIdentity(const Driver::Options& options) {
  return absl::StrCat(options.id.ToString(), "|", options.instance, "|",
                      options.purpose == Purpose::kWorkload ? "workload" : "agent");
}

// Whether trying the very same again soon makes sense.
Failed::Kind KindOf(const absl::Status& status) {
  if (RetryAfterOf(status).has_value()) return Failed::Kind::kPutOff;
  switch (status.code()) {
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kUnimplemented:
      return Failed::Kind::kRefused;
    default:
      return Failed::Kind::kTransient;
  }
}

std::string_view ResultName(Failed::Kind kind) {
  switch (kind) {
    case Failed::Kind::kTransient:
      return "failed";
    case Failed::Kind::kRefused:
      return "refused";
    case Failed::Kind::kUntrusted:
      return "untrusted";
    case Failed::Kind::kPutOff:
      return "put-off";
  }
  return "failed";
}

// Worth a warning: something did not go as it should. Being put off is how it should go.
bool IsBad(const Event& event) {
  const auto* failed = std::get_if<Failed>(&event);
  return failed != nullptr && failed->kind != Failed::Kind::kPutOff;
}

}  // namespace

Driver::Driver(Options options, Ports ports)
    : options_(std::move(options)),
      ports_(std::move(ports)),
      machine_(JitterIdentity(options_), options_.policy),
      wake_(ports_.executor) {}

void Driver::Start(std::optional<Leaf> held, trust::Bundle bundle) {
  started_ = true;
  bundle_ = std::move(bundle);
  Feed(Started{std::move(held)});
  if (directive_) Feed(Directed{directive_});
}

void Driver::OnBundle(trust::Bundle bundle) {
  if (bundle == bundle_) return;
  bundle_ = std::move(bundle);
  if (started_) Feed(BundleChanged{});
}

void Driver::OnDirective(std::optional<Directive> directive) {
  directive_ = std::move(directive);
  if (started_) Feed(Directed{directive_});
}

void Driver::OnReachable() {
  if (started_) Feed(Reachable{});
}

void Driver::OnDisowned() {
  if (started_) Feed(Disowned{});
}

Instant Driver::Now() const {
  return {ports_.clock.Now(), ports_.clock.Monotonic()};
}

void Driver::Feed(const Event& event) {
  const Decision decision = machine_.On(event, Now());
  if (!decision.why.empty()) {
    log::Write(IsBad(event) ? log::Level::kWarn : log::Level::kInfo, options_.name,
               {{"why", decision.why}});
  }
  std::optional<Request> request;
  for (const Action& action : decision.actions) {
    if (std::holds_alternative<Serve>(action) && arrived_) {
      const Leaf leaf = *std::exchange(arrived_, std::nullopt);
      ports_.serve(leaf);
    } else if (const auto* wake = std::get_if<WakeAfter>(&action)) {
      wake_.Set(wake->delay, [this] { Feed(Woke{}); });
    } else if (const auto* wanted = std::get_if<Request>(&action)) {
      request = *wanted;
    }
  }
  if (std::holds_alternative<Issued>(event) || std::holds_alternative<Failed>(event)) {
    ports_.changed();
  }
  if (request) Perform(*request);
}

void Driver::Perform(const Request& request) {
  absl::StatusOr<std::string> csr = ports_.enrolment.NewCsr();
  const std::weak_ptr<char> alive = alive_;
  if (!csr.ok()) {
    ports_.executor.Post([this, alive, status = csr.status()] {
      if (!alive.expired()) OnAnswer(status);
    });
    return;
  }
  ports_.ca.CreateCertificate({.csr_pem = *std::move(csr),
                               .ttl = options_.ttl,
                               .purpose = options_.purpose,
                               .timeout = request.timeout,
                               .replaces = held() ? held()->serial : ""},
                              [this, alive](absl::StatusOr<std::vector<std::string>> answer) {
                                if (!alive.expired()) OnAnswer(std::move(answer));
                              });
}

void Driver::OnAnswer(absl::StatusOr<std::vector<std::string>> answer) {
  if (!answer.ok()) {
    // A request that was not understood was not signed.
    if (absl::IsInvalidArgument(answer.status())) ports_.enrolment.DropKey();
    return Fail({KindOf(answer.status()), std::string(answer.status().message()),
                 RetryAfterOf(answer.status()).value_or(absl::ZeroDuration())});
  }
  const absl::StatusOr<Leaf> leaf = ports_.enrolment.Accept(*answer, bundle_, ports_.clock.Now());
  if (!leaf.ok()) {
    const bool untrusted = absl::IsFailedPrecondition(leaf.status());
    if (!untrusted) ports_.enrolment.DropKey();
    return Fail({untrusted ? Failed::Kind::kUntrusted : Failed::Kind::kRefused,
                 absl::StrCat("the answer was refused: ", leaf.status().message())});
  }
  arrived_ = *leaf;
  ports_.attempted("issued");
  Feed(Issued{*leaf});
}

void Driver::Fail(Failed failure) {
  ports_.attempted(std::string(ResultName(failure.kind)));
  Feed(failure);
}

}  // namespace capstan::lifecycle
