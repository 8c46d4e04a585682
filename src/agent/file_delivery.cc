// SPDX-License-Identifier: Apache-2.0
#include "agent/file_delivery.h"

#include <utility>

#include "base/files.h"
#include "base/log.h"
#include "base/status.h"

namespace capstan::agent {

absl::StatusOr<std::unique_ptr<FileDelivery>> FileDelivery::Open(const std::string& folder,
                                                                 Clock& clock) {
  // Only made here, not checked: a folder that other users may enter can be meant, the key is 0600.
  if (!FileExists(folder)) CAPSTAN_RETURN_IF_ERROR(MakePrivateDirectory(folder));
  return std::unique_ptr<FileDelivery>(new FileDelivery(folder, clock));
}

FileDelivery::FileDelivery(std::string folder, Clock& clock)
    : folder_(std::move(folder)), clock_(clock) {
  report_.id = "files";
  report_.node_id = folder_;
  report_.connected = true;
}

absl::Status FileDelivery::WriteChanged(const char* name, std::string_view bytes, mode_t mode) {
  const std::string path = absl::StrCat(folder_, "/", name);
  const absl::StatusOr<std::string> old = ReadFile(path);
  if (old.ok() && *old == bytes) return absl::OkStatus();
  return WriteFileAtomically(path, bytes, mode, Overwrite::kReplace);
}

absl::Status FileDelivery::Write(const sds::Material& material) {
  CAPSTAN_RETURN_IF_ERROR(WriteChanged("root-cert.pem", material.roots_pem, 0644));
  if (material.leaf_serial.empty()) return absl::OkStatus();
  CAPSTAN_RETURN_IF_ERROR(WriteChanged("key.pem", material.key_pem.Reveal(), 0600));
  return WriteChanged("cert-chain.pem", material.chain_pem, 0644);
}

void FileDelivery::Publish(std::shared_ptr<const sds::Material> material) {
  const absl::Time now = clock_.Now();
  const absl::Status written = Write(*material);
  if (!written.ok()) {
    log::Error("the output folder keeps its last good files", {{"why", written.message()}});
    report_.last_nack = {folder_, std::string(written.message()), now};
    return;
  }
  report_.acknowledged_bundle = material->bundle_version;
  report_.acknowledged_leaf_serial = material->leaf_serial;
  report_.acknowledged_at = now;
}

}  // namespace capstan::agent
