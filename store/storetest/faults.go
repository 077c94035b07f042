package storetest

import (
	"context"
	"database/sql/driver"
	"errors"
	"os"
	"sync"
	"syscall"
)

// errInjected is what a database in trouble says here.
var errInjected = errors.New("injected fault")

// faults lets one statement go wrong, counted over all connections.
type faults struct {
	mu    sync.Mutex
	left  int  // statements until the fault; zero: none
	after bool // the statement takes effect, but its answer is lost
	kill  bool // the process ends instead of the statement
	hit   bool
}

// arm lets the n-th statement from now go wrong.
func (f *faults) arm(n int, after bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.after, f.hit = n, after, false
}

// disarm tells whether the fault came.
func (f *faults) disarm() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = 0
	return f.hit
}

// around runs a statement, or does not, or loses its answer, which undo then
// takes back from the driver.
func around[T any](f *faults, do func() (T, error), undo func(T) error) (T, error) {
	f.mu.Lock()
	fail, after := f.left == 1, f.after
	if f.left > 0 {
		f.left--
	}
	f.hit = f.hit || fail
	f.mu.Unlock()
	if fail && f.kill {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	var none T
	if fail && !after {
		return none, errInjected
	}
	out, err := do()
	if fail && err == nil {
		return none, errors.Join(errInjected, undo(out))
	}
	return out, err
}

func nothing[T any](T) error { return nil }

func (f *faults) wrap(c driver.Connector) driver.Connector { return connector{c, f} }

type connector struct {
	driver.Connector
	faults *faults
}

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	inner, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return conn{inner, c.faults}, nil
}

// conn forwards what both drivers' connections can do.
type conn struct {
	driver.Conn
	faults *faults
}

// Unwrap is asked for by the SQLite driver.
func (c conn) Unwrap() driver.Conn { return c.Conn }

func (c conn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	inner, err := around(c.faults, func() (driver.Tx, error) { return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o) }, driver.Tx.Rollback)
	if err != nil {
		return nil, err
	}
	return tx{inner, c.faults}, nil
}

func (c conn) ExecContext(ctx context.Context, q string, a []driver.NamedValue) (driver.Result, error) {
	return around(c.faults, func() (driver.Result, error) { return c.Conn.(driver.ExecerContext).ExecContext(ctx, q, a) }, nothing)
}

func (c conn) QueryContext(ctx context.Context, q string, a []driver.NamedValue) (driver.Rows, error) {
	return around(c.faults, func() (driver.Rows, error) { return c.Conn.(driver.QueryerContext).QueryContext(ctx, q, a) }, driver.Rows.Close)
}

func (c conn) PrepareContext(ctx context.Context, q string) (driver.Stmt, error) {
	inner, err := c.Conn.(driver.ConnPrepareContext).PrepareContext(ctx, q)
	if err != nil {
		return nil, err
	}
	return stmt{inner, c.faults}, nil
}

func (c conn) CheckNamedValue(v *driver.NamedValue) error {
	if checker, ok := c.Conn.(driver.NamedValueChecker); ok {
		return checker.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (c conn) Ping(ctx context.Context) error { return c.Conn.(driver.Pinger).Ping(ctx) }
func (c conn) ResetSession(ctx context.Context) error {
	return c.Conn.(driver.SessionResetter).ResetSession(ctx)
}
func (c conn) IsValid() bool { return c.Conn.(driver.Validator).IsValid() }

type stmt struct {
	driver.Stmt
	faults *faults
}

func (s stmt) ExecContext(ctx context.Context, a []driver.NamedValue) (driver.Result, error) {
	return around(s.faults, func() (driver.Result, error) { return s.Stmt.(driver.StmtExecContext).ExecContext(ctx, a) }, nothing)
}

func (s stmt) QueryContext(ctx context.Context, a []driver.NamedValue) (driver.Rows, error) {
	return around(s.faults, func() (driver.Rows, error) { return s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, a) }, driver.Rows.Close)
}

type tx struct {
	driver.Tx
	faults *faults
}

func (t tx) Commit() error {
	_, err := around(t.faults, func() (struct{}, error) { return struct{}{}, t.Tx.Commit() }, nothing)
	if errors.Is(err, errInjected) && !t.faults.after {
		// database/sql takes the transaction for ended.
		return errors.Join(err, t.Tx.Rollback())
	}
	return err
}
