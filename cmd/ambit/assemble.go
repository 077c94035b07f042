package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/audit"
	"github.com/ambit-iam/ambit/configs"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/document"
	"github.com/ambit-iam/ambit/jit"
	"github.com/ambit-iam/ambit/mapping"
	"github.com/ambit-iam/ambit/model"
	"github.com/ambit-iam/ambit/scim"
	"github.com/ambit-iam/ambit/store"
	"github.com/ambit-iam/ambit/store/postgres"
	"github.com/ambit-iam/ambit/store/sqlite"
	"github.com/ambit-iam/ambit/store/sqlstore"
	dirsync "github.com/ambit-iam/ambit/sync"
	"github.com/ambit-iam/ambit/tenant"
)

// files are what the configuration names, read and checked.
type files struct {
	model    *model.Model
	mapping  *mapping.File
	policies []jit.PolicySource
	texts    map[string]text // what they are made from, by the configuration's names
}

// text is a file's content, and the name that faults in it have.
type text struct {
	name string
	src  []byte
}

// readFiles reads all of them and reports all faults together (Rule UX-10). What
// is among the texts is not read.
func readFiles(c *configs.Config, texts map[string]text) (files, error) {
	out := files{texts: map[string]text{}}
	var faults document.Faults
	var models []*model.Model
	read := func(path string, parse func(name string, src []byte) error) error {
		t, ok := texts[path]
		if !ok {
			src, err := os.ReadFile(c.File(path))
			if err != nil {
				return hinted{fmt.Errorf("read %s: %w", path, err), "the paths in " + c.Path + " are taken from its folder"}
			}
			t = text{c.File(path), src}
		}
		out.texts[path] = t
		err := parse(t.name, t.src)
		var found document.Faults
		if errors.As(err, &found) {
			faults = append(faults, found...)
			return nil
		}
		return err
	}
	for _, path := range c.Model {
		if err := read(path, func(name string, src []byte) error {
			m, err := model.Parse(name, src)
			models = append(models, m)
			return err
		}); err != nil {
			return out, err
		}
	}
	if err := read(c.Mapping, func(name string, src []byte) (err error) {
		out.mapping, err = mapping.Parse(name, src)
		return err
	}); err != nil {
		return out, err
	}
	for _, path := range c.Policies {
		if err := read(path, func(name string, src []byte) error {
			policies, err := jit.ParsePolicies(name, src)
			out.policies = append(out.policies, policies...)
			return err
		}); err != nil {
			return out, err
		}
	}
	if len(faults) > 0 {
		return out, faults.Err()
	}
	var err error
	if out.model, err = model.Join(models...); err != nil {
		return out, err
	}
	return out, nil
}

// digests are those of the mapping and the model files, by the configuration's
// names.
func (f files) digests(c *configs.Config) map[string]string {
	out := map[string]string{}
	for _, path := range append(slices.Clone(c.Model), c.Mapping) {
		out[path] = fmt.Sprintf("sha256:%x", sha256.Sum256(f.texts[path].src))
	}
	return out
}

// names lists what the mapping file's names can mean, with what was made at run
// time if there is a store.
func (f files) names(c *configs.Config, t *tenant.Tenant) (mapping.Names, error) {
	var n mapping.Names
	for _, s := range c.Sources {
		n.Sources = append(n.Sources, s.ID)
	}
	if t == nil {
		n.Environments = dirsync.Names(f.model, tenant.View{})
		return n, nil
	}
	err := t.Read(func(v tenant.View) error {
		n.Environments = dirsync.Names(f.model, v)
		return nil
	})
	return n, err
}

// daemon is everything that `ambit serve` runs, and that a command opens for
// itself where no daemon runs.
type daemon struct {
	config *configs.Config
	log    *slog.Logger
	store  *sqlstore.DB
	tenant *tenant.Tenant
	sync   *dirsync.Syncer
	scim   *scim.Handler
	api    *api.Server

	// running is held by every request, and in the end by who closes the store.
	running sync.RWMutex

	// mu guards what a reload replaces. It is taken inside judgements, so that who
	// holds it must not commit.
	mu      sync.Mutex
	notices *http.ServeMux // sources that are told of changes
	called  map[directory.SourceID]notified
	files   files
	rules   *mapping.Rules
	reloads int

	// applying serialises the comparing of policies, and guards what follows.
	applying sync.Mutex
	applied  compared // what was last compared
	told     string   // the complaint that the log has about it
}

// compared is what the policies depend on: the files, and the names there are.
type compared struct {
	revision access.Revision
	reloads  int
}

// assemble opens the store and puts the rooms together. Nothing runs yet.
func assemble(ctx context.Context, c *configs.Config, stderr io.Writer) (_ *daemon, err error) {
	f, err := readFiles(c, nil)
	if err != nil {
		return nil, err
	}
	d := &daemon{config: c, log: c.Logger(stderr), files: f}
	if d.store, err = openStore(ctx, c); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.store.Close())
		}
	}()
	reacting := tenant.Options{React: jit.React, Logger: d.log}
	if c.Store.Postgres != nil {
		reacting.StaleAfter = c.Store.Postgres.StaleLimit()
	}
	if d.tenant, err = tenant.Open(ctx, d.store, reacting); err != nil {
		return nil, err
	}
	if err := d.ship(ctx); err != nil {
		return nil, err
	}
	d.scim = scim.New(scim.Options{Store: d.store, Logger: d.log, Now: d.tenant.Now})
	synced, err := d.compile(f)
	if err != nil {
		return nil, err
	}
	metrics := prometheus.NewRegistry()
	d.sync = dirsync.New(d.store, d.tenant, synced, dirsync.SyncerOptions{Logger: d.log, Now: d.tenant.Now, Applied: freshness(metrics)})
	if err := d.sync.Refresh(ctx); err != nil {
		return nil, err
	}
	authentication := c.Authentication
	authentication.CAFile = c.File(authentication.CAFile)
	registerSync(metrics, d.sync)
	options := api.Options{
		Tenant: d.tenant, Store: d.store, Sync: synchronizer{d}, Authentication: &authentication, SCIM: d.scim, Notifications: http.HandlerFunc(d.notify),
		Logger: d.log, Metrics: metrics, Version: version, Answerable: d.sync.Answerable,
	}
	if c.Store.Postgres != nil {
		// A database that is down makes no process unready before its state is stale:
		// all would be so together (Rule REL-7).
		options.Ready = func(context.Context) error { return d.tenant.Current() }
	}
	d.api, err = api.New(options)
	return d, err
}

func openStore(ctx context.Context, c *configs.Config) (*sqlstore.DB, error) {
	if c.Store.Postgres == nil {
		return sqlite.Open(ctx, c.File(c.Store.SQLite), sqlite.Options{})
	}
	dsn, err := c.Store.Postgres.DSN.Resolve()
	if err != nil {
		return nil, fmt.Errorf("store.postgres.dsn: %w", err)
	}
	return postgres.Open(ctx, string(dsn), postgres.Options{})
}

// compile checks the mapping against the names there are, makes the connectors,
// and returns what is to be synchronized.
func (d *daemon) compile(f files) (dirsync.Config, error) {
	names, err := f.names(d.config, d.tenant)
	if err != nil {
		return dirsync.Config{}, err
	}
	rules, err := f.mapping.Compile(names)
	if err != nil {
		return dirsync.Config{}, err
	}
	clients := map[directory.SourceID]scim.Config{}
	readers, err := d.config.Readers(func(id directory.SourceID, c scim.Config) (directory.Reader, error) {
		clients[id] = c
		return d.scim.Reader(id), nil
	})
	if err != nil {
		return dirsync.Config{}, err
	}
	if err := d.scim.Replace(clients); err != nil {
		return dirsync.Config{}, err
	}
	notices, called := http.NewServeMux(), map[directory.SourceID]notified{}
	for _, s := range d.config.Sources {
		if told, ok := readers[s.ID].(notified); ok && s.Entra != nil && s.Entra.Notifications != nil {
			notices.Handle(api.NotificationsRoot+string(s.ID), told)
			called[s.ID] = told
			if !d.store.Alone() {
				told.CallBy(func(ctx context.Context, text string) error { return d.store.Call(ctx, string(s.ID)+" "+text) })
			}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files, d.rules, d.notices, d.called = f, rules, notices, called
	d.reloads++
	out := dirsync.Config{
		Rules: rules, Model: f.model, Files: f.digests(d.config),
		KeepRuns: store.Retention{Runs: d.config.Sync.KeepRuns, Age: time.Duration(d.config.Sync.KeepRunsFor)},
	}
	for _, s := range d.config.Sources {
		source := dirsync.Source{
			ID: s.ID, Reader: readers[s.ID], Interval: time.Duration(d.config.Sync.Interval), StaleAfter: time.Duration(s.StaleAfter),
		}
		if deny := s.DenyWhenStale; deny != nil {
			for _, env := range deny.Environments {
				if names.Environments[env] == nil {
					return dirsync.Config{}, hinted{fmt.Errorf("source %s: deny_when_stale names the environment %q, which does not exist", s.ID, env), "it would never be denied: name one of the mapping's or the model's"}
				}
			}
			source.Denial = dirsync.Denial{After: time.Duration(deny.After), Environments: deny.Environments}
		}
		out.Sources = append(out.Sources, source)
	}
	return out, nil
}

// notified is a source that is told of changes, perhaps by another process that was.
type notified interface {
	http.Handler
	CallBy(call func(ctx context.Context, text string) error)
	Called(text string)
}

// hearAgain is when to listen again for calls after that has failed.
const hearAgain = 5 * time.Second

// hear takes what other processes are told of changes of the sources that this one
// reads.
func (d *daemon) hear(ctx context.Context) error {
	for {
		err := d.store.Hear(ctx, func(text string) {
			id, rest, _ := strings.Cut(text, " ")
			d.mu.Lock()
			source := d.called[directory.SourceID(id)]
			d.mu.Unlock()
			if source != nil {
				source.Called(rest)
			}
		})
		if err == nil {
			return nil
		}
		d.log.Warn("notifications that reach other processes are not heard of; changes are found at the interval", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(hearAgain):
		}
	}
}

// notify hands on what a source is told of its changes.
func (d *daemon) notify(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	notices := d.notices
	d.mu.Unlock()
	notices.ServeHTTP(w, r)
}

// ship puts Ambit's own environment into a new store, so that there is somebody
// who may do something before the first sync, and makes the bootstrap credential.
// A newer version's roles come with the next plan.
func (d *daemon) ship(ctx context.Context) error {
	_, err := d.tenant.Update(ctx, func(v tenant.View) (tenant.Changeset, error) {
		if _, err := v.State(access.AmbitEnvironment); !errors.Is(err, tenant.ErrNoEnvironment) {
			return tenant.Changeset{}, err
		}
		set := tenant.Changeset{Events: []audit.Event{{
			Actor: audit.Actor{Kind: audit.System, ID: "ambit"}, Operation: "ambit.shipped", Environment: access.AmbitEnvironment,
			Result: audit.Done, Reason: "version " + version,
		}}}
		for _, o := range model.Ambit() {
			set.Changes = append(set.Changes, access.Put(o))
		}
		return set, nil
	})
	if err != nil {
		return fmt.Errorf("put Ambit's own environment into the store: %w", err)
	}
	_, _, err = d.store.Bootstrap(ctx)
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	credential, hash := api.NewBootstrap()
	path := d.config.BootstrapPath()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("write the bootstrap credential: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replace the bootstrap credential: %w", err)
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // never through a link that somebody put there
	if err != nil {
		return fmt.Errorf("write the bootstrap credential: %w", err)
	}
	_, err = file.WriteString(credential + "\n")
	if err = errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write the bootstrap credential: %w", err)
	}
	d.log.Info("wrote the one-time credential of the first administrator", "file", path)
	return d.store.SetBootstrap(ctx, hash)
}

func (d *daemon) close() error { return d.store.Close() }

// policies brings the elevation policies to what the files say. Names that a
// directory has yet to bring are complained of once, and looked for again when
// something has changed.
func (d *daemon) policies(ctx context.Context) error {
	d.applying.Lock()
	defer d.applying.Unlock()
	d.mu.Lock()
	declared, now := d.files.policies, compared{d.tenant.Revision(), d.reloads}
	d.mu.Unlock()
	if d.applied == now {
		return nil
	}
	var missing []error
	done, err := d.tenant.Update(ctx, func(v tenant.View) (tenant.Changeset, error) {
		missing = nil
		var states []*access.State
		for _, env := range v.Environments() {
			state, err := v.State(env)
			if err != nil {
				return tenant.Changeset{}, err
			}
			states = append(states, state)
		}
		names := jit.NewNames(states...)
		wanted := map[access.EnvironmentID][]jit.Policy{}
		unresolved := map[access.EnvironmentID]bool{}
		for _, source := range declared {
			p, err := source.Policy(names)
			if err != nil {
				missing = append(missing, err)
				unresolved[access.EnvironmentID(source.Environment())] = true
				continue
			}
			wanted[p.Environment] = append(wanted[p.Environment], p)
		}
		var set tenant.Changeset
		for _, state := range states {
			env := state.Environment.ID
			if unresolved[env] || unresolved[access.EnvironmentID(state.Environment.Name)] {
				continue // a policy that cannot be read must not look deleted
			}
			changes, err := jit.PlanPolicies(state, wanted[env])
			if err != nil {
				missing = append(missing, err)
				continue
			}
			set.Changes = append(set.Changes, changes...)
			for _, c := range changes {
				set.Events = append(set.Events, audit.Event{
					Actor: audit.Actor{Kind: audit.System, ID: "files"}, Operation: "jit.policy.declared", Environment: env,
					Object: access.KindPolicy.String() + "/" + c.Object.ObjectKey(), Result: audit.Done,
				})
			}
		}
		return set, nil
	})
	if err != nil {
		return fmt.Errorf("apply the files' elevation policies: %w", err)
	}
	now.revision = done.Revision
	d.applied = now
	complaint := errors.Join(missing...)
	if complaint == nil {
		d.told = ""
	} else if complaint.Error() != d.told {
		d.told = complaint.Error()
		d.log.Warn("elevation policies wait for what they name", "problem", d.told)
	}
	return nil
}

// synchronizer is the synchronization as the API uses it: what follows a sync is
// done with it.
type synchronizer struct{ d *daemon }

func (s synchronizer) Plan(ctx context.Context, o dirsync.Options) (dirsync.Report, error) {
	return s.d.sync.Plan(ctx, o)
}

func (s synchronizer) Sync(ctx context.Context, o dirsync.Options) (dirsync.Report, error) {
	report, err := s.d.sync.Sync(ctx, o)
	// Even where the plan was empty: an earlier process may have been killed
	// between the two, and the files may have changed.
	if report.Plan != nil {
		err = errors.Join(err, s.d.policies(ctx))
	}
	return report, err
}

func (s synchronizer) Verify(ctx context.Context, o dirsync.VerifyOptions) (dirsync.VerifyReport, error) {
	return s.d.sync.Verify(ctx, o)
}

func (s synchronizer) Live(ctx context.Context, q dirsync.LiveQuestion) (dirsync.LiveAnswer, error) {
	return s.d.sync.Live(ctx, q)
}

func (s synchronizer) WhatIf(ctx context.Context, edited *api.FileText, models []api.FileText) (*dirsync.Plan, error) {
	c := s.d.config
	s.d.mu.Lock()
	texts := maps.Clone(s.d.files.texts)
	s.d.mu.Unlock()
	if edited != nil {
		texts[c.Mapping] = text{edited.Name, []byte(edited.Text)}
	}
	for _, m := range models {
		i := slices.IndexFunc(c.Model, func(path string) bool { return filepath.Base(path) == filepath.Base(m.Name) })
		switch {
		case i < 0 && len(c.Model) == 1:
			i = 0
		case i < 0:
			return nil, document.Faults{{
				File: m.Name, Line: 1, Column: 1, Problem: "no model file of this name is configured: which one does it stand in for?",
				Hint: "name it as one of these: " + strings.Join(c.Model, ", "),
			}}
		}
		texts[c.Model[i]] = text{m.Name, []byte(m.Text)}
	}
	f, err := readFiles(c, texts)
	if err != nil {
		return nil, err
	}
	names, err := f.names(c, s.d.tenant)
	if err != nil {
		return nil, err
	}
	rules, err := f.mapping.Compile(names)
	if err != nil {
		return nil, err
	}
	return s.d.sync.WhatIf(ctx, dirsync.Config{Rules: rules, Model: f.model, Files: f.digests(c)})
}

func (s synchronizer) Status() dirsync.Status { return s.d.sync.Status() }

func (s synchronizer) Persons(env access.EnvironmentID) bool {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	return s.d.rules.Persons(env)
}

func (s synchronizer) Age(source string, now time.Time) (time.Duration, bool) {
	status := s.d.sync.Status()
	i := slices.IndexFunc(status.Sources, func(c dirsync.SourceStatus) bool { return string(c.Source) == source })
	if i < 0 || status.Sources[i].Completed.IsZero() {
		return 0, false
	}
	return now.Sub(status.Sources[i].Completed), true
}

// sweep writes what time has already decided (Rule JIT-70).
func (d *daemon) sweep(ctx context.Context) error {
	const batch = 100
	for more := true; more; {
		more = false
		_, err := d.tenant.Update(ctx, func(v tenant.View) (tenant.Changeset, error) {
			var set tenant.Changeset
			for _, env := range v.Environments() {
				state, err := v.State(env)
				if err != nil {
					return set, err
				}
				snapshot, err := v.Snapshot(env)
				if err != nil {
					return set, err
				}
				out, rest := jit.Sweep(jit.View{State: state, Snapshot: snapshot}, v.Now, batch)
				more = more || rest
				set.Changes = append(set.Changes, out.Changes...)
				set.Events = append(set.Events, out.Events...)
			}
			return set, nil
		})
		if err != nil {
			return fmt.Errorf("note what time has ended: %w", err)
		}
	}
	return nil
}
