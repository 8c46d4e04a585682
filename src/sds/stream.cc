// SPDX-License-Identifier: Apache-2.0
#include "sds/stream.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace capstan::sds {
namespace {

constexpr std::string_view kWildcard = "*";

absl::Status CheckNode(const Request& request, bool first, const std::string& known,
                       const Limits& limits) {
  if (!request.node_id.has_value()) {
    return first ? absl::InvalidArgumentError(
                       "missing node information: the first request of a stream must carry node.id")
                 : absl::OkStatus();
  }
  if (request.node_id->empty()) {
    return first ? absl::InvalidArgumentError(
                       "missing node information: node.id is empty; set node.id in the bootstrap")
                 : absl::OkStatus();
  }
  if (request.node_id->size() > limits.node_id_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("node.id has ", request.node_id->size(),
                                                   " bytes; at most ", limits.node_id_bytes,
                                                   " are accepted"));
  }
  if (!first && *request.node_id != known) {
    return absl::InvalidArgumentError("node.id changed within a stream");
  }
  return absl::OkStatus();
}

absl::Status CheckNames(const std::vector<std::string>& names, const Limits& limits) {
  if (names.size() > limits.names_per_stream) {
    return absl::ResourceExhaustedError(absl::StrCat("a request names ", names.size(),
                                                     " secrets; at most ", limits.names_per_stream,
                                                     " are served on one stream"));
  }
  for (const std::string& name : names) {
    if (name.size() > limits.name_bytes) {
      return absl::InvalidArgumentError(absl::StrCat("a secret's name has ", name.size(),
                                                     " bytes; at most ", limits.name_bytes,
                                                     " are accepted"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Stream::Check(const Request& request, const Limits& limits) const {
  // The type is implied by the service (xDS protocol, "type_url"); a client may leave it out.
  if (!request.type_url.empty() && request.type_url != kSecretType) {
    return absl::InvalidArgumentError(absl::StrCat(
        "type_url is \"", request.type_url.substr(0, 256), "\"; this service has ", kSecretType));
  }
  CAPSTAN_RETURN_IF_ERROR(CheckNode(request, !started_, node_id_, limits));
  CAPSTAN_RETURN_IF_ERROR(CheckNames(request.names, limits));
  CAPSTAN_RETURN_IF_ERROR(CheckNames(request.unsubscribe, limits));
  if (front_ == Front::kDelta) {
    const auto added = std::count_if(request.names.begin(), request.names.end(),
                                     [&](const auto& name) { return !asked_.contains(name); });
    if (asked_.size() + static_cast<size_t>(added) > limits.names_per_stream) {
      return absl::ResourceExhaustedError(
          absl::StrCat("a stream asks for more than ", limits.names_per_stream, " secrets"));
    }
  }
  return absl::OkStatus();
}

Stream::Effect Stream::Apply(const Request& request, const Names& names) {
  Effect effect;
  const bool first = !started_;
  if (first) {
    started_ = true;
    node_id_ = *request.node_id;
    came_with_secrets_ = !request.held_version.empty();
  }
  // A new stream has sent nothing yet: whatever nonce comes first is of an earlier stream.
  const Echo echo = first ? Echo::kNone : Classify(request.nonce);
  if (echo == Echo::kLatest || echo == Echo::kEarlier) {
    Settle(request, effect);
  } else if (request.error.has_value() || echo == Echo::kForeign) {
    effect.ignored = "its nonce is not of this stream: nothing of it counts";
  }
  if (front_ == Front::kDelta) {
    ChangeNames(request, first);
  } else if (echo == Echo::kNone || echo == Echo::kLatest) {
    ReplaceNames(request);
  } else if (effect.ignored.empty()) {
    effect.ignored = "its list of names answers an earlier response: the client's next one counts";
  }
  Resubscribe(names, effect);
  return effect;
}

Stream::Echo Stream::Classify(const std::string& nonce) const {
  if (nonce.empty()) {
    return Echo::kNone;
  }
  std::string_view rest = nonce;
  uint64_t number = 0;
  if (!absl::ConsumePrefix(&rest, absl::StrCat(tag_, "-")) || !absl::SimpleAtoi(rest, &number) ||
      number == 0 || number > responses_ || absl::StrCat(number) != rest) {
    return Echo::kForeign;
  }
  return number == responses_ ? Echo::kLatest : Echo::kEarlier;
}

// A refusal counts however old its response is; an acceptance only for names of which no newer
// bytes were sent since.
void Stream::Settle(const Request& request, Effect& effect) {
  std::vector<std::string> settled;
  for (auto& [name, subscription] : subscriptions_) {
    if (subscription.fate == Fate::kSent && subscription.nonce == request.nonce) {
      subscription.fate = request.error.has_value() ? Fate::kRefused : Fate::kAccepted;
      settled.push_back(name);
    }
  }
  if (request.error.has_value()) {
    effect.refused = settled.empty() ? "(superseded)" : absl::StrJoin(settled, ",");
  } else {
    effect.accepted = !settled.empty();
  }
}

// State of the world. An empty list is a wildcard only where no name was ever asked for (xDS
// protocol, "How the client specifies what resources to return"); afterwards it ends every
// subscription.
void Stream::ReplaceNames(const Request& request) {
  named_ = named_ || !request.names.empty();
  wildcard_ = !named_;
  asked_.clear();
  for (const std::string& name : request.names) {
    if (name == kWildcard) {
      wildcard_ = true;
    } else {
      asked_.insert(name);
    }
  }
}

void Stream::ChangeNames(const Request& request, bool first) {
  if (first && request.names.empty()) {
    wildcard_ = true;
  }
  for (const std::string& name : request.unsubscribe) {
    if (name == kWildcard) {
      wildcard_ = false;
    }
    asked_.erase(name);
    removals_.erase(name);
    unknown_.erase(name);
  }
  for (const std::string& name : request.names) {
    if (name == kWildcard) {
      wildcard_ = true;
      continue;
    }
    asked_.insert(name);
    unknown_.erase(name);
    // Asking again for what one has is asking for an answer (xDS protocol, incremental).
    subscriptions_.erase(name);
  }
}

void Stream::Resubscribe(const Names& names, Effect& effect) {
  const auto wanted = [&](const std::string& name) {
    return asked_.contains(name) || (wildcard_ && names.KindOf(name).has_value());
  };
  std::erase_if(subscriptions_, [&](const auto& entry) { return !wanted(entry.first); });
  std::erase_if(unknown_, [&](const std::string& name) { return !wanted(name); });
  const auto subscribe = [&](const std::string& name, Kind kind) {
    if (subscriptions_.try_emplace(name, Subscription{.kind = kind}).second) {
      effect.subscribed.push_back(name);
    }
  };
  for (const std::string& name : asked_) {
    if (const auto kind = names.KindOf(name); kind.has_value()) {
      subscribe(name, *kind);
    } else if (unknown_.insert(name).second) {
      effect.unknown.push_back(name);
      if (front_ == Front::kDelta) {
        removals_.insert(name);
      }
    }
  }
  if (wildcard_) {
    for (const auto& [name, kind] : names.all()) {
      subscribe(name, kind);
    }
  }
}

std::optional<Response> Stream::Answer(const Edition* trust, const Edition* leaf) {
  if (writing_) {
    return std::nullopt;
  }
  Response response;
  uint64_t newest = 0;
  for (auto& [name, subscription] : subscriptions_) {
    const Edition* edition = subscription.kind == Kind::kTrust ? trust : leaf;
    if (edition == nullptr || subscription.edition == edition->number) {
      continue;
    }
    response.resources.push_back({name, *edition});
    if (edition->number > newest) {
      newest = edition->number;
      response.version = edition->stamp;
    }
  }
  response.removed.assign(removals_.begin(), removals_.end());
  if (response.resources.empty() && response.removed.empty()) {
    return std::nullopt;
  }
  removals_.clear();
  response.nonce = absl::StrCat(tag_, "-", ++responses_);
  for (const Resource& resource : response.resources) {
    Subscription& subscription = subscriptions_[resource.name];
    subscription.edition = resource.edition.number;
    subscription.nonce = response.nonce;
    subscription.fate = Fate::kSent;
  }
  writing_ = true;
  return response;
}

}  // namespace capstan::sds
