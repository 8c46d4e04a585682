// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <atomic>
#include <memory>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace capstan::log {
namespace {

constexpr std::string_view kLevelNames[] = {"debug", "info", "warn", "error"};

struct Settings {
  std::atomic<Format> format{Format::kText};
  std::atomic<Level> least{Level::kInfo};
};

Settings& TheSettings() {
  static Settings& settings = *new Settings;
  return settings;
}

spdlog::logger& Sink() {
  static spdlog::logger& logger = []() -> spdlog::logger& {
    auto& made = *new spdlog::logger("capstan", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made.set_pattern("%v");
    made.set_level(spdlog::level::trace);
    made.flush_on(spdlog::level::trace);
    return made;
  }();
  return logger;
}

bool NeedsQuotes(std::string_view value) {
  return value.empty() || value.find_first_of(" \t\n\r\"=\\") != std::string_view::npos;
}

std::string Quoted(std::string_view value) {
  return nlohmann::json(std::string(value))
      .dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

void Configure(Format format, Level least) {
  TheSettings().format = format;
  TheSettings().least = least;
}

std::string Render(Format format, std::string_view time, Level level, std::string_view message,
                   Fields fields) {
  std::string_view name = kLevelNames[static_cast<int>(level)];
  if (format == Format::kJson) {
    nlohmann::ordered_json line;
    line["time"] = std::string(time);
    line["level"] = std::string(name);
    line["message"] = std::string(message);
    for (const Field& field : fields) line[std::string(field.key)] = field.value;
    return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  }
  // A message or value from outside cannot forge a second line.
  std::string line = absl::StrCat(time, "\t", name, "\t");
  for (char c : message) {
    if (c == '\n') {
      line += "\\n";
    } else if (c != '\r') {
      line += c;
    }
  }
  for (const Field& field : fields) {
    absl::StrAppend(&line, "\t", field.key, "=",
                    NeedsQuotes(field.value) ? Quoted(field.value) : field.value);
  }
  return line;
}

void Write(Level level, std::string_view message, Fields fields) {
  if (level < TheSettings().least.load()) return;
  std::string time =
      absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", RealClock().Now(), absl::UTCTimeZone());
  std::string line = Render(TheSettings().format.load(), time, level, message, fields);
  Sink().log(spdlog::level::info, spdlog::string_view_t(line.data(), line.size()));
}

absl::StatusOr<Level> ParseLevel(std::string_view name) {
  for (int i = 0; i < 4; ++i) {
    if (name == kLevelNames[i]) return static_cast<Level>(i);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown log level \"", name, "\"; use debug, info, warn or error"));
}

absl::StatusOr<Format> ParseFormat(std::string_view name) {
  if (name == "text") return Format::kText;
  if (name == "json") return Format::kJson;
  return absl::InvalidArgumentError(
      absl::StrCat("unknown log format \"", name, "\"; use text or json"));
}

}  // namespace capstan::log
