// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/executor.h"
#include "capstan/fleet/v1/fleet.pb.h"
#include "x509/certificate.h"

namespace grpc {
class Channel;
}

namespace capstan::rpc {

// An agent's end of the trust stream: keeps one open, hands on what comes down, sends up the latest
// report. Used from tasks of the executor, on which the callbacks run as well.
class TrustClient {
 public:
  struct Options {
    std::string instance;
    std::string program_version;
    // Reports are coalesced to one in this time, and the latest is repeated as a sign of life.
    absl::Duration report_spacing = absl::Milliseconds(200);
    absl::Duration heartbeat = absl::Seconds(30);
  };
  struct Callbacks {
    // What the agent holds now, for the Hello of a new stream.
    std::function<fleet::v1::BundleVersion()> held;
    // A report of this moment; asked for when one is about to be sent.
    std::function<fleet::v1::Report()> report;
    // The full state, each time; at most one is waiting, the sender is held back by flow control.
    std::function<void(const fleet::v1::TrustUpdate&)> update;
    // The stream carried its first update.
    std::function<void()> connected;
    // It ended, or could not be opened. It is tried again after StreamRetry(), on the channel of
    // then.
    std::function<void(const absl::Status&, absl::Duration retry_in)> ended;
  };

  TrustClient(Executor& executor, Clock& clock, Options options, Callbacks callbacks);
  // Ends the stream and waits until gRPC is done with it. No callback runs afterwards.
  ~TrustClient();

  // Opens the stream on `channel`, in place of the one before.
  void Connect(std::shared_ptr<grpc::Channel> channel);
  // For the next time the stream has to be opened; a living one goes on where it is.
  void UseNext(std::shared_ptr<grpc::Channel> channel) { channel_ = std::move(channel); }
  // There is something new to report.
  void ReportSoon();
  bool connected() const { return connected_; }
  // What the server showed when the stream's connection was made, leaf first; empty: the stream is
  // not connected.
  std::vector<x509::Certificate> ServerChain() const;

 private:
  class Stream;
  class Live;

  void Open();
  void Drop();
  void OnUpdate(const fleet::v1::TrustUpdate& update);
  void OnEnded(const absl::Status& status);
  void OnWritten();
  void SendReport();

  Executor& executor_;
  Clock& clock_;
  const Options options_;
  const Callbacks callbacks_;
  std::shared_ptr<grpc::Channel> channel_;
  std::shared_ptr<Live> live_;
  Stream* stream_ = nullptr;  // owns itself until gRPC is done with it
  bool connected_ = false;
  bool unsent_ = false;  // a report waits for the message before it
  int ended_ = 0;        // streams, since the last update
  absl::Duration last_report_ = -absl::InfiniteDuration();
  Timer retry_;
  Timer report_;
};

}  // namespace capstan::rpc
