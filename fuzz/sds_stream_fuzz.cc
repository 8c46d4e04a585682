// SPDX-License-Identifier: Apache-2.0
// The SDS machines under any order of events and any request: total, at most one response under way
// per stream, nonces never used twice, nothing sent to a stream that was ended, and both secrets or
// none acknowledged.
#include <cstdint>
#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "sds/registry.h"

namespace {

using namespace capstan::sds;

void Require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

// The input as a program: one byte says what happens, further ones with what.
class Program {
 public:
  Program(const uint8_t* data, size_t size) : data_(data), end_(data + size) {}
  bool empty() const { return data_ == end_; }
  uint8_t Byte() { return empty() ? 0 : *data_++; }
  std::string Text() {
    std::string text;
    for (size_t left = Byte() % 16; left > 0 && !empty(); --left) {
      text.push_back(static_cast<char>(Byte()));
    }
    return text;
  }

 private:
  const uint8_t* data_;
  const uint8_t* end_;
};

struct Client {
  bool writing = false;
  std::set<std::string> nonces;
  std::string last_nonce;
};

class Machine {
 public:
  explicit Machine(const uint8_t* data, size_t size)
      : program_(data, size), id_(*capstan::spiffe::SpiffeId::Parse("spiffe://td/ns/a/sa/b")) {}

  void Run() {
    while (!program_.empty()) {
      Step();
      for (const ConsumerReport& report : registry_.Reports()) {
        Require(report.acknowledged_bundle.empty() == report.acknowledged_leaf_serial.empty());
        Require(report.acknowledged_bundle.empty() || report.connected);
      }
    }
  }

 private:
  void Step() {
    const uint8_t what = program_.Byte();
    const StreamId stream = what >> 4;
    switch (what % 8) {
      case 0:
        Open(stream);
        return;
      case 1:
      case 2:
      case 3:
        if (clients_.contains(stream)) {
          Perform(registry_.Requested(stream, AnyRequest(clients_[stream]), now_));
        }
        return;
      case 4:
        if (clients_.contains(stream) && clients_[stream].writing) {
          clients_[stream].writing = false;
          Perform(registry_.Written(stream, now_));
        }
        return;
      case 5:
        if (clients_.erase(stream) > 0) {
          Perform(registry_.Closed(stream, now_));
        }
        return;
      case 6:
        Publish();
        return;
      default:
        now_.monotonic += absl::Seconds(program_.Byte());
        now_.wall += absl::Seconds(program_.Byte());
        Perform(registry_.Woken(now_));
        Require(!registry_.wake_at().has_value() || *registry_.wake_at() > now_.monotonic);
    }
  }

  void Open(StreamId stream) {
    if (clients_.contains(stream)) {
      return;
    }
    const uint8_t how = program_.Byte();
    clients_[stream] = Client{};
    const Peer peer{.pid = how % 4, .started = 1, .connection = static_cast<uint64_t>(how) >> 6};
    Perform(registry_.Opened(stream, how & 32 ? Front::kDelta : Front::kStateOfTheWorld, peer,
                             absl::StrCat("t", ++tags_), now_));
  }

  Request AnyRequest(const Client& client) {
    const uint8_t shape = program_.Byte();
    Request request;
    if (shape & 1) {
      request.node_id = shape & 2 ? "node" : program_.Text();
    }
    if (shape & 4) {
      request.type_url = shape & 8 ? std::string(kSecretType) : program_.Text();
    }
    request.nonce = shape & 16 ? client.last_nonce : program_.Text();
    if (shape & 32) {
      request.error = program_.Text();
    }
    request.held_version = shape & 64 ? "t1.1" : "";
    for (size_t left = program_.Byte() % 6; left > 0; --left) {
      request.names.push_back(AnyName());
    }
    if (shape & 128) {
      request.unsubscribe.push_back(AnyName());
    }
    return request;
  }

  std::string AnyName() {
    switch (program_.Byte() % 6) {
      case 0:
        return "default";
      case 1:
        return "ROOTCA";
      case 2:
        return id_.ToString();
      case 3:
        return id_.trust_domain().IdString();
      case 4:
        return "*";
      default:
        return program_.Text();
    }
  }

  void Publish() {
    const uint8_t what = program_.Byte();
    auto material = std::make_shared<Material>(Material{.id = id_});
    material->bundle_version = {"lineage", ++sequence_};
    material->roots_pem = absl::StrCat("roots ", what & 3);
    if (what & 4) {
      material->chain_pem = absl::StrCat("chain ", what >> 3);
      material->leaf_serial = absl::StrCat("leaf ", what >> 3);
    }
    Perform(registry_.Published(std::move(material), now_));
  }

  void Perform(const Actions& actions) {
    for (const Actions::Send& send : actions.sends) {
      Require(clients_.contains(send.stream));
      Client& client = clients_[send.stream];
      Require(!client.writing);
      client.writing = true;
      Require(client.nonces.insert(send.response.nonce).second);
      client.last_nonce = send.response.nonce;
      Require(!send.response.resources.empty() || !send.response.removed.empty());
      Require(!send.why.empty());
    }
    for (const Actions::End& end : actions.ends) {
      Require(!end.status.ok());
      Require(clients_.erase(end.stream) == 1);
    }
  }

  Program program_;
  const capstan::spiffe::SpiffeId id_;
  Registry registry_{Config{.id = id_}};
  std::map<StreamId, Client> clients_;
  Moment now_{absl::UnixEpoch(), absl::Hours(1)};
  int64_t sequence_ = 0;
  int tags_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Machine(data, size).Run();
  return 0;
}
