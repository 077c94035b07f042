package postgres

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/lib/pq"
)

// dialer makes connections on which nothing is waited for without end: a server
// that is cut off, or hangs, says nothing at all, and the driver would wait for
// whatever TCP thinks of it, which is a quarter of an hour.
type dialer struct {
	net.Dialer
	silence time.Duration   // the longest wait for one answer, or for one question to be taken
	alive   context.Context // if set, connections end with it
}

// Dial implements pq.Dialer.
func (d dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialTimeout(network, address, d.silence)
}

// DialTimeout implements pq.Dialer.
func (d dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}

// DialContext implements pq.DialerContext.
func (d dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if d.alive != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(d.alive, cancel)()
	}
	c, err := d.Dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if d.alive != nil {
		context.AfterFunc(d.alive, func() { _ = c.Close() })
	}
	return &bounded{Conn: c, silence: d.silence}, nil
}

// bounded is a connection on which the other side may not be silent for too long
// while it is waited for. A connection that nobody reads from may rest.
type bounded struct {
	net.Conn
	silence time.Duration
	until   time.Time // of the driver's own deadline, while it connects
}

func (b *bounded) deadline() time.Time {
	at := time.Now().Add(b.silence)
	if !b.until.IsZero() && b.until.Before(at) {
		return b.until
	}
	return at
}

// Read implements net.Conn.
func (b *bounded) Read(p []byte) (int, error) {
	if err := b.Conn.SetReadDeadline(b.deadline()); err != nil {
		return 0, err
	}
	return b.Conn.Read(p)
}

// Write implements net.Conn.
func (b *bounded) Write(p []byte) (int, error) {
	if err := b.Conn.SetWriteDeadline(b.deadline()); err != nil {
		return 0, err
	}
	return b.Conn.Write(p)
}

// SetDeadline implements net.Conn.
func (b *bounded) SetDeadline(t time.Time) error {
	b.until = t
	return nil
}

// channel is where commits tell of themselves, calls where processes call each
// other.
const (
	channel = "ambit"
	calls   = "ambit_calls"
)

// The pauses before a lost connection for listening is made again. Polling goes on
// meanwhile.
const (
	firstRedial   = 100 * time.Millisecond
	longestRedial = 2 * time.Second
	// pingEvery keeps a connection on which nothing is told from seeming dead.
	pingEvery = 5 * time.Second
)

// listening is the dsn as configure understood it: package pq listens by a text.
func listening(dsn string, cfg pq.Config) string {
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		dsn, _ = pq.ParseURL(dsn) //nolint:staticcheck // configure has read it, and what is added is no part of a URL
	}
	dsn += fmt.Sprintf(" sslmode=%s application_name='%s' connect_timeout=%d",
		cfg.SSLMode, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(cfg.ApplicationName), int(cfg.ConnectTimeout.Seconds()))
	if cfg.TargetSessionAttrs != "" {
		dsn += " target_session_attrs=" + string(cfg.TargetSessionAttrs)
	}
	return dsn
}

// listener hears what is told on a channel.
type listener struct {
	dsn     string
	silence time.Duration
}

// watch calls changed after each commit, whoever made it, and after each time in
// which one may have been missed, until the context ends.
func (l listener) watch(ctx context.Context, changed func()) error {
	return l.listen(ctx, channel, func(string) { changed() })
}

// hear calls heard with each text that a process hands on by call. What comes while
// there is no connection is lost.
func (l listener) hear(ctx context.Context, heard func(string)) error {
	return l.listen(ctx, calls, func(text string) {
		if text != "" {
			heard(text)
		}
	})
}

// listen calls told with each text on the channel, and with none where one may have
// been missed.
func (l listener) listen(ctx context.Context, channel string, told func(string)) error {
	ear := pq.NewDialListener(dialer{silence: l.silence, alive: ctx}, l.dsn, firstRedial, longestRedial, nil)
	defer func() {
		_ = ear.Close()        // it may be closed
		for range ear.Notify { // it ends by itself, once nobody is waited for
		}
	}()
	defer context.AfterFunc(ctx, func() { _ = ear.Close() })() // Listen waits for a server that may never come
	if err := ear.Listen(channel); err != nil {
		return unless(ctx, err)
	}
	told("") // whatever came before
	ping := time.NewTicker(min(pingEvery, l.silence/3))
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ping.C:
			_ = ear.Ping() // a connection that is dead is made again
		case n, ok := <-ear.Notify:
			switch {
			case !ok:
				return unless(ctx, net.ErrClosed)
			case n == nil: // connected anew
				told("")
			default:
				told(n.Extra)
			}
		}
	}
}

// unless is the error, unless the context's end explains it.
func unless(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
