package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/ambit-iam/ambit/tenant"
)

func (c *command) serve() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon: sync, elevation, the API",
		Long: `Run the daemon until it is told to stop. SIGHUP reads the model, mapping and
policy files anew; a fault in them is logged with its place, and what runs goes on.`,
		Example: "  ambit --config /etc/ambit/ambit.yaml serve",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := c.load()
			if err != nil {
				return err
			}
			d, err := assemble(cmd.Context(), config, c.err)
			if err != nil {
				return err
			}
			return errors.Join(d.serve(cmd.Context(), func(address string) {
				d.log.Info("ready", "address", address, "socket", config.SocketPath(), "version", version)
			}), d.close())
		},
	}
}

const (
	// sweepEvery is the longest that a lapse or an end waits to be noted in the
	// audit log; decisions never wait for it (Rule JIT-70).
	sweepEvery = 10 * time.Second
	// namesEvery is how often policies whose names had not come are tried again.
	namesEvery = time.Second
	// followEvery is how often other processes' commits are looked for.
	followEvery = time.Second
	// stopWithin is how long requests that run may take to finish.
	stopWithin = 10 * time.Second
)

// serve runs until the context ends. ready is told the API's address once both
// listeners are open.
func (d *daemon) serve(ctx context.Context, ready func(address string)) error {
	return d.listen(ctx, ready, d.sync.Run, sweepEvery)
}

// serveOnDemand is serve for the demo: it syncs when it is asked to, and leaves
// what time has ended for later, so that the tour shows one thing after another.
func (d *daemon) serveOnDemand(ctx context.Context, ready func(address string)) error {
	return d.listen(ctx, ready, func(ctx context.Context) error { <-ctx.Done(); return nil }, time.Hour)
}

func (d *daemon) listen(ctx context.Context, ready func(address string), syncing func(context.Context) error, sweep time.Duration) error {
	listener, err := net.Listen("tcp", d.config.Listen)
	if err != nil {
		return hinted{fmt.Errorf("listen: %w", err), "choose another address with listen in " + d.config.Path}
	}
	address := listener.Addr().String()
	servers := []func() error{}
	group, ctx := errgroup.WithContext(ctx)
	// Requests go on while the server stops, for as long as that may take.
	asked, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	web := d.server(asked, d.api.Handler())
	if t := d.config.TLS; t != nil {
		pair, err := tls.LoadX509KeyPair(d.config.File(t.Certificate), d.config.File(t.Key))
		if err != nil {
			return errors.Join(hinted{fmt.Errorf("tls: %w", err), "tls.certificate and tls.key in " + d.config.Path + " name PEM files that belong together"}, listener.Close())
		}
		web.TLSConfig = d.scim.TLS(&tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}})
	}
	servers = append(servers, func() error {
		if web.TLSConfig != nil {
			return web.ServeTLS(listener, "", "")
		}
		return web.Serve(listener)
	})
	closing := []*http.Server{web}
	if path := d.config.SocketPath(); path != "" {
		socket, err := listenSocket(path)
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		local := d.server(asked, d.api.LocalHandler(peer))
		local.ConnContext = withPeer
		servers = append(servers, func() error { return local.Serve(socket) })
		closing = append(closing, local)
	}
	for _, serve := range servers {
		group.Go(func() error {
			if err := serve(); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve: %w", err)
			}
			return nil
		})
	}
	group.Go(func() error {
		<-ctx.Done()
		_, _ = systemd.SdNotify(false, systemd.SdNotifyStopping) // no service manager is no fault
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
		defer cancel()
		for _, s := range closing {
			if err := s.Shutdown(stop); err != nil {
				d.log.Warn("requests that still ran were cut off", "after", stopWithin, "error", err)
				_ = s.Close() // its error is of a listener that Shutdown has closed
			}
		}
		abandon()        // what was cut off must end before the store is closed
		d.running.Lock() // for good
		return nil
	})
	group.Go(func() error { return d.tenant.Run(ctx, followEvery, tenant.WatermarkEvery) })
	group.Go(func() error { return syncing(ctx) })
	group.Go(func() error { return d.hear(ctx) })
	group.Go(func() error { return d.tidy(ctx, sweep) })
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP) // before anybody is told that the daemon is ready
	defer signal.Stop(hangup)
	group.Go(func() error { return d.reloadOnHangup(ctx, hangup) })
	group.Go(func() error { return d.watchdog(ctx) })
	ready(address)
	_, _ = systemd.SdNotify(false, systemd.SdNotifyReady) // no service manager is no fault
	return group.Wait()
}

func (d *daemon) server(ctx context.Context, h http.Handler) *http.Server {
	counted := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.running.RLock()
		defer d.running.RUnlock()
		h.ServeHTTP(w, r)
	})
	return &http.Server{
		Handler: counted, BaseContext: func(net.Listener) context.Context { return ctx }, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelWarn),
	}
}

// listenSocket opens the socket for commands on this host, for this user only.
// What a daemon that was killed left behind is replaced: a socket on which nobody
// answers, and nothing else.
func listenSocket(path string) (net.Listener, error) {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("open the socket for commands: %w", err)
	case info.Mode().Type() != os.ModeSocket:
		return nil, hinted{fmt.Errorf("open the socket for commands: %s is there and is not a socket", path), "set socket in the configuration to another path"}
	default:
		if conn, err := net.Dial("unix", path); err == nil {
			_ = conn.Close() // it was a test
			return nil, hinted{fmt.Errorf("open the socket for commands: another daemon answers at %s", path), "stop it, or set socket in this one's configuration to another path"}
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("replace the socket of an earlier daemon: %w", err)
		}
	}
	if info, err := os.Stat(filepath.Dir(path)); err == nil && info.Mode().Perm()&0o022 != 0 && info.Mode()&os.ModeSticky == 0 {
		return nil, hinted{fmt.Errorf("open the socket for commands: others may write to its folder %s, and could put their own in its place", filepath.Dir(path)), "chmod go-w " + filepath.Dir(path)}
	}
	old := syscall.Umask(0o177)
	defer syscall.Umask(old)
	socket, err := net.Listen("unix", path)
	if err != nil {
		return nil, hinted{fmt.Errorf("open the socket for commands: %w", err), "set socket in the configuration to a path of at most 107 bytes in a folder that can be written"}
	}
	return socket, nil
}

// tidy notes what time has ended, and applies policies whose names have come.
func (d *daemon) tidy(ctx context.Context, every time.Duration) error {
	sweep, names := time.NewTicker(every), time.NewTicker(namesEvery)
	defer sweep.Stop()
	defer names.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-names.C:
			err = d.policies(ctx)
		case <-sweep.C:
			err = d.sweep(ctx)
		}
		if err != nil && ctx.Err() == nil {
			d.log.Error("cannot tidy up; decisions are right all the same", "error", err)
		}
	}
}

// reloadOnHangup reads the files anew on SIGHUP. The last good ones stay where
// the new ones have a fault (Rule REL-14).
func (d *daemon) reloadOnHangup(ctx context.Context, hangup <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangup:
			_, _ = systemd.SdNotify(false, systemd.SdNotifyReloading) // no service manager is no fault
			if err := d.reload(); err != nil {
				d.log.Error("reload: the files have faults; what runs goes on with the last good ones", "error", err)
			} else {
				d.log.Info("reloaded")
			}
			_, _ = systemd.SdNotify(false, systemd.SdNotifyReady)
		}
	}
}

func (d *daemon) reload() error {
	f, err := readFiles(d.config, nil)
	if err != nil {
		return err
	}
	synced, err := d.compile(f)
	if err != nil {
		return err
	}
	d.sync.Replace(synced)
	return nil
}

// watchdog tells the service manager that the process works: that it decides.
func (d *daemon) watchdog(ctx context.Context) error {
	every, err := systemd.SdWatchdogEnabled(false)
	if err != nil || every == 0 {
		return nil
	}
	tick := time.NewTicker(every / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			d.tenant.Revision() // takes the lock that decisions take
			_, _ = systemd.SdNotify(false, systemd.SdNotifyWatchdog)
		}
	}
}
