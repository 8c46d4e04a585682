// SPDX-License-Identifier: Apache-2.0
#include "sim/checker.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rotation/machine.h"
#include "sim/paper.h"

namespace capstan::sim {
namespace {

// A renewal that is put off, refused or lost is tried again well within this.
constexpr absl::Duration kLongEnough = absl::Minutes(15);
// The budget is measured over this.
constexpr absl::Duration kSpan = absl::Seconds(10);

std::string NameOfRoot(int root) {
  return NameOf(1U << root);
}

}  // namespace

void Checker::Fail(std::string_view checker, std::string text) {
  if (violation_.has_value()) return;
  violation_ = {std::string(checker), std::move(text), world_.now()};
  world_.Stop();
}

void Checker::Count(const Live& live, int64_t by) {
  census_.live += by;
  for (int root = 0; root < kRoots; ++root) {
    if (Holds(live.trusts, root)) census_.trusting[root] += by;
  }
  census_.showing[live.shows] += by;
}

void Checker::Ended(int64_t workload, const Known& known) {
  if (world_.now() - known.since <= rotation::kBlink) return;
  for (int root = 0; root < kRoots; ++root) {
    if (Holds(known.live.trusts, root)) continue;
    lacked_[root] = world_.now();
    last_lacking_[root] = workload;
  }
  shown_[known.live.shows] = world_.now();
}

void Checker::Proxy(int64_t workload, std::optional<Live> live) {
  if (exempt_.contains(workload)) return;
  const auto found = proxies_.find(workload);
  if (found != proxies_.end()) {
    if (live.has_value() && *live == found->second.live) return;
    Count(found->second.live, -1);
    Ended(workload, found->second);
    proxies_.erase(found);
  }
  if (!live.has_value()) return;
  if (live->trusts == 0) Fail("empty", absl::StrCat("workload ", workload, " trusts nobody"));
  Count(*live, 1);
  proxies_[workload] = {*live, world_.now()};
  world_.Note("proxy", workload, live->trusts * 8 + live->shows);
  CheckPeers(workload);
}

void Checker::CheckPeers(int64_t workload) {
  for (int root = 0; root < kRoots; ++root) {
    const int64_t lacking = census_.live - census_.trusting[root];
    if (census_.showing[root] == 0 || lacking == 0) continue;
    const Live& mine = proxies_.at(workload).live;
    Fail("peers", absl::StrCat(census_.showing[root], " live workloads show leaves under ",
                               NameOfRoot(root), ", and ", lacking,
                               " live workloads do not trust it; the last to change was workload ",
                               workload, ", which trusts ", NameOf(mine.trusts), " and shows ",
                               NameOfRoot(mine.shows)));
  }
}

void Checker::Agent(int64_t workload, std::optional<Roots> trusts, absl::Duration until) {
  agents_.erase(workload);
  if (trusts.has_value() && !exempt_.contains(workload)) agents_[workload] = {*trusts, until};
}

void Checker::Exempt(int64_t workload) {
  if (!exempt_.insert(workload).second) return;
  if (const auto found = proxies_.find(workload); found != proxies_.end()) {
    Count(found->second.live, -1);
    proxies_.erase(found);
  }
  agents_.erase(workload);
  world_.Note("exempt", workload);
}

void Checker::Published(const trust::TrustState& trust, const store::TrustRecord& durable) {
  const Roots now = RootsOf(trust.bundle);
  world_.Note("published", now, trust.issuer_epoch);
  if (durable.version != trust.version || durable.issuer_epoch != trust.issuer_epoch ||
      (trust.issuer_epoch > 0 && durable.issuer != trust.issuer.hex())) {
    Fail("journal",
         absl::StrCat("bundle ", trust.version.sequence, " of ", NameOf(now), " signed by ",
                      NameOfAuthority(trust.issuer.hex()), " is published;",
                      " the store has bundle ", durable.version.sequence, " signed by ",
                      NameOfAuthority(durable.issuer)));
  }
  if (now == 0) Fail("empty", "an empty bundle was published");
  const std::optional<trust::TrustState> before = std::exchange(published_, trust);
  if (!before.has_value()) return;
  const Roots then = RootsOf(before->bundle);
  const bool added = (now & ~then) != 0;
  const bool removed = (then & ~now) != 0;
  const bool switched = trust.issuer != before->issuer && before->issuer_epoch > 0;
  if (added + removed + switched > 1) {
    Fail("steps", absl::StrCat("from ", NameOf(then), " signed by ",
                               NameOfAuthority(before->issuer.hex()), " to ", NameOf(now),
                               " signed by ", NameOfAuthority(trust.issuer.hex()), " at once"));
  }
  if (trust.version.sequence < before->version.sequence ||
      trust.issuer_epoch < before->issuer_epoch) {
    Fail("steps", "the bundle's sequence or the issuer's epoch went back");
  }
  // Who was passed over may come back for a moment.
  const absl::Duration soaked = options_.absent_deadline == absl::InfiniteDuration()
                                    ? options_.soak - absl::Seconds(1)
                                    : -absl::InfiniteDuration();
  if (switched) {
    const int root = RootOf(trust.issuer.hex());
    if (census_.trusting[root] < census_.live) {
      Fail("switch", absl::StrCat("the issuer switched to ", NameOfAuthority(trust.issuer.hex()),
                                  ", whose root ", census_.live - census_.trusting[root],
                                  " live workloads do not trust"));
    } else if (world_.now() - lacked_[root] < soaked) {
      Fail("soak",
           absl::StrCat("the issuer switched to ", NameOfAuthority(trust.issuer.hex()), " ",
                        absl::FormatDuration(world_.now() - lacked_[root]), " after workload ",
                        last_lacking_[root], " last lacked its root; the soak is ",
                        absl::FormatDuration(options_.soak)));
    }
  }
  for (int root = 0; root < kRoots; ++root) {
    if (!Holds(then, root) || Holds(now, root)) continue;
    if (census_.showing[root] > 0) {
      Fail("needed", absl::StrCat(NameOfRoot(root), " left while ", census_.showing[root],
                                  " live workloads show leaves under it"));
    }
    if (world_.now() - shown_[root] < soaked) {
      Fail("soak", absl::StrCat(NameOfRoot(root), " left ",
                                absl::FormatDuration(world_.now() - shown_[root]),
                                " after a live workload last showed a leaf under it; the soak is ",
                                absl::FormatDuration(options_.soak)));
    }
  }
}

void Checker::Serving(int root) {
  for (const auto& [workload, caller] : agents_) {
    if (Holds(caller.trusts, root) || caller.until <= world_.now()) continue;
    return Fail("serving", absl::StrCat("the control plane's own certificate moved under ",
                                        NameOfRoot(root), ", and the agent of workload ", workload,
                                        " trusts ", NameOf(caller.trusts)));
  }
}

void Checker::Finished(const std::string& outcome) {
  world_.Note("finished", static_cast<int64_t>(outcome.size()));
  const Roots last = RootsOf(published_->bundle);
  for (const auto& [workload, known] : proxies_) {
    const Live& live = known.live;
    if (live.trusts == last) continue;
    return Fail("done",
                absl::StrCat("the rotation is ", outcome, ", and workload ", workload,
                             " still trusts ", NameOf(live.trusts), ", not ", NameOf(last)));
  }
}

void Checker::Granted() {
  if (options_.issue_per_second <= 0) return;
  signed_.push_back(world_.now());
  while (signed_.front() <= world_.now() - kSpan) signed_.pop_front();
  // Admission's promise, and clocks that run a little fast.
  const double most = options_.issue_per_second * (absl::ToDoubleSeconds(kSpan) + 0.25) * 1.001 + 3;
  if (static_cast<double>(signed_.size()) <= most) return;
  Fail("budget", absl::StrCat(signed_.size(), " certificates in ", absl::FormatDuration(kSpan),
                              "; the budget is ", options_.issue_per_second, " per second"));
}

void Checker::Sent(std::string_view message) {
  for (const std::string_view secret :
       {std::string_view("PRIVATE KEY"), std::string_view(kPaperKey)}) {
    if (message.find(secret) == std::string_view::npos) continue;
    return Fail("keys",
                absl::StrCat("a message between machines holds \"", std::string(secret), "\""));
  }
}

void Checker::Disturbed(int64_t workload, absl::Duration until) {
  absl::Duration& end = disturbed_[workload];
  end = std::max(end, until);
}

void Checker::DisturbedAll(absl::Duration until) {
  disturbed_all_ = std::max(disturbed_all_, until);
}

void Checker::Lapsed(int64_t workload) {
  world_.Note("lapsed", workload);
  ++lapsed_;
  if (exempt_.contains(workload)) return;
  const auto found = disturbed_.find(workload);
  const absl::Duration well_since =
      std::max(disturbed_all_, found == disturbed_.end() ? absl::ZeroDuration() : found->second);
  if (world_.now() - well_since < kLongEnough) return;
  Fail("lapse", absl::StrCat("the leaf of workload ", workload,
                             " expired; nothing had kept it from being renewed for ",
                             absl::FormatDuration(world_.now() - well_since)));
}

}  // namespace capstan::sim
