// SPDX-License-Identifier: Apache-2.0
#include "cli/pki_output.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/files.h"
#include "base/random.h"
#include "base/status.h"

namespace capstan::cli {
namespace {

namespace fs = std::filesystem;

constexpr char kStandardOutput[] = "-";
constexpr mode_t kPrivate = 0600;
constexpr mode_t kPublic = 0644;

// Puts a set of files in place. Every file is first written beside its place and synced; what then
// remains are links or renames in the same folders. Until Keep() the destructor takes everything
// back but replaced files, whose old content is gone.
class Transaction {
 public:
  explicit Transaction(Overwrite overwrite) : overwrite_(overwrite) {}
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction() {
    std::error_code ignored;
    for (const auto& [staged, path] : staged_) fs::remove(staged, ignored);
    if (kept_) return;
    for (const std::string& path : placed_) fs::remove(path, ignored);
    for (auto folder = folders_.rbegin(); folder != folders_.rend(); ++folder) {
      fs::remove(*folder, ignored);  // only where it is empty
    }
  }

  absl::Status MakeFolder(const std::string& path) {
    std::error_code error;
    if (fs::create_directory(path, error)) folders_.push_back(path);
    if (error) return ErrnoError(error.value(), absl::StrCat("cannot make the folder ", path));
    return absl::OkStatus();
  }

  absl::Status Stage(const std::string& path, std::string_view bytes, mode_t mode) {
    std::string staged = absl::StrCat(path, ".", SystemRandom().Uuid(), ".new");
    CAPSTAN_RETURN_IF_ERROR(WriteFileAtomically(staged, bytes, mode, Overwrite::kRefuse));
    staged_.emplace_back(std::move(staged), path);
    return absl::OkStatus();
  }

  absl::Status Place() {
    for (const auto& [staged, path] : staged_) {
      std::error_code error;
      if (overwrite_ == Overwrite::kReplace) {
        fs::rename(staged, path, error);
      } else {
        fs::create_hard_link(staged, path, error);  // refuses a name that is taken
        if (!error) placed_.push_back(path);
      }
      if (error == std::errc::file_exists) {
        return absl::AlreadyExistsError(
            absl::StrCat(path, " appeared meanwhile and is not overwritten (--force replaces it)"));
      }
      if (error) return ErrnoError(error.value(), absl::StrCat("cannot put ", path, " in place"));
    }
    return absl::OkStatus();
  }

  void Keep() { kept_ = true; }

 private:
  Overwrite overwrite_;
  std::vector<std::pair<std::string, std::string>> staged_;
  std::vector<std::string> placed_;
  std::vector<std::string> folders_;
  bool kept_ = false;
};

std::string Hex(std::string_view bytes) {
  return absl::BytesToHexString(bytes);
}

nlohmann::json Facts(const x509::Certificate& certificate) {
  nlohmann::json facts = {{"subject", certificate.Subject()},
                          {"issuer", certificate.Issuer()},
                          {"serial", certificate.serial().ToHex()},
                          {"notBefore", FormatUtc(certificate.not_before())},
                          {"notAfter", FormatUtc(certificate.not_after())},
                          {"key", certificate.public_key().Description()},
                          {"ca", certificate.is_ca()},
                          {"sha256", certificate.FingerprintHex()}};
  if (!certificate.subject_key_id().empty()) facts["ski"] = Hex(certificate.subject_key_id());
  if (!certificate.authority_key_id().empty()) facts["aki"] = Hex(certificate.authority_key_id());
  return facts;
}

std::string NameOrNone(const std::string& name) {
  return name.empty() ? "no subject" : name;
}

// What a name stands for in a sentence: "CN=Root CA,O=Istio, valid until …".
std::string Summary(const x509::Certificate& certificate) {
  const auto& sans = certificate.sans();
  std::vector<std::string> names;
  for (const auto* kind : {&sans.uris, &sans.dns, &sans.ips, &sans.emails}) {
    names.insert(names.end(), kind->begin(), kind->end());
  }
  return absl::StrCat(certificate.is_ca() ? "CA " : "leaf ", NameOrNone(certificate.Subject()),
                      names.empty() ? "" : absl::StrCat(", for ", absl::StrJoin(names, ", ")), ", ",
                      certificate.public_key().Description(), ", valid from ",
                      FormatUtc(certificate.not_before()), " to ",
                      FormatUtc(certificate.not_after()));
}

}  // namespace

std::string FormatUtc(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

PkiOutput::PkiOutput(OutputOptions options, std::ostream& out, std::ostream& err)
    : options_(std::move(options)), out_(out), err_(err) {}

absl::Status PkiOutput::Reserve(const std::string& path) {
  if (path.empty()) return absl::InvalidArgumentError("an output file has no name");
  if (std::find(reserved_.begin(), reserved_.end(), path) != reserved_.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("two different things shall be written to ", path, ": name another file"));
  }
  reserved_.push_back(path);
  if (path == kStandardOutput) {
    if (options_.format == "text") return absl::OkStatus();
    return absl::InvalidArgumentError(
        "standard output cannot take both the result and --output json: name a file with --out");
  }
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is a folder: name a file in it"));
  }
  if (!options_.force && (FileExists(path) || fs::is_symlink(path, ignored))) {
    return absl::AlreadyExistsError(absl::StrCat(
        path, " exists and is not overwritten; nothing was made (--force replaces it)"));
  }
  return absl::OkStatus();
}

PkiOutput::File& PkiOutput::Add(const std::string& path, std::string_view kind,
                                std::string_view bytes) {
  File& file = files_.emplace_back();
  file.path = path;
  file.kind = std::string(kind);
  file.mode = kPublic;
  file.bytes = Secret(std::string(bytes));
  file.replaces = path != kStandardOutput && FileExists(path);
  file.facts = nlohmann::json::object();
  return file;
}

void PkiOutput::AddKey(const std::string& path, const x509::PrivateKey& key) {
  File& file = Add(path, "private key", key.ToPkcs8Pem().Reveal());
  file.mode = kPrivate;
  file.summary = absl::StrCat(key.public_key().Description(), ", unencrypted, mode 0600");
  file.facts = {{"key", key.public_key().Description()}, {"ski", Hex(key.public_key().KeyId())}};
}

void PkiOutput::AddRequest(const std::string& path, const x509::Csr& csr) {
  const std::string subject = x509::ToRfc2253(csr.subject());
  File& file = Add(path, "certificate request", csr.ToPem());
  file.summary = absl::StrCat(NameOrNone(subject), ", ", csr.public_key().Description());
  file.facts = {{"subject", subject}, {"key", csr.public_key().Description()}};
}

void PkiOutput::AddRequestFile(const std::string& path, std::string_view text) {
  Add(path, "request file", text).summary = "OpenSSL reads it too";
}

void PkiOutput::AddCertificate(const std::string& path, const x509::Certificate& certificate) {
  File& file = Add(path, "certificate", certificate.ToPem());
  file.summary = Summary(certificate);
  file.facts = Facts(certificate);
}

void PkiOutput::AddBundle(const std::string& path,
                          const std::vector<x509::Certificate>& certificates) {
  File& file = Add(path, "bundle", x509::ToPem(certificates));
  file.summary = absl::StrCat(certificates.size(),
                              certificates.size() == 1 ? " certificate" : " certificates");
  file.facts["certificates"] = nlohmann::json::array();
  for (const x509::Certificate& certificate : certificates) {
    file.facts["certificates"].push_back(Facts(certificate));
  }
}

void PkiOutput::AddCopy(const std::string& path, std::string_view bytes, std::string_view of) {
  File& file = Add(path, "copy", bytes);
  file.summary = absl::StrCat("of ", of);
  file.facts = {{"of", of}};
}

absl::Status PkiOutput::Finish() {
  for (const std::string& warning : warnings_) err_ << "capstan: warning: " << warning << "\n";
  if (!options_.dry_run) {
    Transaction transaction(options_.force ? Overwrite::kReplace : Overwrite::kRefuse);
    for (const std::string& folder : folders_) {
      CAPSTAN_RETURN_IF_ERROR(transaction.MakeFolder(folder));
    }
    for (const File& file : files_) {
      if (file.path == kStandardOutput) continue;
      CAPSTAN_RETURN_IF_ERROR(transaction.Stage(file.path, file.bytes.Reveal(), file.mode));
    }
    CAPSTAN_RETURN_IF_ERROR(transaction.Place());
    transaction.Keep();
  }
  if (options_.format == "json") {
    PrintJson();
  } else {
    PrintText();
  }
  out_.flush();
  if (!out_.good()) return absl::UnavailableError("cannot write to standard output");
  return absl::OkStatus();
}

std::string PkiOutput::Action(const File& file) const {
  if (options_.dry_run) return file.replaces ? "would replace" : "would create";
  return file.replaces ? "replaced" : "created";
}

// Standard output that takes a file takes nothing else.
void PkiOutput::PrintText() const {
  size_t width = 0;
  bool to_standard_output = false;
  for (const File& file : files_) {
    width = std::max(width, file.path.size());
    to_standard_output |= file.path == kStandardOutput;
  }
  for (const File& file : files_) {
    if (file.path == kStandardOutput && !options_.dry_run) {
      out_ << file.bytes.Reveal();
    } else if (!to_standard_output || options_.dry_run) {
      out_ << absl::StreamFormat("%s  %-*s  %s: %s\n", Action(file), static_cast<int>(width),
                                 file.path, file.kind, file.summary);
    }
  }
}

void PkiOutput::PrintJson() const {
  nlohmann::json files = nlohmann::json::array();
  for (const File& file : files_) {
    nlohmann::json entry = file.facts;
    entry["path"] = file.path;
    entry["kind"] = file.kind;
    entry["mode"] = absl::StrFormat("%04o", file.mode);
    entry["action"] = Action(file);
    if (options_.dry_run) {
      // These would differ the next time.
      for (const char* drawn : {"serial", "ski", "sha256"}) entry.erase(drawn);
    }
    files.push_back(std::move(entry));
  }
  out_ << nlohmann::json{{"files", files}, {"warnings", warnings_}}.dump(2) << "\n";
}

}  // namespace capstan::cli
