// SPDX-License-Identifier: Apache-2.0
#include "agent/state_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/files.h"
#include "base/status.h"

namespace capstan::agent {
namespace {

constexpr char kLock[] = "lock";
constexpr char kInstance[] = "instance";
constexpr char kMembership[] = "membership.json";
constexpr char kTrust[] = "bundle.json";
constexpr char kChain[] = "credential.pem";
constexpr char kKey[] = "credential.key";
constexpr char kNextKey[] = "credential.next.key";

constexpr size_t kMostBytes = 4 << 20;

absl::StatusOr<std::optional<std::string>> ReadIfThere(const std::string& path) {
  auto text = ReadFile(path, kMostBytes);
  if (absl::IsNotFound(text.status())) return std::nullopt;
  if (!text.ok()) return text.status();
  return *std::move(text);
}

// Reads and parses; errors name the file.
template <typename T, typename Parse>
absl::StatusOr<std::optional<T>> Load(const std::string& path, Parse parse) {
  CAPSTAN_ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadIfThere(path));
  if (!text) return std::nullopt;
  absl::StatusOr<T> parsed = parse(*text);
  if (!parsed.ok()) return Annotate(parsed.status(), path);
  return std::optional<T>(*std::move(parsed));
}

absl::Status WritePrivate(const std::string& path, std::string_view bytes) {
  return WriteFileAtomically(path, bytes, 0600, Overwrite::kReplace);
}

}  // namespace

absl::StatusOr<std::unique_ptr<StateDirectory>> StateDirectory::Open(const std::string& path) {
  CAPSTAN_RETURN_IF_ERROR(MakePrivateDirectory(path));
  const std::string lock = absl::StrCat(path, "/", kLock);
  const int fd = open(lock.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return ErrnoError(errno, absl::StrCat("cannot open ", lock));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    close(fd);
    if (error != EWOULDBLOCK) return ErrnoError(error, absl::StrCat("cannot lock ", lock));
    return absl::UnavailableError(
        absl::StrCat("another capstan-agent uses the state directory ", path,
                     ": stop it first, or give this one a --state-dir of its own"));
  }
  return std::unique_ptr<StateDirectory>(new StateDirectory(path, fd));
}

StateDirectory::~StateDirectory() {
  close(lock_fd_);
}

std::string StateDirectory::File(const char* name) const {
  return absl::StrCat(path_, "/", name);
}

absl::StatusOr<std::string> StateDirectory::Instance(Random& random) {
  CAPSTAN_ASSIGN_OR_RETURN(const std::optional<std::string> stored,
                           Load<std::string>(File(kInstance), ParseInstance));
  if (stored) return *stored;
  const std::string made = random.Uuid();
  CAPSTAN_RETURN_IF_ERROR(WritePrivate(File(kInstance), made + "\n"));
  return made;
}

absl::StatusOr<std::optional<Membership>> StateDirectory::LoadMembership() const {
  return Load<Membership>(File(kMembership), ParseMembership);
}

absl::Status StateDirectory::Save(const Membership& membership) {
  return WritePrivate(File(kMembership), ToJson(membership));
}

absl::StatusOr<std::optional<lifecycle::Trust>> StateDirectory::LoadTrust() const {
  return Load<lifecycle::Trust>(File(kTrust), ParseTrust);
}

absl::Status StateDirectory::Save(const lifecycle::Trust& trust) {
  return WritePrivate(File(kTrust), ToJson(trust));
}

absl::StatusOr<std::optional<x509::PrivateKey>> StateDirectory::LoadPendingKey() const {
  return Load<x509::PrivateKey>(File(kNextKey), x509::PrivateKey::ParsePem);
}

absl::Status StateDirectory::SavePendingKey(const x509::PrivateKey& key) {
  return WritePrivate(File(kNextKey), key.ToPkcs8Pem().Reveal());
}

absl::StatusOr<std::optional<Credential>> StateDirectory::LoadCredential() const {
  CAPSTAN_ASSIGN_OR_RETURN(const std::optional<std::string> chain, ReadIfThere(File(kChain)));
  if (!chain) return std::nullopt;
  absl::Status why = absl::NotFoundError("there is no key");
  for (const char* name : {kKey, kNextKey}) {
    CAPSTAN_ASSIGN_OR_RETURN(std::optional<std::string> text, ReadIfThere(File(name)));
    if (!text) continue;
    const Secret key_pem(*std::move(text));
    absl::StatusOr<Credential> credential = ParseCredential(*chain, key_pem.Reveal());
    if (credential.ok()) return std::optional<Credential>(*std::move(credential));
    why = credential.status();
  }
  return absl::DataLossError(absl::StrCat(File(kChain), ": ", why.message()));
}

absl::Status StateDirectory::Save(const Credential& credential) {
  CAPSTAN_RETURN_IF_ERROR(SavePendingKey(credential.key));
  CAPSTAN_RETURN_IF_ERROR(
      WriteFileAtomically(File(kChain), x509::ToPem(credential.chain), 0644, Overwrite::kReplace));
  if (rename(File(kNextKey).c_str(), File(kKey).c_str()) != 0) {
    return ErrnoError(errno, absl::StrCat("cannot put ", File(kKey), " in place"));
  }
  return absl::OkStatus();
}

}  // namespace capstan::agent
