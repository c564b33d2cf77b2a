// SPDX-License-Identifier: Apache-2.0
// See connection.hpp.
#include "http/connection.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <string>
#include <utility>

#include "http/chars.hpp"
#include "http/framing_guard.hpp"
#include "runtime/debug.hpp"

namespace weft::inline v0::http::detail {
namespace {

using namespace std::chrono_literals;

// An idle connection keeps its buffers this long: longer than a busy client's pause, short enough
// that memory follows the load. Its read deadline is rearmed once in half of that, not per request.
constexpr std::chrono::nanoseconds warm_time = 1s;
// Answers to pipelined requests are collected up to this size, then sent.
constexpr std::size_t batch_bytes = 64 << 10;
constexpr std::size_t min_read_bytes = 1024;
// What a client may still send after its last answer, within the drain timeout.
constexpr std::size_t max_drain_bytes = 16 << 20;

[[nodiscard]] std::span<std::byte> as_bytes(std::span<char> s) noexcept {
  return std::as_writable_bytes(s);
}

/// For logs: an exception's text may quote the client's bytes.
[[nodiscard]] std::string printable(std::string_view text) {
  std::string out(text.substr(0, 200));
  std::replace_if(out.begin(), out.end(), &is_control, '?');
  return out;
}

}  // namespace

// ---- life ----

void connection::run() {
  core_.enlist(*this);
  verdict v = verdict::dead;
  try {
    v = serve();
  } catch (const std::exception& e) {
    // Out of memory, most likely: this connection's trouble, not the process's.
    weft::detail::log_format("weft: http: a connection failed: %s", printable(e.what()).c_str());
  }
  if (scratch_) return_scratch();
  become(conn_state::closing);
  if (v == verdict::end) drain();
  core_.leave(*this);
}

connection::verdict connection::serve() {
  for (;;) {
    const bool between_requests = !scratch_ || scratch_->in.empty();
    verdict v = verdict::go_on;
    if (between_requests) {
      if (scratch_) v = flush();
      if (v == verdict::go_on) v = wait_for_request();
    }
    if (v == verdict::go_on) v = step();
    if (v != verdict::go_on) return v;
  }
}

/// One look at what is in the buffer.
connection::verdict connection::step() {
  switch (scratch_->parser.parse(scratch_->in, core_.limits())) {
    case scan_state::complete:
      return handle();
    case scan_state::failed:
      return refuse(scratch_->parser.why());
    case scan_state::need_more:
      break;
  }
  if (scratch_->parser.head_complete() && scratch_->parser.expects_continue()) {
    const verdict v = invite_body();
    if (v != verdict::go_on) return v;
  }
  return read_more();
}

void connection::borrow_scratch() {
  scratch_ = core_.scratches().take();
  response_access::attach(scratch_->answer, *this);
}

void connection::return_scratch() { core_.scratches().give_back(std::move(scratch_)); }

// ---- reading ----

/// The socket's read deadline. Skips the call if it would change nothing.
void connection::arm_read(time_point at) {
  if (at == read_armed_) return;
  read_armed_ = at;
  conn_.set_read_deadline(at);
}

bool connection::has_unread_bytes() const noexcept {
  char c;
  return ::recv(conn_.native_handle(), &c, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/// Reads once. The deadline that wakes us may be somebody else's (wake(), or one left over from an
/// earlier wait): too_late is said only when our own has passed or the server aborts.
connection::arrival connection::read_before(time_point deadline, std::span<char> into,
                                            std::size_t& n) {
  arm_read(deadline);
  for (;;) {
    if (core_.phase() == server_phase::aborting) return arrival::too_late;
    const auto r = conn_.read(as_bytes(into));
    if (r) {
      n = *r;
      if (n == 0) peer_closed_ = true;
      return n > 0 ? arrival::bytes : arrival::end_of_stream;
    }
    if (r.error() != errc::deadline_exceeded) return arrival::broken;
    if (clock::now() >= deadline) return arrival::too_late;
    read_armed_ = {};
    arm_read(deadline);
  }
}

/// More of a request that has begun.
connection::verdict connection::read_more() {
  become(conn_state::reading);
  const bool in_body = scratch_->parser.head_complete();
  if (message_deadline_ == time_point{}) {
    message_deadline_ = clock::now() + core_.options().header_timeout;
  }
  if (in_body && !body_deadline_running_) {
    body_deadline_running_ = true;
    message_deadline_ = clock::now() + core_.options().body_timeout;
  }
  if (const verdict v = flush(); v != verdict::go_on) return v;
  std::size_t n = 0;
  const auto room = scratch_->in.free_space(min_read_bytes);
  switch (read_before(message_deadline_, room, n)) {
    case arrival::bytes:
      scratch_->in.commit(n);
      return verdict::go_on;
    case arrival::end_of_stream:
      return refuse({400, "incomplete request"});
    case arrival::too_late:
      if (core_.phase() == server_phase::aborting) return verdict::dead;
      return refuse({408, in_body ? "body came too slowly" : "head came too slowly"});
    case arrival::broken:
      break;
  }
  return verdict::dead;
}

connection::verdict connection::invite_body() {
  if (std::exchange(invited_, true)) return verdict::go_on;
  scratch_->out.append("HTTP/1.1 100 Continue\r\n\r\n");
  return flush();
}

// ---- waiting for a request ----

/// Until a request's first bytes are in the buffer. Reads straight into it while the connection is
/// warm; after that into a small array on the stack, with the scratch memory given back.
connection::verdict connection::wait_for_request() {
  become(conn_state::idle);
  const time_point since = clock::now();
  const time_point idle_deadline = since + core_.options().idle_timeout;
  // Who has only just connected is about to send a request: it gets as long as the grace for that,
  // even if the grace itself is over.
  const time_point fresh_until =
      requests() == 0 ? std::min(since + core_.options().grace, idle_deadline) : since;
  for (time_point now = since;; now = clock::now()) {
    const bool warm = scratch_ != nullptr;
    const bool still_good = warm && read_armed_ > now + warm_time / 2 &&
                            read_armed_ <= std::min(now + warm_time, idle_deadline);
    if (!still_good) arm_read(warm ? std::min(now + warm_time, idle_deadline) : idle_deadline);
    // After arming, see the law of server_core.
    if (core_.phase() >= server_phase::closing && !has_unread_bytes()) {
      if (now >= fresh_until) return verdict::end;
      arm_read(fresh_until);
    }

    std::array<char, min_read_bytes> small;
    std::span<char> room(small);
    if (warm) room = scratch_->in.free_space(min_read_bytes);
    const auto r = conn_.read(as_bytes(room));
    if (r && *r > 0) {
      if (warm) {
        scratch_->in.commit(*r);
      } else {
        borrow_scratch();
        scratch_->in.append({small.data(), *r});
      }
      become(conn_state::reading);
      return verdict::go_on;
    }
    if (r) {
      peer_closed_ = true;
      return verdict::end;
    }
    if (r.error() != errc::deadline_exceeded) return verdict::dead;
    const verdict v = wake_up_idle(idle_deadline, since);
    if (v != verdict::go_on) return v;
  }
}

/// The read deadline of an idle connection has passed: what for?
connection::verdict connection::wake_up_idle(time_point idle_deadline, time_point since) {
  read_armed_ = {};
  if (core_.phase() == server_phase::aborting) return verdict::dead;
  const time_point now = clock::now();
  // In the closing phase the caller takes the last look.
  if (core_.phase() >= server_phase::closing) {
    arm_read(now + warm_time);
    return verdict::go_on;
  }
  if (now >= idle_deadline) {
    // A request may have come in this very moment.
    if (!has_unread_bytes()) return verdict::end;
    arm_read(now + warm_time);
    return verdict::go_on;
  }
  if (scratch_ && now - since >= warm_time / 2) return_scratch();
  return verdict::go_on;
}

// ---- answering ----

connection::verdict connection::handle() {
  become(conn_state::handling);
  count(requests_);
  message_deadline_ = {};
  body_deadline_running_ = invited_ = false;
  scratch& s = *scratch_;
  request q;
  s.parser.fill(q, s.in);
  q.server_context = &core_.ctx();
  response_access::begin(s.answer, q);
  call_handler(q);
  s.in.consume(s.parser.message_bytes());
  s.parser.reset();
  if (s.answer.failed()) {
    (void)flush();
    return verdict::end;
  }
  if (response_access::closes(s.answer)) {
    const verdict v = flush();
    return v == verdict::go_on ? verdict::end : v;
  }
  if (s.out.size() >= batch_bytes) {
    if (const verdict v = flush(); v != verdict::go_on) return v;
  }
  s.trim();
  return verdict::go_on;
}

void connection::call_handler(const request& q) {
  try {
    core_.options().handler(q, scratch_->answer);
    response_access::finish(scratch_->answer);
  } catch (const std::exception& e) {
    recover(e.what());
  } catch (...) {
    recover("an exception that is no std::exception");
  }
}

/// A handler threw. What has been sent cannot be unsaid: then the connection just ends, which the
/// client can tell from a complete answer.
void connection::recover(const char* what) {
  weft::detail::log_format("weft: http: a handler threw: %s", printable(what).c_str());
  response& answer = scratch_->answer;
  if (answer.head_sent()) {
    response_access::abandon(answer);
    return;
  }
  response_access::restart(answer);
  answer.text(500, "500 internal server error\n").close();
  response_access::finish(answer);
}

/// Answers what never became a request. The connection ends: where the next request would start is
/// not known.
connection::verdict connection::refuse(fault f) {
  count(refused_);
  become(conn_state::handling);
  response& answer = scratch_->answer;
  response_access::begin_error(answer);
  answer.text(f.status, f.reason).write("\n");
  response_access::finish(answer);
  const verdict v = flush();
  return v == verdict::go_on ? verdict::end : v;
}

/// Asked while an answer's head is put together. Nothing is cut off by saying "close" here: bytes
/// that the client has already sent are requests that we still owe an answer.
bool connection::must_close() {
  if (core_.phase() == server_phase::serving) return false;
  const bool more_buffered = scratch_->in.size() > scratch_->parser.message_bytes();
  return !more_buffered && !has_unread_bytes();
}

// ---- writing ----

/// At least the write timeout away, at most one and a half: rearmed now and then, not per answer.
void connection::arm_write() {
  const auto timeout = core_.options().write_timeout;
  const time_point now = clock::now();
  if (write_armed_ >= now + timeout) return;
  write_armed_ = now + timeout + timeout / 2;
  conn_.set_write_deadline(write_armed_);
}

result<void> connection::send(std::string_view tail) {
  std::string& out = scratch_->out;
  arm_write();
  if (core_.phase() == server_phase::aborting) return failure(errc::closed);
  const std::array<iovec, 2> parts{iovec{out.data(), out.size()},
                                   iovec{const_cast<char*>(tail.data()), tail.size()}};
  const auto sent = tail.empty() ? conn_.write_all(out) : conn_.writev(parts);
  out.clear();
  if (!sent) return failure(sent.error());
  return {};
}

connection::verdict connection::flush() {
  if (scratch_->out.empty()) return verdict::go_on;
  return send({}) ? verdict::go_on : verdict::dead;
}

// ---- the end ----

/// Says that we are done, then reads until the client has said so too, or its time is up.
void connection::drain() {
  if (peer_closed_) return;
  if (!conn_.close_write()) return;
  const time_point deadline = clock::now() + core_.options().drain_timeout;
  std::array<char, 4096> rubbish;
  std::size_t total = 0;
  std::size_t n = 0;
  while (total < max_drain_bytes && read_before(deadline, rubbish, n) == arrival::bytes) {
    total += n;
  }
}

void connection::wake(bool cut_off) {
  if (!cut_off) {
    conn_.set_read_deadline(clock::now());
    return;
  }
  conn_.set_deadline(clock::now());
  (void)::shutdown(conn_.native_handle(), SHUT_RDWR);
}

}  // namespace weft::inline v0::http::detail
