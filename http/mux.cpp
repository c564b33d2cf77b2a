// SPDX-License-Identifier: Apache-2.0
// See include/weft/http/mux.hpp. Look-ups allocate nothing: a binary search over the exact paths,
// then the prefixes from the longest down.
#include <weft/http/mux.hpp>

#include <algorithm>
#include <utility>

#include "http/chars.hpp"

namespace weft::inline v0::http {

mux::route& mux::find_or_add(std::vector<route>& routes, std::string_view path) {
  for (route& r : routes) {
    if (r.path == path) return r;
  }
  return routes.emplace_back(route{std::string(path), {}});
}

mux& mux::handle(std::string_view pattern, handler h) {
  const auto space = pattern.find(' ');
  const auto method =
      space == std::string_view::npos ? std::string_view{} : pattern.substr(0, space);
  auto path = space == std::string_view::npos ? pattern : pattern.substr(space + 1);
  const bool bad_method = space != std::string_view::npos && !detail::is_token(method);
  if (bad_method || path.empty() || path.front() != '/' || !h) {
    throw logic_error("weft::http::mux: malformed pattern or empty handler");
  }
  const bool is_prefix = path == "/*" || (path.size() > 1 && path.back() == '/');
  if (path == "/*") path.remove_suffix(1);
  auto& routes = is_prefix ? prefixes_ : exact_;
  route& r = find_or_add(routes, path);
  for (const auto& m : r.methods) {
    if (m.method == method) throw logic_error("weft::http::mux: pattern is taken");
  }
  r.methods.push_back({std::string(method), std::move(h)});
  if (is_prefix) {
    std::sort(routes.begin(), routes.end(), [](const route& x, const route& y) {
      return x.path.size() > y.path.size();  // no two of them are equal in length and matching
    });
  } else {
    std::sort(routes.begin(), routes.end(),
              [](const route& a, const route& b) { return a.path < b.path; });
  }
  return *this;
}

const mux::route* mux::find(std::string_view path) const noexcept {
  const auto at = std::lower_bound(exact_.begin(), exact_.end(), path,
                                   [](const route& r, std::string_view p) { return r.path < p; });
  if (at != exact_.end() && at->path == path) return &*at;
  for (const route& r : prefixes_) {
    if (path.starts_with(r.path)) return &r;
  }
  return nullptr;
}

const handler* mux::choose(const route& r, std::string_view method) noexcept {
  const handler* any = nullptr;
  const handler* get = nullptr;
  for (const auto& m : r.methods) {
    if (m.method == method) return &m.call;
    if (m.method.empty()) any = &m.call;
    if (m.method == "GET") get = &m.call;
  }
  return method == "HEAD" && get != nullptr ? get : any;
}

void mux::refuse_method(const route& r, response& answer) {
  std::string allow;
  for (const auto& m : r.methods) {
    if (!allow.empty()) allow += ", ";
    allow += m.method;
    const bool head_too = m.method == "GET" && std::none_of(r.methods.begin(), r.methods.end(),
                                                            [](const method_handler& other) {
                                                              return other.method == "HEAD";
                                                            });
    if (head_too) allow += ", HEAD";
  }
  answer.set_header("Allow", allow).text(405, "405 method not allowed\n");
}

void mux::operator()(const request& q, response& r) const {
  const route* const found = find(q.path());
  if (found == nullptr) {
    r.text(404, "404 not found\n");
    return;
  }
  const handler* const h = choose(*found, q.method);
  if (h == nullptr) {
    refuse_method(*found, r);
    return;
  }
  (*h)(q, r);
}

}  // namespace weft::inline v0::http
