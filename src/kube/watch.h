// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/http_client.h"
#include "base/json.h"
#include "kube/client.h"
#include "kube/resource.h"

namespace capstan::kube {

// Follows the objects of a selection, on a thread of its own, through everything that ends a watch:
// its regular end, a server that restarts, a connection that is half dead, and changes so many that
// the server no longer keeps them (then it lists anew, and tells the difference).
class Watch {
 public:
  // Called on the watch's thread, one at a time. None may be missing.
  struct Handler {
    // The object as it is now: once at the start, then whenever it has changed. One that was
    // deleted and made again between two looks is told as gone first.
    std::function<void(const Json& object)> seen;
    std::function<void(const ObjectName& name)> gone;
    // Everything that is there has been told: after each list, and when trouble is over.
    std::function<void()> synced;
    // It cannot be followed for now, and what was told may be old; tried again by itself. That the
    // server no longer keeps the version to go on from is no trouble: it lists anew.
    std::function<void(const absl::Status& why)> trouble;
  };
  struct Options {
    absl::Duration first_retry = absl::Milliseconds(500);  // doubles up to
    absl::Duration last_retry = absl::Seconds(30);
    // The server is asked to end a watch after this (it does so by itself after half an hour or an
    // hour).
    absl::Duration length = absl::Minutes(8);
    // A server sends a bookmark about every minute: who is silent for this long is dead.
    absl::Duration silence = absl::Seconds(150);
  };

  // `client` and `clock` outlive it.
  Watch(Client& client, Clock& clock, Resource resource, Selection selection, Handler handler)
      : Watch(client, clock, resource, std::move(selection), std::move(handler), Options()) {}
  Watch(Client& client, Clock& clock, Resource resource, Selection selection, Handler handler,
        Options options);
  // Stops: no handler runs any more when it returns.
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  struct Version {
    std::string uid;
    std::string resource_version;
  };
  void Run();
  absl::Status List();
  absl::Status Follow();
  absl::Status TakeLine(std::string_view line);
  void See(const Json& object);
  void Lose(const ObjectName& name);
  // False: it stops.
  bool Wait(absl::Duration delay);
  bool stopping();

  Client& client_;
  Clock& clock_;
  const Resource resource_;
  const Selection selection_;
  const Handler handler_;
  const Options options_;
  HttpStream stream_;

  std::string version_;  // to go on from; "": list first
  bool troubled_ = false;
  std::map<ObjectName, Version> known_;

  // Not absl's: its timed waits follow the wall clock.
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;  // under mutex_
  std::thread thread_;
};

}  // namespace capstan::kube
