// SPDX-License-Identifier: Apache-2.0
#include "rpc/library_log.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>

#include "base/log.h"

namespace capstan::rpc {
namespace {

void OnGrpcLog(gpr_log_func_args* args) {
  const log::Level level =
      args->severity == GPR_LOG_SEVERITY_ERROR ? log::Level::kInfo : log::Level::kDebug;
  log::Write(level, "gRPC", {{"said", args->message}, {"at", args->file}, {"line", args->line}});
}

void OnProtobufLog(google::protobuf::LogLevel, const char* file, int line,
                   const std::string& message) {
  log::Debug("protobuf", {{"said", message}, {"at", file}, {"line", line}});
}

}  // namespace

void RouteLibraryLogs() {
  gpr_set_log_function(&OnGrpcLog);
  google::protobuf::SetLogHandler(&OnProtobufLog);
}

}  // namespace capstan::rpc
