// SPDX-License-Identifier: Apache-2.0

// The echo server of the Go peer: one goroutine a connection. Prints its port and serves until it
// is killed.
package main

import (
	"fmt"
	"net"
	"os"
)

func echoServer() {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("port", ln.Addr().(*net.TCPAddr).Port)
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			buf := make([]byte, 4096)
			for {
				n, err := conn.Read(buf)
				if err != nil {
					return
				}
				if _, err = conn.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
	}
}
