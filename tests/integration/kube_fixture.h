// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/strings.h"
#include "kube/client.h"

namespace capstan::kube {

// Forwards connections to another port, until it is told to forget about that.
class Relay {
 public:
  explicit Relay(int to) : to_(to), listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address = Loopback(0);
    socklen_t length = sizeof(address);
    EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), length), 0);
    EXPECT_EQ(listen(listener_, 16), 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Run(); });
  }
  ~Relay() {
    stop_ = true;
    thread_.join();
    for (const auto& [a, b] : pairs_) close(a), close(b);
    close(listener_);
  }
  int port() const { return port_; }
  int accepted() const { return accepted_; }
  // What is open stays open and nothing passes any more; new connections work.
  void Freeze() { Do(Order::kFreeze); }
  void Cut() { Do(Order::kCut); }

 private:
  enum class Order { kNone, kFreeze, kCut };
  // Returns once it is done: nothing that follows passes by it.
  void Do(Order order) {
    order_ = order;
    order_.wait(order);
  }
  static sockaddr_in Loopback(int port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    return address;
  }
  static bool Pass(int from, int to) {
    char bytes[16384];
    const ssize_t got = recv(from, bytes, sizeof(bytes), 0);
    return got > 0 && send(to, bytes, static_cast<size_t>(got), MSG_NOSIGNAL) == got;
  }
  void Accept() {
    const int in = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    const int out = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = Loopback(to_);
    EXPECT_EQ(connect(out, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    pairs_.emplace_back(in, out);
    ++accepted_;
  }
  void Run() {
    std::set<int> frozen;
    while (!stop_) {
      const Order order = order_;
      if (order == Order::kFreeze) {
        for (const auto& [a, b] : pairs_) frozen.insert({a, b});
      }
      std::vector<pollfd> fds = {{listener_, POLLIN, 0}};
      std::erase_if(pairs_, [cut = order == Order::kCut](const auto& pair) {
        if (cut) close(pair.first), close(pair.second);
        return cut;
      });
      if (order != Order::kNone) {
        order_ = Order::kNone;
        order_.notify_all();
      }
      for (const auto& [a, b] : pairs_) {
        if (frozen.contains(a)) continue;
        fds.push_back({a, POLLIN, 0});
        fds.push_back({b, POLLIN, 0});
      }
      if (poll(fds.data(), fds.size(), 20) <= 0) continue;
      for (size_t i = 1; i + 1 < fds.size(); i += 2) {
        const int a = fds[i].fd, b = fds[i + 1].fd;
        if ((fds[i].revents == 0 || Pass(a, b)) && (fds[i + 1].revents == 0 || Pass(b, a))) {
          continue;
        }
        close(a), close(b);
        std::erase(pairs_, std::pair(a, b));
      }
      if (fds[0].revents != 0) Accept();
    }
  }

  const int to_;
  const int listener_;
  int port_ = 0;
  std::vector<std::pair<int, int>> pairs_;
  std::atomic<int> accepted_ = 0;
  std::atomic<bool> stop_ = false;
  std::atomic<Order> order_ = Order::kNone;
  std::thread thread_;
};

// A namespace of its own on the API server that KUBECONFIG names, which `kubelite up` has started.
class KubeFixture : public ::testing::Test {
 protected:
  KubeFixture() : client_(MustRead(), RealClock(), Fast()), ns_(MakeNamespace()) {}
  ~KubeFixture() override { client_.Delete(kNamespaces, {"", ns_}).IgnoreError(); }

  static Access MustRead() {
    const char* path = std::getenv("KUBECONFIG");
    auto access = ReadKubeconfig(path == nullptr ? "" : path);
    EXPECT_TRUE(access.ok()) << access.status();
    return access.value_or(Access());
  }
  static Client::Options Fast() {
    Client::Options options;
    options.per_second = 10'000;
    options.burst = 1000;
    return options;
  }
  std::string MakeNamespace() {
    const auto made = client_.Create(kNamespaces, {}, {{"metadata", {{"generateName", "t-"}}}});
    EXPECT_TRUE(made.ok()) << made.status();
    return made.ok() ? NameOf(*made).name : "";
  }
  // The same server behind a relay.
  Access Through(const Relay& relay) const {
    Access access = client_.access();
    access.server = absl::StrCat("https://127.0.0.1:", relay.port());
    return access;
  }
  int ServerPort() const {
    const std::string& server = client_.access().server;
    int port = 0;
    EXPECT_TRUE(absl::SimpleAtoi(server.substr(server.rfind(':') + 1), &port));
    return port;
  }
  Secret TokenOf(const std::string& account, const std::string& audience,
                 const Json& bound_to = nullptr) {
    Json request = {{"spec", {{"audiences", {audience}}, {"expirationSeconds", 600}}}};
    if (!bound_to.is_null()) request["spec"]["boundObjectRef"] = bound_to;
    const auto made = client_.Create(kServiceAccounts, {ns_, account}, request, "token");
    EXPECT_TRUE(made.ok()) << made.status();
    return Secret(made.ok() ? (*made)["status"]["token"].get<std::string>() : "");
  }

  Client client_;
  const std::string ns_;
};

}  // namespace capstan::kube
