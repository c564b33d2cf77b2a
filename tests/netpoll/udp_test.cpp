// SPDX-License-Identifier: Apache-2.0
#include "tests/netpoll/net_helper.hpp"

namespace {

using namespace weft_test;

class UdpTest : public net_test {};

TEST_F(UdpTest, DatagramsComeWithTheirSender) {
  weft::run([] {
    auto a = weft::net::udp_socket::bind("udp4", "127.0.0.1:0");
    auto b = weft::net::udp_socket::bind("udp4", "127.0.0.1:0");
    ASSERT_TRUE(a);
    ASSERT_TRUE(b);
    weft::fiber receiver = weft::spawn([&b, &a] {
      std::array<std::byte, 64> buffer;
      const auto d = b->recv_from(buffer);
      ASSERT_TRUE(d);
      EXPECT_EQ(d->size, 4U);
      EXPECT_EQ(d->from, a->local_addr());
      EXPECT_TRUE(b->send_to(std::span<const std::byte>(buffer).first(d->size), d->from));
    });
    until_waiting(1);
    EXPECT_EQ(a->send_to(bytes("ping"), b->local_addr()), 4U);
    std::array<std::byte, 2> small;
    const auto d = a->recv_from(small);
    ASSERT_TRUE(d);
    EXPECT_EQ(d->size, 4U) << "the whole size, though cut to the buffer";
    receiver.join();
  });
}

TEST_F(UdpTest, AConnectedSocketSendsToItsPeer) {
  weft::run([] {
    auto a = weft::net::udp_socket::bind("udp4", "127.0.0.1:0");
    auto b = weft::net::udp_socket::bind("udp4", "127.0.0.1:0");
    ASSERT_TRUE(a->connect(b->local_addr()));
    EXPECT_EQ(a->send(bytes("x")), 1U);
    EXPECT_EQ(a->send(bytes("")), 0U);
    std::array<std::byte, 64> buffer;
    EXPECT_EQ(b->recv_from(buffer)->size, 1U);
    EXPECT_EQ(b->recv_from(buffer)->size, 0U) << "an empty datagram is one";
  });
}

TEST_F(UdpTest, DeadlineContextAndCloseEndTheWait) {
  weft::run([] {
    auto a = weft::net::udp_socket::bind("udp", "127.0.0.1:0");
    ASSERT_TRUE(a);
    std::array<std::byte, 64> buffer;
    a->set_deadline(in(2ms));
    EXPECT_EQ(a->recv_from(buffer).error(), weft::errc::deadline_exceeded);
    a->set_deadline(std::chrono::steady_clock::time_point::max());
    auto [ctx, cancel] = weft::with_timeout(weft::background(), 2ms);
    EXPECT_EQ(a->recv_from(ctx, buffer).error(), weft::errc::deadline_exceeded);
    weft::fiber waiter =
        weft::spawn([&] { EXPECT_EQ(a->recv_from(buffer).error(), weft::errc::closed); });
    until_waiting(1);
    a->close();
    waiter.join();
  });
}

}  // namespace
