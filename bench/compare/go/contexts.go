// SPDX-License-Identifier: Apache-2.0

// The workloads of contexts and timers that are made and dropped.
package main

import (
	"context"
	"time"
)

func ctxCancel(j job) {
	done := 0
	start := time.Now()
	for i := 0; i < j.n; i++ {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if ctx.Err() != nil {
			done++
		}
	}
	j.report(nsPer(start, j.n), "ns/op")
	j.expect(done == j.n, "contexts cancelled")
}

func ctxCancelChild(j job) {
	parent, stop := context.WithCancel(context.Background())
	defer stop()
	done := 0
	start := time.Now()
	for i := 0; i < j.n; i++ {
		ctx, cancel := context.WithCancel(parent)
		cancel()
		if ctx.Err() != nil {
			done++
		}
	}
	j.report(nsPer(start, j.n), "ns/op")
	j.expect(done == j.n && parent.Err() == nil, "contexts cancelled")
}

func ctxTimeout(j job) {
	done := 0
	start := time.Now()
	for i := 0; i < j.n; i++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		cancel()
		if ctx.Err() != nil {
			done++
		}
	}
	j.report(nsPer(start, j.n), "ns/op")
	j.expect(done == j.n, "contexts cancelled")
}

func ctxTree(j job) {
	parent, cancel := context.WithCancel(context.Background())
	children := make([]context.Context, j.n)
	for i := range children {
		child, stop := context.WithCancel(parent)
		defer stop()
		children[i] = child
	}
	start := time.Now()
	cancel()
	j.report(nsPer(start, j.n), "ns/child")
	for _, c := range children {
		j.expect(c.Err() != nil, "child not cancelled")
	}
}

func afterFunc(j job) {
	stopped := 0
	start := time.Now()
	for i := 0; i < j.n; i++ {
		t := time.AfterFunc(time.Hour, func() {})
		if t.Stop() {
			stopped++
		}
	}
	j.report(nsPer(start, j.n), "ns/op")
	j.expect(stopped == j.n, "timers stopped")
}
