// SPDX-License-Identifier: Apache-2.0
// What goes into the SDS machines and what comes out of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "sds/edition.h"
#include "spiffe/spiffe_id.h"

namespace capstan::sds {

inline constexpr std::string_view kSecretType =
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

// When an event happened: `wall` is what reports say, `monotonic` what back-off and deadlines
// count.
struct Moment {
  absl::Time wall;
  absl::Duration monotonic;
};

using StreamId = uint64_t;

// The two ways to speak of the same names: state of the world (StreamSecrets), or delta
// (DeltaSecrets).
enum class Front { kStateOfTheWorld, kDelta };

// Who is at the other end, as the kernel says. A process is known by its id and start; without an
// id (another pid namespace) by its connection.
struct Peer {
  int64_t pid = 0;  // 0: unknown
  uint64_t started = 0;
  uint64_t connection = 0;
};

// One message of a client, of either front.
struct Request {
  std::optional<std::string> node_id;  // nullopt: the message carries no node
  std::string type_url;
  std::string nonce;
  std::optional<std::string>
      error;                       // present: the response of that nonce is refused, with this text
  std::vector<std::string> names;  // state of the world: the whole list; delta: what is added
  std::vector<std::string> unsubscribe;  // delta only
  std::string held_version;  // of what it accepted last, as it says; empty: it holds nothing
};

struct Resource {
  std::string name;
  Edition edition;
};

struct Response {
  std::string nonce;
  std::string version;
  std::vector<Resource> resources;
  std::vector<std::string> removed;  // delta only
};

// What a machine wants done. The driver performs it in order; nothing else happens.
struct Actions {
  struct Send {
    StreamId stream = 0;
    Response response;
    std::string why;
  };
  struct End {
    StreamId stream = 0;
    absl::Status status;
  };
  struct Note {
    enum class Level { kInfo, kWarn } level = Level::kInfo;
    std::string consumer;
    std::string text;
  };
  std::vector<Send> sends;
  std::vector<End> ends;
  std::vector<Note> notes;
};

struct Limits {
  size_t streams = 1024;
  size_t streams_per_consumer = 128;
  size_t names_per_stream = 128;
  size_t name_bytes = 4096;  // a SPIFFE ID has at most 2048, a file-cert: name two paths
  size_t node_id_bytes = 1024;
  size_t error_bytes = 1024;  // kept of a refusal's text
  size_t consumers = 256;     // remembered, those that left included
};

struct Config {
  spiffe::SpiffeId id;
  // After a refusal both secrets are sent again in new bytes: at first this long after it, doubled
  // at each further refusal.
  absl::Duration first_retry = absl::Seconds(1);
  absl::Duration longest_retry = absl::Minutes(1);
  // A leaf waits for its trust no longer than this: a leaf that expires meanwhile is worse.
  absl::Duration hold_leaf = absl::Seconds(10);
  // A name whose stream ended is expected back for this long (Envoy's own reconnection back-off is
  // at most 30 seconds); until then nothing counts without it.
  absl::Duration expect_back = absl::Minutes(1);
  absl::Duration forget = absl::Minutes(5);  // a consumer that left
  Limits limits;
};

}  // namespace capstan::sds
