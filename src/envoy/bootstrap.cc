// SPDX-License-Identifier: Apache-2.0
#include "envoy/bootstrap.h"

#include <initializer_list>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"

namespace capstan::envoy {
namespace {

using Json = nlohmann::json;

Json Typed(const std::string& type, Json fields) {
  fields["@type"] = absl::StrCat("type.googleapis.com/", type);
  return fields;
}

Json Loopback(int port) {
  return {{"socket_address", {{"address", "127.0.0.1"}, {"port_value", port}}}};
}

Json Endpoints(const std::string& cluster, Json address) {
  return {{"cluster_name", cluster},
          {"endpoints", {{{"lb_endpoints", {{{"endpoint", {{"address", std::move(address)}}}}}}}}}};
}

Json HttpProtocol(Json common, const char* version) {
  return {{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
           Typed("envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                 {{"common_http_protocol_options", std::move(common)},
                  {"explicit_http_config", {{version, Json::object()}}}})}};
}

Json SdsSecret(const std::string& name) {
  return {{"name", name},
          {"sds_config",
           {{"resource_api_version", "V3"},
            {"initial_fetch_timeout", "0s"},
            {"api_config_source",
             {{"api_type", "GRPC"},
              {"transport_api_version", "V3"},
              {"set_node_on_first_message_only", true},
              {"grpc_services", {{{"envoy_grpc", {{"cluster_name", "sds"}}}}}}}}}}};
}

// `matcher` is a StringMatcher on the peer's URI SAN: a trusted root alone would admit everybody it
// ever signed for.
Json CommonTls(Json matcher) {
  return {{"tls_params", {{"tls_minimum_protocol_version", "TLSv1_2"}}},
          {"tls_certificate_sds_secret_configs", {SdsSecret("default")}},
          {"combined_validation_context",
           {{"default_validation_context",
             {{"match_typed_subject_alt_names",
               {{{"san_type", "URI"}, {"matcher", std::move(matcher)}}}}}},
            {"validation_context_sds_secret_config", SdsSecret("ROOTCA")}}}};
}

Json DownstreamTls(const std::string& trust_domain) {
  return {{"name", "envoy.transport_sockets.tls"},
          {"typed_config",
           Typed("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                 {{"require_client_certificate", true},
                  {"common_tls_context",
                   CommonTls({{"prefix", absl::StrCat("spiffe://", trust_domain, "/")}})}})}};
}

Json UpstreamTls(const std::string& peer_id) {
  return {
      {"name", "envoy.transport_sockets.tls"},
      {"typed_config",
       Typed("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
             {// No resumption: every new connection is a full handshake that looks at certificates.
              {"max_session_keys", 0},
              {"common_tls_context", CommonTls({{"exact", peer_id}})}})}};
}

Json RequestCounter(const char* reporter, const char* source, const char* destination,
                    const char* policy) {
  Json tags = Json::array();
  for (auto [name, format] : std::initializer_list<std::pair<const char*, const char*>>{
           {"reporter", reporter},
           {"source_principal", source},
           {"destination_principal", destination},
           {"request_protocol", "http"},
           {"response_code", "%RESPONSE_CODE%"},
           {"connection_security_policy", policy}}) {
    tags.push_back({{"name", name}, {"value_format", format}});
  }
  return {{"name", "envoy.access_loggers.stats"},
          {"typed_config",
           Typed("envoy.extensions.access_loggers.stats.v3.Config",
                 {{"stats_scope", {{"prefix", "istiocustom"}}},
                  {"counters",
                   {{{"stat", {{"name", "istio_requests_total"}, {"tags", std::move(tags)}}},
                     {"value_fixed", 1}}}}})}};
}

Json HttpManager(const std::string& stat_prefix, Json route, Json access_log) {
  return {
      {"name", "envoy.filters.network.http_connection_manager"},
      {"typed_config",
       Typed("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
             {{"stat_prefix", stat_prefix},
              {"access_log", std::move(access_log)},
              {"route_config",
               {{"virtual_hosts",
                 {{{"name", "all"}, {"domains", {"*"}}, {"routes", {std::move(route)}}}}}}},
              {"http_filters",
               {{{"name", "envoy.filters.http.router"},
                 {"typed_config",
                  Typed("envoy.extensions.filters.http.router.v3.Router", Json::object())}}}}})}};
}

Json RouteTo(const std::string& cluster) {
  return {{"match", {{"prefix", "/"}}}, {"route", {{"cluster", cluster}, {"timeout", "30s"}}}};
}

Json AnswerOk() {
  return {{"match", {{"prefix", "/"}}},
          {"direct_response", {{"status", 200}, {"body", {{"inline_string", "ok\n"}}}}}};
}

Json Listener(const std::string& name, int port, Json chain) {
  return {{"name", name},
          {"stat_prefix", name},
          {"address", Loopback(port)},
          {"filter_chains", {std::move(chain)}}};
}

Json InboundListener(const SidecarOptions& o, const std::string& name, int port) {
  Json route = o.application_port != 0 ? RouteTo("application") : AnswerOk();
  Json counter = RequestCounter("destination", "%DOWNSTREAM_PEER_URI_SAN%",
                                "%DOWNSTREAM_LOCAL_URI_SAN%", "mutual_tls");
  return Listener(name, port,
                  {{"filters", {HttpManager(name, std::move(route), {std::move(counter)})}},
                   {"transport_socket", DownstreamTls(o.trust_domain)}});
}

Json OutboundListener(const SidecarOptions& o) {
  Json counter =
      RequestCounter("source", "%UPSTREAM_LOCAL_URI_SAN%", "%UPSTREAM_PEER_URI_SAN%", "unknown");
  return Listener(
      "outbound", o.outbound_port,
      {{"filters", {HttpManager("outbound", RouteTo(o.peer_workload), {std::move(counter)})}}});
}

Json Clusters(const SidecarOptions& o) {
  Json clusters = Json::array();
  clusters.push_back(
      {{"name", "sds"},
       {"type", "STATIC"},
       {"connect_timeout", "1s"},
       {"typed_extension_protocol_options", HttpProtocol(Json::object(), "http2_protocol_options")},
       {"load_assignment", Endpoints("sds", {{"pipe", {{"path", o.sds_socket}}}})}});
  if (o.application_port != 0) {
    // One request per connection: an application that closes idle connections cannot race with us.
    clusters.push_back(
        {{"name", "application"},
         {"type", "STATIC"},
         {"connect_timeout", "5s"},
         {"typed_extension_protocol_options",
          HttpProtocol({{"max_requests_per_connection", 1}}, "http_protocol_options")},
         {"load_assignment", Endpoints("application", Loopback(o.application_port))}});
  }
  if (o.outbound_port != 0) {
    // A few requests per connection: new handshakes all the time, and connections that live through
    // a change.
    clusters.push_back(
        {{"name", o.peer_workload},
         {"type", "STATIC"},
         {"connect_timeout", "5s"},
         {"typed_extension_protocol_options",
          HttpProtocol({{"max_requests_per_connection", 3}}, "http_protocol_options")},
         {"transport_socket", UpstreamTls(WorkloadId(o.trust_domain, o.peer_workload))},
         {"load_assignment", Endpoints(o.peer_workload, Loopback(o.peer_port))}});
  }
  return clusters;
}

}  // namespace

std::string WorkloadId(const std::string& trust_domain, const std::string& workload) {
  return absl::StrCat("spiffe://", trust_domain, "/ns/", workload, "/sa/", workload);
}

std::string SidecarBootstrap(const SidecarOptions& o) {
  Json listeners = Json::array({InboundListener(o, "inbound", o.inbound_port)});
  if (o.probe_port != 0) listeners.push_back(InboundListener(o, "probe", o.probe_port));
  if (o.outbound_port != 0) listeners.push_back(OutboundListener(o));
  Json bootstrap = {
      {"node",
       {{"id", absl::StrCat("sidecar~127.0.0.1~", o.workload, "-1.", o.workload, "~", o.workload,
                            ".svc.cluster.local")},
        {"cluster", absl::StrCat(o.workload, ".", o.workload)}}},
      {"admin", {{"address", Loopback(o.admin_port)}}},
      {"static_resources", {{"listeners", std::move(listeners)}, {"clusters", Clusters(o)}}}};
  return bootstrap.dump(2);
}

}  // namespace capstan::envoy
