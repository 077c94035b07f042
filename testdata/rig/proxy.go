package rig

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Proxy stands between a client and a server, and fails as networks do.
type Proxy struct {
	Host string
	Port int

	mu     sync.Mutex
	target string // host:port, or a Unix socket's path
	mute   bool
	late   time.Duration
	open   map[net.Conn]struct{}
	free   chan struct{} // closed while not mute
}

// StartProxy passes connections on to a server until the test ends.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Proxy{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, target: target, open: map[net.Conn]struct{}{}, free: make(chan struct{})}
	close(p.free)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // it was closed
			}
			running.Go(func() { p.pass(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close() // it ends the loop
		p.Mute(false)
		p.Cut()
		running.Wait()
	})
	return p
}

// DSN names a database of a cluster by way of the proxy.
func (p *Proxy) DSN(of *Postgres, database string) string {
	return fmt.Sprintf("host=%s port=%d user=ambit password=%s dbname=%s", p.Host, p.Port, of.Password, database)
}

// Target sends what connects from now on elsewhere, and cuts what there is.
func (p *Proxy) Target(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
	p.Cut()
}

// Cut ends all connections that there are. With an empty target none come after.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.open {
		_ = c.Close() // the other side may have
	}
}

// Mute lets connections be and passes nothing on, in either direction, as a cable
// that was pulled out: neither side learns of it.
func (p *Proxy) Mute(mute bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if mute == p.mute {
		return
	}
	if p.mute = mute; mute {
		p.free = make(chan struct{})
	} else {
		close(p.free)
	}
}

// Late passes everything on after a while.
func (p *Proxy) Late(by time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.late = by
}

func (p *Proxy) pass(c net.Conn) {
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	network := "tcp"
	if len(target) > 0 && target[0] == '/' {
		network = "unix"
	}
	server, err := net.Dial(network, target)
	if err != nil {
		_ = c.Close() // as if nobody had listened
		return
	}
	p.mu.Lock()
	p.open[c], p.open[server] = struct{}{}, struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	for from, to := range map[net.Conn]net.Conn{c: server, server: c} {
		both.Go(func() {
			_, _ = io.Copy(held{to, p}, from) // either side may end it
			_ = from.Close()
			_ = to.Close()
		})
	}
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, c)
	delete(p.open, server)
}

// held writes what the proxy lets through.
type held struct {
	net.Conn
	p *Proxy
}

// Write implements io.Writer.
func (h held) Write(b []byte) (int, error) {
	h.p.mu.Lock()
	free, late := h.p.free, h.p.late
	h.p.mu.Unlock()
	time.Sleep(late)
	<-free
	return h.Conn.Write(b)
}
