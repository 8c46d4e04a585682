// SPDX-License-Identifier: Apache-2.0
#include "server/directory_watcher.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "server/ca_directory.h"

namespace capstan::server {
namespace {

constexpr uint32_t kEvents = IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_MOVED_FROM | IN_CLOSE_WRITE |
                             IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
constexpr absl::Duration kReloadWithin = absl::Seconds(10);

}  // namespace

DirectoryWatcher::DirectoryWatcher(const std::string& path, Settler::Options options, Clock& clock,
                                   Offer offer)
    : directory_(path),
      clock_(clock),
      offer_(std::move(offer)),
      inotify_(inotify_init1(IN_NONBLOCK | IN_CLOEXEC)),
      wake_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
      settler_(options, clock.Monotonic()) {
  if (inotify_ < 0) {
    log::Warn("the CA directory is looked at regularly only: the system gives no events",
              {{"why", ErrnoError(errno, "inotify").message()},
               {"every", absl::FormatDuration(options.rescan)}});
  }
  log::Info(absl::StrCat("Added cacerts files watcher at ", directory_.name()));
  thread_ = std::thread([this] { Run(); });
}

DirectoryWatcher::~DirectoryWatcher() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  Wake();
  thread_.join();
  Answer(absl::UnavailableError("capstand is shutting down"));
  if (inotify_ >= 0) close(inotify_);
  if (wake_ >= 0) close(wake_);
}

absl::StatusOr<Outcome> DirectoryWatcher::ReloadNow() {
  auto promise = std::make_shared<std::promise<absl::StatusOr<Outcome>>>();
  std::future<absl::StatusOr<Outcome>> future = promise->get_future();
  {
    absl::MutexLock lock(&mutex_);
    if (stopping_) return absl::UnavailableError("capstand is shutting down");
    waiting_.push_back(promise);
    forced_ = true;
  }
  Wake();
  if (future.wait_for(absl::ToChronoSeconds(kReloadWithin)) != std::future_status::ready) {
    return absl::UnavailableError(absl::StrCat(
        "the files in ", directory_.name(), " keep changing; the reload follows when they rest"));
  }
  return future.get();
}

void DirectoryWatcher::Wake() {
  const uint64_t one = 1;
  (void)!write(wake_, &one, sizeof(one));
}

void DirectoryWatcher::Run() {
  Rewatch();
  while (true) {
    const absl::Duration now = clock_.Monotonic();
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) return;
      if (std::exchange(forced_, false)) settler_.Force(now);
    }
    if (settler_.due() > now) {
      WaitForEvents(settler_.due() - now);
    } else {
      Look();
    }
  }
}

void DirectoryWatcher::WaitForEvents(absl::Duration timeout) {
  pollfd fds[2] = {{wake_, POLLIN, 0}, {inotify_, POLLIN, 0}};
  const int64_t milliseconds =
      std::clamp<int64_t>(absl::ToInt64Milliseconds(timeout) + 1, 1, 60'000);
  if (poll(fds, inotify_ < 0 ? 1 : 2, static_cast<int>(milliseconds)) <= 0) return;
  if (uint64_t woken = 0; fds[0].revents != 0) (void)!read(wake_, &woken, sizeof(woken));
  if (inotify_ >= 0 && fds[1].revents != 0 && ReadEvents()) settler_.Touched(clock_.Monotonic());
}

// True: something happened that may concern the CA files. What, does not matter: the look that
// follows reads everything. Their folders may be anybody's, and are full of other news.
bool DirectoryWatcher::ReadEvents() {
  bool concerned = false;
  char buffer[4096] __attribute__((aligned(__alignof__(inotify_event))));
  while (true) {
    const ssize_t length = read(inotify_, buffer, sizeof(buffer));
    if (length <= 0) return concerned;
    for (ssize_t at = 0; at < length;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer + at);
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
      const auto watch = watches_.find(event->wd);
      concerned |=
          (event->mask & IN_Q_OVERFLOW) != 0 ||
          (watch != watches_.end() && (event->len == 0 || watch->second.contains(event->name)));
    }
  }
}

void DirectoryWatcher::Look() {
  // Before reading: what changes from here on wakes us again.
  Rewatch();
  absl::StatusOr<trust::CaFiles> files = directory_.Read();
  const std::string digest = files.ok() ? DigestOf(*files) : files.status().ToString();
  if (!settler_.Looked(clock_.Monotonic(), digest)) return;
  absl::StatusOr<Outcome> outcome = offer_(files);
  settler_.Offered(clock_.Monotonic(), outcome.ok());
  Answer(outcome);
}

void DirectoryWatcher::Answer(const absl::StatusOr<Outcome>& outcome) {
  std::vector<std::shared_ptr<std::promise<absl::StatusOr<Outcome>>>> waiting;
  {
    absl::MutexLock lock(&mutex_);
    // Who asked after this look began is answered by the next.
    if (forced_ && !stopping_) return;
    waiting.swap(waiting_);
  }
  for (auto& promise : waiting) promise->set_value(outcome);
}

void DirectoryWatcher::Rewatch() {
  if (inotify_ < 0) return;
  std::map<int, std::set<std::string>> watches;
  for (const auto& [folder, names] : WatchPointsOf(directory_.name())) {
    const int watch = inotify_add_watch(inotify_, folder.c_str(), kEvents);
    // Two paths may lead to one folder.
    if (watch >= 0) watches[watch].insert(names.begin(), names.end());
  }
  for (const auto& [old, names] : watches_) {
    if (!watches.contains(old)) inotify_rm_watch(inotify_, old);
  }
  watches_ = std::move(watches);
}

}  // namespace capstan::server
