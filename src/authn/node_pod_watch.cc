// SPDX-License-Identifier: Apache-2.0
#include "authn/node_pod_watch.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace capstan::authn {
namespace {

// Pods are large, and of a page each is read whole before the little that matters is kept.
kube::Client::Options InSmallPages() {
  kube::Client::Options options;
  options.page = 100;
  return options;
}

// Those that nothing runs of need not be told.
kube::Selection Running() {
  return {"", "", "spec.nodeName!=,status.phase!=Succeeded,status.phase!=Failed"};
}

}  // namespace

NodePodWatch::NodePodWatch(std::string cluster, kube::Access access, Clock& clock, Options options)
    : cluster_(std::move(cluster)),
      clock_(clock),
      options_(options),
      client_(std::move(access), clock, InSmallPages()),
      loop_(clock),
      watch_(client_, clock, kube::kPods, Running(), Handler()) {}

NodePodWatch::~NodePodWatch() {
  Stop();
  loop_.Stop();
}

kube::Watch::Handler NodePodWatch::Handler() {
  return {
      [this](const Json& object) {
        const std::optional<NodePods::Pod> pod = NodePodOf(object);
        MutexLock lock(mutex_);
        pod.has_value() ? pods_.Seen(*pod) : pods_.Gone(kube::NameOf(object));
        RecheckSoon();
      },
      [this](const kube::ObjectName& name) {
        MutexLock lock(mutex_);
        pods_.Gone(name);
      },
      [this] { Synced(); },
      [this](const absl::Status& why) { Trouble(why); },
  };
}

void NodePodWatch::Ask(const NodePods::Question& question, const Done& done) {
  absl::Status answer;
  {
    MutexLock lock(mutex_);
    answer = Judge(question);
    if (!answer.ok() && !stopping_ && waiting_.size() < options_.most_waiting) {
      waiting_[++last_] = {question, done};
      loop_.After(options_.patience, [this, id = last_] { GiveUp(id); });
      return;
    }
  }
  done(answer);
}

absl::Status NodePodWatch::Judge(const NodePods::Question& question) {
  if (stopping_) return absl::UnavailableError("capstand is stopping");
  const absl::Status answer = pods_.Check(question, clock_.Now());
  const bool old =
      troubled_since_.has_value() && clock_.Monotonic() - *troubled_since_ > options_.stale;
  if (known_ && !old && answer.ok()) return answer;
  if (known_ && !troubled_since_.has_value()) return absl::UnauthenticatedError(answer.message());
  // What is missing may have come meanwhile.
  return absl::UnavailableError(
      absl::StrCat("the pods of cluster \"", cluster_, "\" are not known now: ", trouble_));
}

void NodePodWatch::RecheckSoon() {
  if (waiting_.empty() || rechecking_) return;
  rechecking_ = true;
  loop_.Post([this] { Recheck(); });
}

void NodePodWatch::Recheck() {
  std::vector<Done> answered;
  {
    MutexLock lock(mutex_);
    rechecking_ = false;
    for (auto waiting = waiting_.begin(); waiting != waiting_.end();) {
      if (Judge(waiting->second.question).ok()) {
        answered.push_back(std::move(waiting->second.done));
        waiting = waiting_.erase(waiting);
      } else {
        ++waiting;
      }
    }
  }
  for (const Done& done : answered) done(absl::OkStatus());
}

void NodePodWatch::GiveUp(uint64_t id) {
  Done done;
  absl::Status answer;
  {
    MutexLock lock(mutex_);
    const auto waiting = waiting_.find(id);
    if (waiting == waiting_.end()) return;
    answer = Judge(waiting->second.question);
    done = std::move(waiting->second.done);
    waiting_.erase(waiting);
  }
  done(answer);
}

void NodePodWatch::Stop() {
  std::map<uint64_t, Waiting> waiting;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    waiting.swap(waiting_);
  }
  for (const auto& [id, who] : waiting) {
    who.done(absl::UnavailableError("capstand is stopping"));
  }
}

void NodePodWatch::Synced() {
  bool first = false;
  bool troubled = false;
  size_t pods = 0;
  {
    MutexLock lock(mutex_);
    first = !std::exchange(known_, true);
    troubled = std::exchange(troubled_since_, std::nullopt).has_value();
    pods = pods_.size();
    RecheckSoon();
  }
  if (first || troubled) {
    log::Info(first ? "pods are followed" : "pods are followed again",
              {{"cluster", cluster_}, {"pods", pods}});
  }
}

void NodePodWatch::Trouble(const absl::Status& why) {
  {
    MutexLock lock(mutex_);
    trouble_ = std::string(why.message());
    if (troubled_since_.has_value()) return;
    troubled_since_ = clock_.Monotonic();
  }
  log::Warn("pods cannot be followed; trying again. Without it node proxies get no certificates",
            {{"cluster", cluster_}, {"why", why.message()}});
}

}  // namespace capstan::authn
