// SPDX-License-Identifier: Apache-2.0
#include "base/metrics.h"

#include <prometheus/text_serializer.h>

namespace capstan {

void GaugeSet::Set(const std::map<Labels, double>& values) {
  std::erase_if(shown_, [&](const auto& entry) {
    if (values.contains(entry.first)) return false;
    family_.Remove(entry.second);
    return true;
  });
  for (const auto& [labels, value] : values) {
    prometheus::Gauge*& gauge = shown_[labels];
    if (gauge == nullptr) gauge = &family_.Add(labels);
    gauge->Set(value);
  }
}

Metrics::Metrics() : registry_(std::make_shared<prometheus::Registry>()) {}

prometheus::Counter& Metrics::Counter(const std::string& name, const std::string& help,
                                      const Labels& labels) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(*registry_).Add(labels);
}

prometheus::Gauge& Metrics::Gauge(const std::string& name, const std::string& help,
                                  const Labels& labels) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(*registry_).Add(labels);
}

GaugeSet Metrics::Gauges(const std::string& name, const std::string& help) {
  return GaugeSet(prometheus::BuildGauge().Name(name).Help(help).Register(*registry_));
}

std::string Metrics::Text() const {
  return prometheus::TextSerializer().Serialize(registry_->Collect());
}

}  // namespace capstan
