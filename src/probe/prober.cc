// SPDX-License-Identifier: Apache-2.0
#include "probe/prober.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "issuance/issue.h"
#include "lifecycle/check_answer.h"
#include "rpc/fields.h"
#include "x509/csr.h"

namespace capstan::probe {
namespace {

using fleet::v1::ProbeResult;
using trust::AuthorityId;

constexpr absl::Duration kLongestCall = absl::Seconds(10);
constexpr size_t kMostDetail = 300;  // of a result

// A server that waits for a request is made to speak by one that it answers itself and hands on to
// nobody: a malformed line of HTTP/1, or HTTP/2's preface with empty settings.
constexpr std::string_view kNoHttp1 = "CAPSTAN-PROBE\r\n\r\n";
constexpr std::string_view kHttp2Preface{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33};

std::string EarlyRequest(const ProbeTarget& target) {
  const bool http2 = !target.alpn.empty() && target.alpn.front() == "h2";
  return std::string(http2 ? kHttp2Preface : kNoHttp1);
}

// What reports may say of a certificate that anybody may have made.
std::optional<ProbeOutcome::Served> ServedOf(const std::vector<x509::Certificate>& chain) {
  constexpr size_t kMostBytes = 64;
  static const absl::Time first = absl::FromUnixSeconds(-62135596800);  // year 1
  static const absl::Time last = absl::FromUnixSeconds(253402300799);   // year 9999
  if (chain.empty()) return std::nullopt;
  const x509::Certificate& leaf = chain.front();
  const x509::SerialNumber serial = leaf.serial();
  const std::string authority = leaf.authority_key_id();
  if (serial.negative() || serial.bytes().size() > kMostBytes || authority.size() > kMostBytes ||
      leaf.not_before() < first || leaf.not_after() > last || leaf.not_after() < first ||
      leaf.not_before() > last) {
    return std::nullopt;
  }
  return ProbeOutcome::Served{serial.ToHex(), absl::BytesToHexString(authority), leaf.not_before(),
                              leaf.not_after()};
}

ProbeResult::Verdict VerdictOf(x509::ClientVerdict verdict) {
  switch (verdict) {
    case x509::ClientVerdict::kAccepted:
      return ProbeResult::ACCEPTED;
    case x509::ClientVerdict::kUnknownCa:
      return ProbeResult::UNKNOWN_CA;
    case x509::ClientVerdict::kRefused:
      return ProbeResult::REFUSED;
    case x509::ClientVerdict::kSilent:
      return ProbeResult::SILENT;
  }
  return ProbeResult::SILENT;
}

ProbeResult::Verdict VerdictOf(const absl::Status& failure) {
  if (absl::IsDeadlineExceeded(failure)) return ProbeResult::SILENT;
  if (absl::IsFailedPrecondition(failure)) return ProbeResult::REFUSED;
  return ProbeResult::UNREACHABLE;
}

ProbeResult MessageOf(const std::string& target, const std::string& authority,
                      const ProbeOutcome& outcome) {
  ProbeResult out;
  out.set_target(target);
  out.set_authority_id(authority);
  out.set_verdict(outcome.verdict);
  out.set_detail(rpc::FieldText(outcome.detail, kMostDetail));
  if (outcome.at != absl::InfinitePast()) rpc::SetTime(outcome.at, out.mutable_at());
  if (!outcome.bundle.empty()) {
    out.mutable_bundle()->set_lineage(outcome.bundle.lineage);
    out.mutable_bundle()->set_sequence(outcome.bundle.sequence);
  }
  if (outcome.served.has_value()) {
    fleet::v1::Leaf& leaf = *out.mutable_served_leaf();
    leaf.set_serial(outcome.served->serial);
    leaf.set_authority_id(outcome.served->authority);
    rpc::SetTime(outcome.served->not_before, leaf.mutable_not_before());
    rpc::SetTime(outcome.served->not_after, leaf.mutable_not_after());
  }
  return out;
}

absl::StatusOr<std::vector<trust::AuthorityId>> AuthoritiesOf(
    const google::protobuf::RepeatedPtrField<std::string>& ids) {
  constexpr int kMostAuthorities = 8;  // of each kind; a report names each with each target
  if (ids.size() > kMostAuthorities) {
    return absl::InvalidArgumentError(
        absl::StrCat(ids.size(), " authorities; at most ", kMostAuthorities, " are probed"));
  }
  std::vector<trust::AuthorityId> authorities;
  for (const std::string& hex : ids) {
    CAPSTAN_ASSIGN_OR_RETURN(trust::AuthorityId id, trust::AuthorityId::Parse(hex));
    authorities.push_back(std::move(id));
  }
  return authorities;
}

}  // namespace

absl::StatusOr<Probing> ProbingOf(const fleet::v1::Probing& message) {
  Probing probing;
  CAPSTAN_ASSIGN_OR_RETURN(probing.accepted, AuthoritiesOf(message.accepted_authority_ids()));
  CAPSTAN_ASSIGN_OR_RETURN(probing.refused, AuthoritiesOf(message.refused_authority_ids()));
  if (probing.accepted.empty() && !probing.refused.empty()) {
    return absl::InvalidArgumentError("there is no authority that is to be accepted");
  }
  return probing;
}

ProbeOutcome OutcomeOf(const absl::StatusOr<x509::HandshakeResult>& result) {
  if (!result.ok()) {
    return {.verdict = VerdictOf(result.status()),
            .detail = std::string(result.status().message())};
  }
  return {.verdict = VerdictOf(result->client),
          .detail = result->detail,
          .served = ServedOf(result->served_chain)};
}

Prober::Prober(Options options, Ports ports)
    : options_(std::move(options)),
      ports_(std::move(ports)),
      machine_(options_.seed, options_.targets.size(), options_.policy),
      wake_(ports_.executor) {}

lifecycle::Instant Prober::Now() const {
  return {ports_.clock.Now(), ports_.clock.Monotonic()};
}

void Prober::OnTrust(const trust::Bundle& bundle, const trust::BundleVersion& version) {
  bundle_ = bundle;
  Feed(ProbeMachine::Serving{version});
}

void Prober::OnProbing(const Probing& probing) {
  Feed(ProbeMachine::Asked{probing});
}

void Prober::OnConsumers(std::set<ProbedConsumer> connected) {
  Feed(ProbeMachine::Consumers{std::move(connected)});
}

void Prober::Feed(const ProbeMachine::Event& event) {
  const ProbeMachine::Decision decision = machine_.On(event, Now());
  for (const ProbeMachine::Action& action : decision.actions) {
    std::visit([this](const auto& a) { Perform(a); }, action);
  }
  if (decision.changed) ports_.changed();
}

void Prober::Perform(const ProbeMachine::ObtainLeaf& action) {
  auto key = x509::PrivateKey::Generate(x509::KeyType::kEcdsaP256);
  auto csr = key.ok() ? x509::Csr::Create(*key, {}, {}) : key.status();
  if (!csr.ok()) {
    ports_.executor.Post([this, alive = std::weak_ptr<char>(alive_), why = csr.status()] {
      if (!alive.expired()) Feed(ProbeMachine::LeafFailed{std::string(why.message())});
    });
    return;
  }
  ports_.obtain(
      {.csr_pem = csr->ToPem(), .authority_id = action.authority.hex(), .timeout = kLongestCall},
      [this, alive = std::weak_ptr<char>(alive_), authority = action.authority,
       key = *std::move(key)](const absl::StatusOr<std::vector<std::string>>& answer) {
        if (!alive.expired()) OnAnswer(authority, key, answer);
      });
}

void Prober::OnAnswer(const AuthorityId& authority, const x509::PrivateKey& key,
                      const absl::StatusOr<std::vector<std::string>>& answer) {
  const absl::StatusOr<absl::Time> not_after = Keep(authority, key, answer);
  if (not_after.ok()) {
    Feed(ProbeMachine::LeafObtained{*not_after});
    return;
  }
  log::Warn("no probe certificate",
            {{"authority", authority.hex()}, {"why", not_after.status().message()}});
  Feed(ProbeMachine::LeafFailed{
      absl::StrCat("no probe certificate: ", not_after.status().message())});
}

absl::StatusOr<absl::Time> Prober::Keep(const AuthorityId& authority, const x509::PrivateKey& key,
                                        const absl::StatusOr<std::vector<std::string>>& answer) {
  CAPSTAN_RETURN_IF_ERROR(answer.status());
  CAPSTAN_ASSIGN_OR_RETURN(
      lifecycle::CheckedAnswer checked,
      lifecycle::CheckAnswer(*answer, {.id = spiffe::SpiffeId::ForProbe(options_.trust_domain),
                                       .key = key.public_key(),
                                       .ttl = issuance::kProbeLife,
                                       .bundle = bundle_,
                                       .now = ports_.clock.Now()}));
  if (checked.leaf.authority != authority) {
    return absl::InvalidArgumentError(absl::StrCat("the certificate is of authority ",
                                                   checked.leaf.authority.hex(), ", not of ",
                                                   authority.hex()));
  }
  leaves_.insert_or_assign(authority, Leaf{std::move(checked.chain), key});
  return checked.leaf.not_after;
}

void Prober::Perform(const ProbeMachine::DropLeaf& action) {
  leaves_.erase(action.authority);
}

void Prober::Perform(const ProbeMachine::Try& action) {
  const ProbeTarget& target = options_.targets[action.target];
  const Leaf& leaf = leaves_.at(action.authority);
  x509::HandshakeOptions handshake{.host = target.host,
                                   .port = target.port,
                                   .server_name = target.server_name,
                                   .alpn = target.alpn,
                                   .client_chain = leaf.chain,
                                   .client_key = leaf.key,
                                   .timeout = options_.handshake_timeout,
                                   .early_request = EarlyRequest(target)};
  ports_.blocking.Post([this, alive = std::weak_ptr<char>(alive_), action,
                        options = std::move(handshake), &executor = ports_.executor,
                        shake = ports_.handshake] {
    ProbeOutcome outcome = OutcomeOf(shake(options));
    executor.Post([this, alive, action, outcome = std::move(outcome)] {
      if (!alive.expired()) OnTried(action, outcome);
    });
  });
}

void Prober::Perform(const ProbeMachine::WakeAfter& action) {
  if (action.delay == absl::InfiniteDuration()) {
    wake_.Cancel();
  } else {
    wake_.Set(action.delay, [this] { Feed(ProbeMachine::Woke{}); });
  }
}

void Prober::OnTried(const ProbeMachine::Try& tried, ProbeOutcome outcome) {
  Say(tried, outcome);
  Feed(ProbeMachine::Tried{std::move(outcome)});
}

// Once for each change: the same is found every few seconds.
void Prober::Say(const ProbeMachine::Try& tried, const ProbeOutcome& outcome) {
  auto [said, first] = said_.try_emplace({tried.target, tried.authority}, outcome.verdict);
  if (!first && std::exchange(said->second, outcome.verdict) == outcome.verdict) return;
  log::Info("probed", {{"target", ToString(options_.targets[tried.target])},
                       {"authority", tried.authority.hex()},
                       {"verdict", ProbeResult::Verdict_Name(outcome.verdict)},
                       {"why", outcome.detail}});
}

std::vector<ProbeResult> Prober::results() const {
  std::vector<ProbeResult> all;
  for (const ProbeMachine::Result& result : machine_.results(Now())) {
    all.push_back(MessageOf(ToString(options_.targets[result.target]),
                            result.authority.has_value() ? result.authority->hex() : "",
                            result.outcome));
  }
  return all;
}

}  // namespace capstan::probe
