// SPDX-License-Identifier: Apache-2.0
// Chooses a handler by method and path. Built before serving, then only read: copies share
// nothing, and any number of fibers may call one.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <weft/detail/config.hpp>
#include <weft/http/request.hpp>
#include <weft/http/response.hpp>

namespace weft::inline v0::http {

/// Answers one request; runs in the connection's fiber and may block. An exception that leaves it
/// becomes 500, and the connection ends.
using handler = std::function<void(const request&, response&)>;

/// A handler made of handlers.
///   mux m;
///   m.handle("GET /", home);          // exactly "/"
///   m.handle("POST /echo", echo);     // exactly "/echo"
///   m.handle("/files/", files);       // "/files/" and all below it, any method
///   m.handle("/*", fallback);         // whatever nothing else takes
/// An exact path goes before a prefix, a longer prefix before a shorter. A GET handler answers HEAD
/// too. Unknown paths get 404, known ones with another method 405 and Allow.
class WEFT_EXPORT mux {
 public:
  /// `pattern` is "[METHOD ]/path". Throws logic_error if it is malformed or already taken.
  mux& handle(std::string_view pattern, handler h);

  void operator()(const request& q, response& r) const;

 private:
  struct method_handler {
    std::string method;  // empty: any
    handler call;
  };
  struct route {
    std::string path;
    std::vector<method_handler> methods;
  };

  [[nodiscard]] static route& find_or_add(std::vector<route>& routes, std::string_view path);
  [[nodiscard]] static const handler* choose(const route& r, std::string_view method) noexcept;
  [[nodiscard]] const route* find(std::string_view path) const noexcept;
  static void refuse_method(const route& r, response& answer);

  std::vector<route> exact_;     // sorted by path
  std::vector<route> prefixes_;  // longest first
};

}  // namespace weft::inline v0::http
