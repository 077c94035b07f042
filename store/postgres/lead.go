package postgres

import (
	"context"
	"database/sql/driver"
	"fmt"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
)

// leader holds leads, each by a session's advisory lock. The server gives a lock up
// when its session ends, whatever became of this process, and it ends the session
// when it hears nothing of it for the lock's life: so a leader that was stopped or
// cut off is replaced (Rule REL-6). What such a leader commits later is refused by
// its fence.
type leader struct {
	db   *sqlx.DB
	life time.Duration

	mu   sync.Mutex
	held map[string]held

	stop context.CancelFunc
	beat sync.WaitGroup
}

type held struct {
	conn  *sqlx.Conn
	fence int64
}

func newLeader(db *sqlx.DB, life time.Duration) *leader {
	ctx, stop := context.WithCancel(context.Background())
	l := &leader{db: db, life: life, held: map[string]held{}, stop: stop}
	l.beat.Go(func() { l.live(ctx) })
	return l
}

func (l *leader) lead(ctx context.Context, name string) (int64, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h, ok := l.held[name]; ok {
		if h.holds(ctx, name) {
			return h.fence, true, nil
		}
		if ctx.Err() != nil {
			return 0, false, ctx.Err()
		}
		l.drop(name)
	}
	conn, err := l.db.Connx(ctx)
	if err != nil {
		return 0, false, err
	}
	h := held{conn: conn}
	var mine bool
	err = conn.GetContext(ctx, &mine, `SELECT pg_try_advisory_lock(hashtextextended('ambit lead ' || $1::text, 0))`, name)
	if err == nil && !mine {
		return 0, false, conn.Close()
	}
	if err == nil {
		// It begins to count only now: a lock that is asked for is never waited for.
		_, err = conn.ExecContext(ctx, fmt.Sprintf(`SET idle_session_timeout = '%dms'`, l.life.Milliseconds()))
	}
	if err == nil {
		err = conn.GetContext(ctx, &h.fence, `
			INSERT INTO leaders (name, fence) VALUES ($1, nextval('fences'))
			ON CONFLICT (name) DO UPDATE SET fence = excluded.fence
			RETURNING fence`, name)
	}
	if err != nil {
		discard(conn)
		return 0, false, err
	}
	l.held[name] = h
	return h.fence, true, nil
}

// holds asks over the lock's own session whether the lead is still this one's.
func (h held) holds(ctx context.Context, name string) bool {
	var fence int64
	err := h.conn.GetContext(ctx, &fence, `SELECT fence FROM leaders WHERE name = $1`, name)
	return err == nil && fence == h.fence
}

// live shows the server that this process lives, until Close.
func (l *leader) live(ctx context.Context) {
	tick := time.NewTicker(l.life / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.mu.Lock()
			for name, h := range l.held {
				if !h.holds(context.Background(), name) {
					l.drop(name)
				}
			}
			l.mu.Unlock()
		}
	}
}

// drop forgets a lead whose session is gone. The caller holds l.mu.
func (l *leader) drop(name string) {
	discard(l.held[name].conn)
	delete(l.held, name)
}

// discard ends a connection, so that it does not go back to the pool with a lock.
func discard(conn *sqlx.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}

// Close gives all leads up. The server ends a session some time after it was
// closed, so the locks are given back by name: who comes next need not wait.
func (l *leader) Close() error {
	l.stop()
	l.beat.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for name, h := range l.held {
		_, _ = h.conn.ExecContext(ctx, `SELECT pg_advisory_unlock(hashtextextended('ambit lead ' || $1::text, 0))`, name) // or else with the session
		l.drop(name)
	}
	return nil
}
