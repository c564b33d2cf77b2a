// SPDX-License-Identifier: Apache-2.0

// The workloads of channels, select and mutexes.
package main

import (
	"sync"
	"time"
)

func pingPong(j job) {
	there, back := make(chan int), make(chan int)
	start := time.Now()
	go func() {
		for v := range there {
			back <- v + 1
		}
		close(back)
	}()
	for i := 0; i < j.n; i++ {
		there <- i
		v := <-back
		j.expect(v == i+1, "answer")
	}
	close(there)
	<-back
	j.report(nsPer(start, j.n), "ns/round-trip")
}

func buffered(j job) {
	c := make(chan int, 128)
	start := time.Now()
	go func() {
		for i := 0; i < j.n; i++ {
			c <- i
		}
		close(c)
	}()
	sum := 0
	for v := range c {
		sum += v
	}
	j.report(nsPer(start, j.n), "ns/message")
	j.expect(sum == sumBelow(j.n), "sum")
}

func mpmc(j job) {
	const sides = 4
	c := make(chan int, 128)
	share := j.n / sides
	var producers, consumers sync.WaitGroup
	var sums [sides][8]int // a cache line each
	start := time.Now()
	producers.Add(sides)
	consumers.Add(sides)
	for s := 0; s < sides; s++ {
		s := s
		go func() {
			for i := 0; i < share; i++ {
				c <- s*share + i
			}
			producers.Done()
		}()
		go func() {
			sum := 0
			for v := range c {
				sum += v
			}
			sums[s][0] = sum
			consumers.Done()
		}()
	}
	producers.Wait()
	close(c)
	consumers.Wait()
	j.report(nsPer(start, sides*share), "ns/message")
	sum := 0
	for s := range sums {
		sum += sums[s][0]
	}
	j.expect(sum == sumBelow(sides*share), "sum")
}

func select4(j job) {
	var c [4]chan int
	share := j.n / 4
	start := time.Now()
	for s := range c {
		s := s
		c[s] = make(chan int)
		go func() {
			for i := 0; i < share; i++ {
				c[s] <- s*share + i
			}
		}()
	}
	c0, c1, c2, c3 := c[0], c[1], c[2], c[3]
	sum := 0
	for i := 0; i < 4*share; i++ {
		select {
		case v := <-c0:
			sum += v
		case v := <-c1:
			sum += v
		case v := <-c2:
			sum += v
		case v := <-c3:
			sum += v
		}
	}
	j.report(nsPer(start, 4*share), "ns/message")
	j.expect(sum == sumBelow(4*share), "sum")
}

func selectReady(j job) {
	full, empty := make(chan int, 1), make(chan int, 1)
	full <- 7
	sum := 0
	start := time.Now()
	for i := 0; i < j.n; i++ {
		select {
		case v := <-full:
			sum += v
			full <- v
		case <-empty:
			sum = -1
		default:
			sum = -1
		}
	}
	j.report(nsPer(start, j.n), "ns/op")
	j.expect(sum == 7*j.n, "the ready case was not taken each time")
}

func selectEmpty(j job) {
	empty := make(chan int)
	missed := 0
	start := time.Now()
	for i := 0; i < j.n; i++ {
		select {
		case <-empty:
			missed = -1
		default:
			missed++
		}
	}
	j.report(nsPer(start, j.n), "ns/op")
	j.expect(missed == j.n, "default was not taken each time")
}

func mutexContended(j job) {
	const fibers = 8
	share := j.n / fibers
	var mu sync.Mutex
	var wg sync.WaitGroup
	count := 0
	start := time.Now()
	wg.Add(fibers)
	for f := 0; f < fibers; f++ {
		go func() {
			for i := 0; i < share; i++ {
				mu.Lock()
				count++
				mu.Unlock()
			}
			wg.Done()
		}()
	}
	wg.Wait()
	j.report(nsPer(start, fibers*share), "ns/op")
	j.expect(count == fibers*share, "count")
}

func mutexAlone(j job) {
	var mu sync.Mutex
	count := 0
	start := time.Now()
	for i := 0; i < j.n; i++ {
		mu.Lock()
		count++
		mu.Unlock()
	}
	j.report(nsPer(start, j.n), "ns/op")
	j.expect(count == j.n, "count")
}

// What the pool has made is kept, so that the objects can be asked how often they were got.
func poolGetPut(j job) {
	const fibers = 8
	share := j.n / fibers
	var mu sync.Mutex
	var made []*int
	objects := sync.Pool{New: func() any {
		x := new(int)
		mu.Lock()
		made = append(made, x)
		mu.Unlock()
		return x
	}}
	var wg sync.WaitGroup
	start := time.Now()
	wg.Add(fibers)
	for f := 0; f < fibers; f++ {
		go func() {
			for i := 0; i < share; i++ {
				x := objects.Get().(*int)
				*x++
				objects.Put(x)
			}
			wg.Done()
		}()
	}
	wg.Wait()
	j.report(nsPer(start, fibers*share), "ns/op")
	total := 0
	for _, x := range made {
		total += *x
	}
	j.expect(total == fibers*share, "not every get has counted once")
}

func ring(j job) {
	const members = 503
	var links [members]chan int
	for i := range links {
		links[i] = make(chan int)
	}
	last := make(chan int)
	var wg sync.WaitGroup
	wg.Add(members)
	start := time.Now()
	for i := 0; i < members; i++ {
		i := i
		go func() {
			in, out := links[i], links[(i+1)%members]
			for token := range in {
				if token == 0 {
					last <- i
				} else {
					out <- token - 1
				}
			}
			wg.Done()
		}()
	}
	links[0] <- j.n
	winner := <-last
	j.report(nsPer(start, j.n), "ns/hop")
	for _, c := range links {
		close(c)
	}
	wg.Wait()
	j.expect(winner == j.n%members, "who holds the token at the end")
}

// The generator ends at the last prime asked for and closes its channel; each filter passes the
// close on. So every peer ends with no fiber left over.
func sieve(j job) {
	limit := nthPrime(j.n)
	start := time.Now()
	c := make(chan int)
	go func(out chan<- int) {
		for v := 2; v <= limit; v++ {
			out <- v
		}
		close(out)
	}(c)
	prime := 0
	for i := 0; i < j.n; i++ {
		prime = <-c
		next := make(chan int)
		go func(in <-chan int, out chan<- int, p int) {
			for v := range in {
				if v%p != 0 {
					out <- v
				}
			}
			close(out)
		}(c, next, prime)
		c = next
	}
	_, more := <-c
	j.report(float64(time.Since(start).Microseconds())/1000, "ms")
	j.expect(prime == limit && !more, "the last prime")
}
