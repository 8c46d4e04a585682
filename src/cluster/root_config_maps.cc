// SPDX-License-Identifier: Apache-2.0
#include "cluster/root_config_maps.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/retry_after.h"
#include "base/strings.h"
#include "x509/seal.h"

namespace capstan::cluster {
namespace {

using rotation::Holder;

constexpr absl::Duration kLongestPause = absl::Seconds(30);

bool IsOfTheNamespace(const absl::Status& why) {
  return absl::IsPermissionDenied(why) || absl::IsInvalidArgument(why);
}

}  // namespace

std::string RootConfigMaps::DigestOf(std::string_view pem) {
  return x509::Sha256(pem);
}

const std::string& RootConfigMaps::trouble() const {
  return watching_[0].trouble.empty() ? watching_[1].trouble : watching_[0].trouble;
}

bool RootConfigMaps::Holds(const Place& place) const {
  return place.map.has_value() && !version_.empty() && place.map->digest == digest_;
}

void RootConfigMaps::NamespaceSeen(const std::string& ns) {
  Place& place = places_[ns];
  if (std::exchange(place.there, true)) return;
  place.upkeep.Looked();
  // Of a namespace that is found after a while of not looking nobody knows what was in it.
  place.made = synced() && trouble().empty() && !place.map.has_value();
}

void RootConfigMaps::NamespaceGone(const std::string& ns) {
  const auto known = places_.find(ns);
  if (known == places_.end()) return;
  Place left;
  left.map = std::move(known->second.map);
  left.since = known->second.since;
  left.upkeep = std::move(known->second.upkeep);
  left.upkeep.Forget();
  known->second = std::move(left);
  ForgetIfNothing(known);
}

void RootConfigMaps::ForgetIfNothing(std::map<std::string, Place>::iterator known) {
  const Place& place = known->second;
  if (!place.there && !place.map.has_value() && !place.upkeep.writing()) places_.erase(known);
}

void RootConfigMaps::MapSeen(const std::string& ns, Map map, absl::Duration now) {
  Place& place = places_[ns];
  const bool was_right = Right(place);
  const bool held = Holds(place);
  if (!place.map.has_value()) {
    place.since = now;
    place.original = place.made;
  } else if (place.map->digest != map.digest) {
    place.since = now;
    place.original = false;
  }
  place.made = false;
  place.map = std::move(map);
  place.upkeep.Looked();
  if (Right(place)) {
    place.upkeep.Right();
  } else if (was_right && place.there) {
    // And not because something else is wanted.
    place.upkeep.Spoilt(
        held && !Holds(place) ? "its root-cert.pem was changed" : "its label was changed", now);
  }
}

void RootConfigMaps::MapGone(const std::string& ns, absl::Duration now) {
  const auto known = places_.find(ns);
  if (known == places_.end()) return;
  Place& place = known->second;
  const bool was_right = Right(place);
  place.map.reset();
  place.made = false;
  place.original = false;
  place.upkeep.Looked();
  if (!place.there) {
    ForgetIfNothing(known);
  } else if (was_right) {
    place.upkeep.Spoilt("it was deleted", now);
  } else {
    place.upkeep.Unblocked(now);
  }
}

bool RootConfigMaps::Synced(Watched what) {
  const bool before = synced();
  watching_[static_cast<size_t>(what)] = {true, ""};
  return synced() && !before;
}

void RootConfigMaps::Trouble(Watched what, std::string why) {
  watching_[static_cast<size_t>(what)].trouble = std::move(why);
}

void RootConfigMaps::Want(const trust::BundleVersion& version, std::string pem,
                          absl::Duration now) {
  version_ = version;
  digest_ = DigestOf(pem);
  pem_ = std::move(pem);
  wanted_since_ = now;
  done_ = false;
  for (auto& [ns, place] : places_) place.upkeep.WantsOther();
}

RootConfigMaps::Next RootConfigMaps::Take(absl::Duration now) {
  Next next;
  if (writer_ != Writer::kUs || !synced() || version_.empty()) return next;
  const std::string* chosen = nullptr;
  bool creates = false;
  for (const auto& [ns, place] : places_) {
    if (!place.there || place.upkeep.writing() || Right(place)) continue;
    const absl::Duration due = std::max(place.upkeep.due(), paused_until_);
    if (due > now) {
      next.at = std::min(next.at, due);
    } else if (chosen == nullptr || (!creates && !place.map.has_value())) {
      chosen = &ns;
      creates = !place.map.has_value();
    }
    if (creates) break;
  }
  if (chosen == nullptr) return next;
  Place& place = places_.at(*chosen);
  next.at = absl::InfiniteDuration();
  next.write =
      Write{*chosen, creates ? "" : place.map->resource_version, pem_, place.upkeep.Begin(now)};
  return next;
}

void RootConfigMaps::Written(const std::string& ns, absl::Duration now) {
  server_failures_ = 0;
  server_error_.clear();
  const auto known = places_.find(ns);
  if (known == places_.end()) return;
  known->second.upkeep.Written(now);
  ForgetIfNothing(known);
}

RootConfigMaps::News RootConfigMaps::Failed(const std::string& ns, const absl::Status& why,
                                            absl::Duration now) {
  const auto known = places_.find(ns);
  if (known == places_.end()) return News::kNothing;
  const News news = NoteFailure(known->second, why, now);
  ForgetIfNothing(known);
  return news;
}

RootConfigMaps::News RootConfigMaps::NoteFailure(Place& place, const absl::Status& why,
                                                 absl::Duration now) {
  if (!IsOld(why) && !IsOfTheNamespace(why)) {
    place.upkeep.Ended();
    ++server_failures_;
    paused_until_ = now + std::max(BackOff(server_failures_, kLongestPause),
                                   RetryAfterOf(why).value_or(absl::ZeroDuration()));
    server_error_ = std::string(why.message());
    return server_failures_ == 1 ? News::kServerFails : News::kNothing;
  }
  server_failures_ = 0;
  server_error_.clear();
  const bool news = place.upkeep.Failed(why, now) && place.there;
  return news ? News::kNamespaceFails : News::kNothing;
}

// "": it does not lack it.
std::string RootConfigMaps::WhyLacking(const std::string& ns, const Place& place,
                                       absl::Duration now) const {
  if (!Holds(place)) {
    const std::string& error = place.upkeep.error().empty() ? server_error_ : place.upkeep.error();
    return absl::StrCat("the ConfigMap ", kRootConfigMap, " in ", ns, " does not hold bundle ",
                        version_.sequence, " yet: ",
                        writer_ == Writer::kIstiod ? "istiod has not written it"
                        : error.empty()            ? "it is being written"
                                                   : error);
  }
  if (place.original) return "";
  return WhyNotInPods(absl::StrCat("the ConfigMap ", kRootConfigMap, " in ", ns), version_.sequence,
                      now - place.since, propagation_);
}

std::vector<Holder> RootConfigMaps::Lacking(const trust::BundleVersion& bundle,
                                            absl::Duration now) const {
  constexpr char kAll[] = "config-maps";  // sorts behind each "config-map:…"
  std::vector<Holder> holders;
  const auto all = [&](auto... why) {
    holders.push_back({Holder::Kind::kBootstrap, kAll,
                       absl::StrCat("the ConfigMaps ", kRootConfigMap, " ", why...)});
    return holders;
  };
  if (!synced()) {
    return all("are not known yet: ",
               trouble().empty() ? "the API server has not told of all of them" : trouble());
  }
  if (version_.lineage != bundle.lineage || version_.sequence < bundle.sequence) {
    return all("are not written for bundle ", bundle.sequence, " yet");
  }
  for (const auto& [ns, place] : places_) {
    if (!place.there) continue;
    if (std::string why = WhyLacking(ns, place, now); !why.empty()) {
      holders.push_back(
          {Holder::Kind::kBootstrap, absl::StrCat("config-map:", ns), std::move(why)});
    }
  }
  return trouble().empty() ? holders : all("cannot be followed: ", trouble());
}

RootConfigMaps::Counts RootConfigMaps::Count() const {
  Counts counts;
  for (const auto& [ns, place] : places_) {
    if (!place.there) continue;
    ++(Right(place)                   ? counts.current
       : place.upkeep.error().empty() ? counts.behind
                                      : counts.failing);
  }
  return counts;
}

std::optional<RootConfigMaps::Done> RootConfigMaps::TakeDone(absl::Duration now) {
  if (done_ || !synced() || version_.empty()) return std::nullopt;
  const Counts counts = Count();
  if (counts.current != counts.all()) return std::nullopt;
  done_ = true;
  return Done{version_, counts.all(), now - wanted_since_};
}

}  // namespace capstan::cluster
