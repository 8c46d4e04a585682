// SPDX-License-Identifier: Apache-2.0
#include "sds/consumer.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace capstan::sds {
namespace {

using Level = Actions::Note::Level;
constexpr size_t kMostNotedNames = 64;

// A refusal's text is the client's: bounded, and on one line.
std::string Clean(std::string text, size_t most) {
  if (text.size() > most) {
    text.resize(most);
  }
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c >= 0x7f; }, ' ');
  return text;
}

}  // namespace

Consumer::Consumer(const Config& config, const Names& names, std::string tag, std::string node_id,
                   const Peer& peer)
    : config_(config),
      names_(names),
      tag_(std::move(tag)),
      id_(absl::StrCat("envoy-", peer.pid, "-", tag_)),
      node_id_(std::move(node_id)),
      peer_(peer) {}

void Consumer::Published(std::shared_ptr<const Material> material, Moment now, Actions& actions) {
  const bool fresh = material_ == nullptr || !SameContent(Kind::kTrust, *material_, *material) ||
                     !SameContent(Kind::kLeaf, *material_, *material);
  material_ = std::move(material);
  Advance(fresh, now, actions);
}

void Consumer::Adopt(StreamId id, Stream stream, const Request& request, Moment now,
                     Actions& actions) {
  if (streams_.empty()) {
    StartOver();
  }
  Stream& adopted = streams_.emplace(id, std::move(stream)).first->second;
  Hear(id, adopted, request, now, actions);
}

void Consumer::Requested(StreamId id, const Request& request, Moment now, Actions& actions) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) {
    return;
  }
  if (absl::Status status = found->second.Check(request, config_.limits); !status.ok()) {
    actions.ends.push_back({id, std::move(status)});
    Closed(id, now, actions);
    return;
  }
  Hear(id, found->second, request, now, actions);
}

void Consumer::Hear(StreamId id, Stream& stream, const Request& request, Moment now,
                    Actions& actions) {
  // What a new stream says it holds, it got on an earlier one: of ours, or of another agent
  // process.
  const bool returning = !stream.started() && !request.held_version.empty();
  const bool ours = returning && absl::StartsWith(request.held_version, absl::StrCat(tag_, "."));
  const Stream::Effect effect = stream.Apply(request, names_);
  for (const std::string& name : effect.subscribed) {
    const Kind kind = *names_.KindOf(name);
    const auto ghost = expected_.find(name);
    // With another stream for the name it might be that one's holder, whose stream's end is yet to
    // be heard.
    if (ours && ghost != expected_.end() && StreamsFor(name) == 1) {
      expected_.erase(ghost);
    } else {
      // A holder that nobody knew of: what counted was counted without it.
      Uncount(kind);
    }
    returning_ = returning_ || (returning && kind == Kind::kLeaf && !leaf_.has_value());
  }
  for (const std::string& name : effect.unknown) {
    if (noted_unknown_.size() < kMostNotedNames && noted_unknown_.insert(name).second) {
      Note(actions, Level::kInfo,
           absl::StrCat("asks for \"", Clean(name, 256),
                        "\", which is no secret of this agent: it gets none of that name"));
    }
  }
  if (!effect.ignored.empty()) {
    Note(actions, Level::kInfo, absl::StrCat("a request is ignored: ", effect.ignored));
  }
  if (effect.refused.has_value()) {
    Refused(*effect.refused, *request.error, now, actions);
  }
  Advance(/*fresh_material=*/false, now, actions);
}

void Consumer::Written(StreamId id, Moment now, Actions& actions) {
  if (const auto found = streams_.find(id); found != streams_.end()) {
    found->second.Written();
    Advance(/*fresh_material=*/false, now, actions);
  }
}

void Consumer::Closed(StreamId id, Moment now, Actions& actions) {
  const auto found = streams_.find(id);
  if (found == streams_.end()) {
    return;
  }
  bool unheard = false;
  for (const auto& [name, subscription] : found->second.subscriptions()) {
    unheard = unheard || subscription.fate == Fate::kSent;
    if (subscription.fate != Fate::kUnanswered || found->second.came_with_secrets()) {
      expected_.emplace(name, now.monotonic + config_.expect_back);
    }
  }
  streams_.erase(found);
  if (streams_.empty()) {
    Leave(now);
    return;
  }
  if (unheard) {
    // It may have refused what it was sent: the next acceptance of the same bytes would prove
    // nothing.
    Doubt(now);
  }
  Advance(/*fresh_material=*/false, now, actions);
}

void Consumer::Woken(Moment now, Actions& actions) {
  Advance(/*fresh_material=*/false, now, actions);
}

void Consumer::Refused(const std::string& resource, const std::string& text, Moment now,
                       Actions& actions) {
  last_nack_ = {
      .resource = resource, .message = Clean(text, config_.limits.error_bytes), .at = now.wall};
  Doubt(now);
  Note(actions, Level::kWarn,
       absl::StrCat("refused ", resource, ": ", last_nack_->message,
                    "; nothing counts until it accepts trust and leaf in new bytes, sent in ",
                    absl::FormatDuration(retry_at_.value_or(now.monotonic) - now.monotonic)));
}

void Consumer::Uncount(Kind kind) {
  if (kind == Kind::kTrust) {
    counted_trust_.reset();
  } else {
    counted_leaf_.reset();
  }
}

// What was accepted so far no longer counts, and both secrets are due in new bytes. One schedule
// however many refusals come before it is met: a bad secret is refused together with the other one.
void Consumer::Doubt(Moment now) {
  counted_trust_.reset();
  counted_leaf_.reset();
  bool again = false;
  for (std::optional<Offer>* offer : {&trust_, &leaf_}) {
    if (offer->has_value() && (*offer)->sent) {
      (*offer)->tainted = true;
      again = true;
    }
  }
  if (again && !retry_at_.has_value()) {
    const absl::Duration backoff =
        std::min(config_.longest_retry, config_.first_retry * (1 << std::min(failures_, 16)));
    retry_at_ = now.monotonic + backoff;
    ++failures_;
  }
}

// The first stream of a process of which nothing is known, or nothing any more; but for the names
// that it had streams for: those are still expected back.
void Consumer::StartOver() {
  trust_.reset();
  leaf_.reset();
  retry_at_.reset();
  failures_ = 0;
  leaf_held_until_.reset();
  leaf_again_by_.reset();
  returning_ = false;
}

void Consumer::Leave(Moment now) {
  left_at_ = now.monotonic;
  counted_trust_.reset();
  counted_leaf_.reset();
  StartOver();
}

void Consumer::Advance(bool fresh_material, Moment now, Actions& actions) {
  std::erase_if(expected_, [&](const auto& ghost) { return ghost.second <= now.monotonic; });
  Count(now, actions);
  Renew(fresh_material, now, actions);
  Count(now, actions);  // the same content may be of a newer version now
  Send(actions);
}

// Makes the editions that are due.
void Consumer::Renew(bool fresh_material, Moment now, Actions& actions) {
  if (material_ == nullptr || streams_.empty()) {
    return;
  }
  const bool news = fresh_material && (Differs(Kind::kTrust) || Differs(Kind::kLeaf));
  const bool again = retry_at_.has_value() && (news || now.monotonic >= *retry_at_);
  if (again) {
    retry_at_.reset();
    failures_ = news ? 0 : failures_;
    leaf_again_by_ = now.monotonic + config_.hold_leaf;
  }
  constexpr std::string_view kAgain = "in new bytes, since an answer was a refusal or was lost";
  if (!trust_.has_value()) {
    trust_ = NewEdition(Kind::kTrust, material_, "first trust of this consumer");
  } else if (Differs(Kind::kTrust)) {
    trust_ = NewEdition(Kind::kTrust, material_, "the trust changed");
  } else if (again && trust_->tainted) {
    trust_ = NewEdition(Kind::kTrust, material_, std::string(kAgain));
  } else {
    trust_->edition.material = material_;  // the same content, perhaps of a newer version
  }
  RenewLeaf(now, actions);
  if (leaf_again_by_.has_value() && (TrustAnswered() || now.monotonic >= *leaf_again_by_)) {
    leaf_again_by_.reset();
    if (leaf_.has_value() && leaf_->tainted) {
      leaf_ = NewEdition(Kind::kLeaf, leaf_->edition.material, std::string(kAgain));
    }
  }
}

void Consumer::RenewLeaf(Moment now, Actions& actions) {
  if (!Differs(Kind::kLeaf)) {
    leaf_held_until_.reset();
    if (HasLeaf(*material_)) {
      leaf_->edition.material = material_;
    }
    return;
  }
  const Release release = MayReleaseLeaf(now);
  if (release.now) {
    leaf_held_until_.reset();
    leaf_ = NewEdition(Kind::kLeaf, material_, release.why);
    return;
  }
  if (!leaf_held_until_.has_value()) {
    leaf_held_until_ = now.monotonic + config_.hold_leaf;
    Note(actions, Level::kInfo, absl::StrCat("the new leaf is held: ", release.why));
  }
}

// Whether the material has something of this kind that is not on offer.
bool Consumer::Differs(Kind kind) const {
  const std::optional<Offer>& offer = kind == Kind::kTrust ? trust_ : leaf_;
  if (kind == Kind::kLeaf && !HasLeaf(*material_)) {
    return false;
  }
  return !offer.has_value() || !SameContent(kind, *offer->edition.material, *material_);
}

// A leaf may be of an authority that only the trust published with it knows. While the consumer has
// a good leaf nothing is lost by letting the trust arrive first; without one, waiting is an outage.
Consumer::Release Consumer::MayReleaseLeaf(Moment now) const {
  if (!leaf_.has_value() && !returning_) {
    return {true, "first leaf of this consumer"};
  }
  if (RefusedByAny(Kind::kLeaf) && TrustAnswered()) {
    return {true, "the leaf changed, and the one before was refused"};
  }
  if (AcceptedByAll(Kind::kTrust)) {
    return {true, "the leaf changed, and its trust is accepted"};
  }
  if (leaf_held_until_.has_value() && now.monotonic >= *leaf_held_until_) {
    return {true, absl::StrCat("the leaf changed; its trust is not accepted after ",
                               absl::FormatDuration(config_.hold_leaf),
                               ", but a leaf held longer might expire")};
  }
  if (leaf_.has_value() && !Subscribes(Kind::kTrust) && !Expects(Kind::kTrust)) {
    return {true, "the leaf changed, and this consumer takes no trust from here"};
  }
  if (!leaf_.has_value() && RefusedByAny(Kind::kTrust)) {
    // Perhaps because of the very leaf it holds, in which case nothing but another leaf helps.
    return {true, "it refused the trust and holds a leaf of which nothing is known"};
  }
  return {false, "the trust published with it is not accepted yet, and the last good leaf stays"};
}

void Consumer::Send(Actions& actions) {
  for (auto& [id, stream] : streams_) {
    std::optional<Response> response =
        stream.Answer(trust_ ? &trust_->edition : nullptr, leaf_ ? &leaf_->edition : nullptr);
    if (!response.has_value()) {
      continue;
    }
    std::vector<std::string> whys;
    for (const Resource& resource : response->resources) {
      (resource.edition.kind == Kind::kTrust ? trust_ : leaf_)->sent = true;
      whys.push_back(absl::StrCat(resource.name, ": ", resource.edition.why));
    }
    for (const std::string& name : response->removed) {
      whys.push_back(absl::StrCat(Clean(name, 256), ": unknown"));
    }
    actions.sends.push_back({id, *std::move(response), absl::StrJoin(whys, "; ")});
  }
}

// What counts: every subscription of a kind accepted the edition that is due, none is missing, and
// the edition was made after the last refusal. What counted before stays until something newer
// does.
void Consumer::Count(Moment now, Actions& actions) {
  const auto before = std::pair(counted_trust_, counted_leaf_);
  if (AcceptedByAll(Kind::kTrust) && !Expects(Kind::kTrust)) {
    counted_trust_ = trust_->edition.material->bundle_version;
  } else if (!Subscribes(Kind::kTrust) && !Expects(Kind::kTrust)) {
    Uncount(Kind::kTrust);
  }
  if (AcceptedByAll(Kind::kLeaf) && !Expects(Kind::kLeaf)) {
    counted_leaf_ = leaf_->edition.material->leaf_serial;
  } else if (!Subscribes(Kind::kLeaf) && !Expects(Kind::kLeaf)) {
    Uncount(Kind::kLeaf);
  }
  if (!counted_trust_.has_value() || !counted_leaf_.has_value() ||
      before == std::pair(counted_trust_, counted_leaf_)) {
    return;
  }
  failures_ = 0;
  counted_at_ = now.wall;
  Note(actions, Level::kInfo,
       absl::StrCat("acknowledged: bundle ", counted_trust_->lineage, "/", counted_trust_->sequence,
                    ", leaf ", *counted_leaf_));
}

Consumer::Offer Consumer::NewEdition(Kind kind, std::shared_ptr<const Material> material,
                                     std::string why) {
  ++editions_;
  return Offer{.edition = {.kind = kind,
                           .number = editions_,
                           .stamp = absl::StrCat(tag_, ".", editions_),
                           .material = std::move(material),
                           .why = std::move(why)}};
}

int64_t Consumer::StreamsFor(const std::string& name) const {
  return std::count_if(streams_.begin(), streams_.end(), [&](const auto& entry) {
    return entry.second.subscriptions().contains(name);
  });
}

bool Consumer::Subscribes(Kind kind) const {
  for (const auto& [id, stream] : streams_) {
    for (const auto& [name, subscription] : stream.subscriptions()) {
      if (subscription.kind == kind) {
        return true;
      }
    }
  }
  return false;
}

bool Consumer::AcceptedByAll(Kind kind) const {
  const std::optional<Offer>& offer = kind == Kind::kTrust ? trust_ : leaf_;
  if (!offer.has_value() || offer->tainted || !Subscribes(kind)) {
    return false;
  }
  for (const auto& [id, stream] : streams_) {
    for (const auto& [name, subscription] : stream.subscriptions()) {
      if (subscription.kind == kind &&
          (subscription.edition != offer->edition.number || subscription.fate != Fate::kAccepted)) {
        return false;
      }
    }
  }
  return true;
}

// Nobody has still to say what it thinks of the trust on offer. Whoever takes a leaf before, may
// show it to peers that its trust does not know; whoever refuses the trust, perhaps because of the
// leaf it was given, needs another leaf.
bool Consumer::TrustAnswered() const {
  if (!Subscribes(Kind::kTrust)) return !Expects(Kind::kTrust);
  for (const auto& [id, stream] : streams_) {
    for (const auto& [name, subscription] : stream.subscriptions()) {
      if (subscription.kind != Kind::kTrust) continue;
      const bool answered =
          subscription.fate == Fate::kAccepted || subscription.fate == Fate::kRefused;
      if (!trust_.has_value() || subscription.edition != trust_->edition.number || !answered) {
        return false;
      }
    }
  }
  return true;
}

bool Consumer::RefusedByAny(Kind kind) const {
  for (const auto& [id, stream] : streams_) {
    for (const auto& [name, subscription] : stream.subscriptions()) {
      if (subscription.kind == kind && subscription.fate == Fate::kRefused) {
        return true;
      }
    }
  }
  return false;
}

bool Consumer::Expects(Kind kind) const {
  return std::any_of(expected_.begin(), expected_.end(),
                     [&](const auto& ghost) { return names_.KindOf(ghost.first) == kind; });
}

std::optional<absl::Duration> Consumer::wake_at() const {
  std::optional<absl::Duration> due;
  const auto consider = [&](std::optional<absl::Duration> at) {
    if (at.has_value() && (!due.has_value() || *at < *due)) {
      due = at;
    }
  };
  consider(retry_at_);
  consider(leaf_held_until_);
  consider(leaf_again_by_);
  for (const auto& [name, until] : expected_) {
    consider(until);
  }
  return due;
}

ConsumerReport Consumer::Report() const {
  ConsumerReport report;
  report.id = id_;
  report.node_id = node_id_;
  report.pid = peer_.pid;
  report.connected = connected();
  report.last_nack = last_nack_;
  if (counted_trust_.has_value() && counted_leaf_.has_value()) {
    report.acknowledged_bundle = *counted_trust_;
    report.acknowledged_leaf_serial = *counted_leaf_;
    report.acknowledged_at = counted_at_;
  }
  return report;
}

void Consumer::Note(Actions& actions, Level level, std::string text) const {
  actions.notes.push_back({level, id_, std::move(text)});
}

}  // namespace capstan::sds
