// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/state_files.h"
#include "base/random.h"
#include "lifecycle/accept_trust.h"
#include "x509/key.h"

namespace capstan::agent {

// The folder an agent survives its restarts by; mode 0700, one agent at a time. Files: lock,
// instance, membership.json, bundle.json, credential.pem, credential.key and credential.next.key
// (0600). Each is replaced atomically.
//
// Load…() give nullopt where there is no such file, and name the file in errors.
class StateDirectory {
 public:
  // Makes it where it is missing. Unavailable: another agent holds it.
  static absl::StatusOr<std::unique_ptr<StateDirectory>> Open(const std::string& path);
  ~StateDirectory();
  StateDirectory(const StateDirectory&) = delete;
  StateDirectory& operator=(const StateDirectory&) = delete;

  const std::string& path() const { return path_; }

  // What names this instance of the identity; made at the first call.
  absl::StatusOr<std::string> Instance(Random& random);

  absl::StatusOr<std::optional<Membership>> LoadMembership() const;
  absl::Status Save(const Membership& membership);

  absl::StatusOr<std::optional<lifecycle::Trust>> LoadTrust() const;
  absl::Status Save(const lifecycle::Trust& trust);

  // The key of a request whose outcome nobody knew when the agent ended.
  absl::StatusOr<std::optional<x509::PrivateKey>> LoadPendingKey() const;
  absl::Status SavePendingKey(const x509::PrivateKey& key);

  // Key and certificate are two files: the new key waits as credential.next.key, so that at every
  // moment one of the two keys is the stored certificate's.
  absl::StatusOr<std::optional<Credential>> LoadCredential() const;
  absl::Status Save(const Credential& credential);

 private:
  StateDirectory(std::string path, int lock_fd) : path_(std::move(path)), lock_fd_(lock_fd) {}
  std::string File(const char* name) const;

  const std::string path_;
  const int lock_fd_;
};

}  // namespace capstan::agent
